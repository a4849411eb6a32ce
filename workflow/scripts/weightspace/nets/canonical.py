"""One network for all that differ by scales or signs of their units alone."""

from collections.abc import Iterator
from itertools import takewhile
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from weightspace.errors import InputError
from weightspace.nets.activations import ACTIVATIONS, Activation
from weightspace.nets.forward import unflatten
from weightspace.nets.layers import LAYERS
from weightspace.nets.spec import NetSpec
from weightspace.nets.steps import Op

WRITERS = {"conv", "linear", "batch_norm", "layer_norm"}  # what a unit puts out has the factor that its learned numbers have
PASSED = {"activation", "pool", "avg_pool", "mean", "flatten", "dropout"}  # what comes out has the factor of what comes in
MOST_SCALE = 2.0  # of a unit, at random


class Joint(NamedTuple):
    """Units that one layer writes and only one layer reads: a factor can go from the one to the other."""

    writer: Op
    between: list[Op]
    reader: Op


def canonical(spec: NetSpec, weights: Float[Tensor, "model weight"]) -> Float[Tensor, "model weight"]:
    """The same functions, each unit with the scale or sign that stands for all that do the same.

    Where the activation scales (relu, leaky_relu), the learned numbers that make a unit have norm 1; where it is odd (tanh,
    erf), or odd but for a constant (sigmoid), the largest of them is positive. What reads the unit takes the inverse, and its
    bias the constant. This is done wherever one layer alone reads a layer's units, through activations, pools, means and
    flattening: not for units that branches share, nor before a norm, nor into groups; signs not through maxima; constants not
    where zeros are padded. Units of other activations, and units of norm 0, stay as they are.
    """
    activation, changed = ACTIVATIONS[spec.activation], weights.double().clone()
    parameters = unflatten(spec, changed)
    for joint in joints(spec):
        own = [parameters[each.name] for each in joint.writer.made.parameters if each.learned]
        rows = torch.cat([each.flatten(2) if each.dim() > 2 else each.unsqueeze(2) for each in own], dim=2)
        _divide(parameters, joint, _scale(rows) if activation.scaling else _sign(rows), activation.constant)
    return changed.to(weights)


def rescaled(spec: NetSpec, weights: Float[Tensor, "model weight"], generator: Generator) -> Float[Tensor, "model weight"]:
    """The same functions, whose units have other factors wherever the activation allows any.

    Where it scales, each unit is divided by a factor log-uniform in 1 / MOST_SCALE to MOST_SCALE; where it is odd, or odd but
    for a constant, half of the units change their signs. Raises InputError where no unit can have a factor.
    """
    activation, changed, places = ACTIVATIONS[spec.activation], weights.double().clone(), list(joints(spec))
    if not places:
        raise InputError(f"no unit of a network with activation {spec.activation} can have another scale or sign")
    parameters = unflatten(spec, changed)
    for joint in places:
        draws = 2 * torch.rand(len(weights), joint.writer.made.shape[0], dtype=torch.double, generator=generator) - 1
        _divide(parameters, joint, (MOST_SCALE**draws if activation.scaling else draws.sign()).to(changed), activation.constant)
    return changed.to(weights)


def _divide(
    parameters: dict[str, Float[Tensor, "..."]], joint: Joint, factor: Float[Tensor, "model unit"], constant: float
) -> None:
    """Divide units by their factors and what reads them by the inverse, in place."""
    for each in (parameters[each.name] for each in joint.writer.made.parameters if each.learned):
        each.div_(factor.view(*factor.shape, *[1] * (each.dim() - 2)))
    weight, *bias = (parameters[each.name] for each in joint.reader.made.parameters)
    per_input = factor.repeat_interleave(weight.shape[2] // factor.shape[1], dim=1)  # a unit's pixels lie side by side
    if constant:
        by_input = weight.reshape(*weight.shape[:3], -1).sum(3)
        bias[0].add_(constant * torch.einsum("moi,mi->mo", by_input, (per_input < 0).double()))
    weight.mul_(per_input.view(len(weight), 1, -1, *[1] * (weight.dim() - 3)))


def joints(spec: NetSpec) -> Iterator[Joint]:
    """Layers whose units can be given a factor of the kind that the activation allows, from the images on."""
    for place, writer in enumerate(spec.ops):
        between = list(takewhile(lambda op: op.kind in PASSED, spec.ops[place + 1 :]))
        reader = next(iter(spec.ops[place + 1 + len(between) :]), None)
        reads = reader and (reader.kind == "linear" or (reader.kind == "conv" and reader.sizes["groups"] == 1))
        if writer.kind in WRITERS and reads and _goes_through(Joint(writer, between, reader), ACTIVATIONS[spec.activation]):
            yield Joint(writer, between, reader)


def _goes_through(joint: Joint, activation: Activation) -> bool:
    if activation.scaling:
        return True
    turns = not any(LAYERS[op.kind].maxima for op in joint.between)
    if activation.symmetry != "odd_constant":
        return turns and activation.symmetry == "odd"
    padded = any(op.sizes.get("padding") for op in (*joint.between, joint.reader))
    once = [op.kind for op in joint.between].count("activation") == 1
    return turns and once and not padded and joint.reader.weights.has_bias


def _scale(rows: Float[Tensor, "model unit number"]) -> Float[Tensor, "model unit"]:
    norms = rows.norm(dim=2)
    return torch.where(norms > 0, norms, 1.0)


def _sign(rows: Float[Tensor, "model unit number"]) -> Float[Tensor, "model unit"]:
    largest = rows.gather(2, rows.abs().argmax(2, keepdim=True)).squeeze(2)
    return torch.where(largest < 0, -1.0, 1.0).to(rows)
