"""One network for all that differ by scales or signs of their units alone."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from weightspace.nets.activations import ACTIVATIONS, Activation
from weightspace.nets.forward import unflatten
from weightspace.nets.layers import LAYERS
from weightspace.nets.spec import NetSpec
from weightspace.nets.steps import Op

WRITERS = {"conv", "linear", "batch_norm", "layer_norm"}  # what a unit puts out has the factor that its learned numbers have
PASSED = {"activation", "pool", "avg_pool", "mean", "flatten", "dropout"}  # what comes out has the factor of what comes in


class Joint(NamedTuple):
    """Units that one layer writes and only one layer reads: a factor can go from the one to the other."""

    writer: Op
    reader: Op


def canonical(spec: NetSpec, weights: Float[Tensor, "model weight"]) -> Float[Tensor, "model weight"]:
    """The same functions, each unit with the scale or sign that stands for all that do the same.

    Where the activation scales (relu, leaky_relu), the learned numbers that make a unit have norm 1; where it is odd (tanh,
    erf), the largest of them is positive. What reads the unit takes the inverse. This is done wherever one layer alone reads a
    layer's units, through activations, pools, means and flattening: not for units that branches share, nor before a norm, nor
    into groups, and signs not through maxima. Units of other activations, and units of norm 0, stay as they are.
    """
    activation, changed = ACTIVATIONS[spec.activation], weights.double().clone()
    parameters = unflatten(spec, changed)
    for joint in joints(spec, activation):
        own = [parameters[each.name] for each in joint.writer.made.parameters if each.learned]
        rows = torch.cat([each.flatten(2) if each.dim() > 2 else each.unsqueeze(2) for each in own], dim=2)
        factor = _scale(rows) if activation.scaling else _sign(rows)
        for each in own:
            each.div_(factor.view(*factor.shape, *[1] * (each.dim() - 2)))
        read = parameters[joint.reader.made.parameters[0].name]
        read.mul_(_spread(factor, read.shape[2]).view(len(read), 1, -1, *[1] * (read.dim() - 3)))
    return changed.to(weights)


def joints(spec: NetSpec, activation: Activation) -> Iterator[Joint]:
    """Layers whose units can be given a factor, from the images on."""
    if not (activation.scaling or activation.symmetry == "odd"):
        return
    for place, writer in enumerate(spec.ops):
        if writer.kind in WRITERS:
            reader = next((op for op in spec.ops[place + 1 :] if not _passes(op, activation)), None)
            if reader and (reader.kind == "linear" or (reader.kind == "conv" and reader.sizes["groups"] == 1)):
                yield Joint(writer, reader)


def _passes(op: Op, activation: Activation) -> bool:
    return op.kind in PASSED and (activation.scaling or not LAYERS[op.kind].maxima)


def _scale(rows: Float[Tensor, "model unit number"]) -> Float[Tensor, "model unit"]:
    norms = rows.norm(dim=2)
    return torch.where(norms > 0, norms, 1.0)


def _sign(rows: Float[Tensor, "model unit number"]) -> Float[Tensor, "model unit"]:
    largest = rows.gather(2, rows.abs().argmax(2, keepdim=True)).squeeze(2)
    return torch.where(largest < 0, -1.0, 1.0).to(rows)


def _spread(factor: Float[Tensor, "model unit"], inputs: int) -> Float[Tensor, "model input"]:
    """A unit's factor for each of its pixels, which lie side by side after flattening."""
    return factor.repeat_interleave(inputs // factor.shape[1], dim=1)
