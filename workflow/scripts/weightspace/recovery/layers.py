"""A stack of networks layer by layer: widths, incoming weights of a layer's units, what goes in and what comes out."""

import re
from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from weightspace.nets.activations import ACTIVATIONS, Activation
from weightspace.nets.forward import flatten, forward, unflatten
from weightspace.nets.layers import LAYERS
from weightspace.nets.spec import NetSpec, build_spec
from weightspace.nets.steps import Op

LEAST_QUERIES = 1_000  # that a look at a layer takes, however many positions a convolution has


def widths_of(spec: NetSpec) -> list[int]:
    """Units of each hidden layer."""
    return [layer.out for layer in spec.layers[:-1]]


def resized(spec: NetSpec, widths: Sequence[int]) -> NetSpec:
    """The same layers with other numbers of hidden units."""
    left, texts = list(widths), []
    for text in spec.architecture[:-1]:
        match = re.fullmatch(r"(conv|linear) \d+(.*)", text)
        texts.append(f"{match[1]} {left.pop(0)}{match[2]}" if match else text)
    return build_spec([*texts, spec.architecture[-1]], spec.activation, spec.image_shape, spec.num_classes)


def expanded(spec: NetSpec, factor: float) -> NetSpec:
    """The same layers, each hidden one `factor` times as wide, rounded."""
    return resized(spec, [max(1, round(factor * width)) for width in widths_of(spec)])


def incoming(spec: NetSpec, weights: Float[Tensor, "model weight"], layer: int) -> Float[Tensor, "model unit fan_in_and_1"]:
    """Incoming weights of each unit of a layer, then its bias."""
    named, name = unflatten(spec, weights), spec.layers[layer].name
    return torch.cat([named[f"{name}.weight"].flatten(2), named[f"{name}.bias"].unsqueeze(2)], dim=2)


def with_layers(
    spec: NetSpec, weights: Float[Tensor, "model weight"], rows: dict[int, Float[Tensor, "_ _ _"]]
) -> tuple[NetSpec, Float[Tensor, "model new_weight"]]:
    """The stack with some layers' weights and biases replaced; hidden layers may change their number of units.

    `rows` are [model or 1, unit, fan_in_and_1], as of `incoming`.
    """
    widths = [rows[n].shape[1] if n in rows else width for n, width in enumerate(widths_of(spec))]
    changed, named = resized(spec, widths), unflatten(spec, weights)
    for n, layer in enumerate(changed.layers):
        if n in rows:
            values = rows[n].expand(len(weights), -1, -1)
            named[f"{layer.name}.weight"] = values[..., :-1].reshape(len(weights), *layer.weight_shape)
            named[f"{layer.name}.bias"] = values[..., -1]
    return changed, flatten(changed, named)


class Seen(NamedTuple):
    """A layer at work: one row per query, and per position of a convolution's kernel."""

    inputs: Float[Tensor, "set row fan_in"]  # set: 1 where all models have the same input
    outputs: Float[Tensor, "model row unit"]  # before the activation


def see(op: Op, inputs: Tensor, outputs: Tensor, num_models: int) -> Seen:
    """What `forward` shows of a layer, as rows."""
    if not op.weights.slides:
        return Seen(inputs, outputs)
    batch, kernel = len(inputs), op.weights.fan_in[-1]
    patches = F.unfold(inputs.contiguous(), kernel, padding=op.sizes["padding"])  # [batch, set * fan_in, position]
    patches = patches.view(batch, -1, prod(op.weights.fan_in), patches.shape[-1])
    seen = outputs.reshape(batch, num_models, op.weights.out, -1)
    return Seen(*(rows.permute(1, 0, 3, 2).flatten(1, 2) for rows in (patches, seen)))


@torch.no_grad()
def trace(
    spec: NetSpec, weights: Float[Tensor, "model weight"], x: Float[Tensor, "set query channel height width"]
) -> list[Seen]:
    """Every layer's inputs and outputs on the queries."""
    layers: list[Seen] = []
    forward(spec, weights, x, lambda op, inputs, outputs: layers.append(see(op, inputs, outputs, len(weights))))
    return layers


def queries_in(spec: NetSpec, rows: int) -> int:
    """Queries that give about `rows` rows in the layer with the most positions, but not fewer than LEAST_QUERIES."""
    positions = prod(spec.image_shape[1:]) if any(layer.slides for layer in spec.layers) else 1
    return max(LEAST_QUERIES, rows // positions)


def symmetry_of(spec: NetSpec, layer: int) -> Activation:
    """The activation of a hidden layer with the symmetry that is left to its units: taking maxima ends that of signs."""
    activation = ACTIVATIONS[spec.activation]
    place = [n for n, op in enumerate(spec.ops) if op.weights is not None]
    between = spec.ops[place[layer] : place[layer + 1]]
    if any(LAYERS[op.kind].maxima for op in between):
        return activation._replace(symmetry="none", constant=0.0, slope=0.0)
    return activation


def block_size(spec: NetSpec, layer: int) -> int:
    """Entries of the next layer's incoming weights that belong to one unit of this layer."""
    return prod(spec.layers[layer + 1].fan_in) // spec.layers[layer].out
