"""One functional forward pass, for many networks at once."""

from collections.abc import Callable
from math import prod

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from weightspace.nets.activations import ACTIVATIONS
from weightspace.nets.spec import NetSpec, Op

EPSILON, MOMENTUM = 1e-5, 0.1  # of batch norm, torch's defaults


def unflatten(spec: NetSpec, weights: Float[Tensor, "*stack weight"]) -> dict[str, Float[Tensor, "..."]]:
    """Parameters by name, as views of the flat weights; inverse of `flatten`."""
    pieces = weights.split([prod(shape) for shape in spec.shapes.values()], dim=-1)
    return {
        name: piece.view(*weights.shape[:-1], *shape) for piece, (name, shape) in zip(pieces, spec.shapes.items(), strict=True)
    }


def flatten(spec: NetSpec, parameters: dict[str, Float[Tensor, "..."]]) -> Float[Tensor, "*stack weight"]:
    """Flat weights of parameters by name, in the spec's order; inverse of `unflatten`."""
    return torch.cat([parameters[name].flatten(-len(shape)) for name, shape in spec.shapes.items()], dim=-1)


def forward(
    spec: NetSpec,
    weights: Float[Tensor, "model weight"],
    images: Float[Tensor, "sets batch channel height width"],
    observe: Callable[[Op, Tensor, Tensor], None] | None = None,
    maps: list[Tensor] | None = None,
    statistics: dict[str, Tensor] | None = None,
) -> Float[Tensor, "model batch class"]:
    """Logits of each model on its own images, or of all models on the same ones where `sets` is 1.

    `observe` is called with each layer of weights, what goes in ([model or 1, batch, in], or [batch, channels of all, h, w])
    and what comes out of it, before batch norm and activation. `maps` is filled with each feature map before its activation,
    [model, batch, channel, h, w]: convolutions, after their batch norms, and sums, without those within shortcuts.
    Batch norms use running statistics, or, where `statistics` is a dictionary, those of the batch, which are left in it by
    the names of the running ones (see `move_statistics`).

    Convolutions run with models as groups: one call for the whole stack. Channels lie last in memory, which made
    convolution and pooling of such stacks three times as fast on a CPU (docs/log/2026-11.md).
    """
    parameters = unflatten(spec, weights)
    if not spec.plain:  # a plain net's first convolution makes every model's channels of the shared images
        images = images.expand(len(weights), -1, -1, -1, -1)
    hidden = rearrange(images, "m b c h w -> b (m c) h w").contiguous(memory_format=torch.channels_last)
    groups, kept = len(images), []
    for op in spec.ops:
        before = hidden
        if op.kind == "conv":
            hidden, groups = _conv(hidden, groups, op, parameters), len(weights)
        elif op.kind == "linear":
            bias = parameters[f"{op.weights.name}.bias"].unsqueeze(1)
            hidden = hidden @ parameters[f"{op.weights.name}.weight"].mT + bias
        elif op.kind == "batch_norm":
            hidden = _batch_norm(hidden, op, parameters, statistics)
        elif op.kind in ("branch", "swap", "add"):
            hidden = _joined(hidden, op, kept)
        else:
            hidden = _without_weights(hidden, groups, op, spec.activation)
        if observe and op.weights is not None:
            observe(op, before, hidden)
        if maps is not None and op.mapped:
            maps.append(rearrange(hidden, "b (m c) h w -> m b c h w", m=groups))
    return hidden


def move_statistics(
    spec: NetSpec, weights: Float[Tensor, "model weight"], statistics: dict[str, Tensor], momentum: float = MOMENTUM
) -> None:
    """Move the running statistics within the weights towards a batch's, in place: (1 - momentum) running + momentum batch's."""
    parameters = unflatten(spec, weights)
    for name, batch in statistics.items():
        parameters[name].lerp_(batch, momentum)


def _without_weights(hidden: Tensor, groups: int, op: Op, activation: str) -> Tensor:
    if op.kind == "activation":
        return ACTIVATIONS[activation].function(hidden)
    if op.kind == "pool":
        return F.max_pool2d(hidden, op.pool, op.stride, op.padding)
    if op.kind == "mean":
        return rearrange(hidden.mean((2, 3)), "b (m c) -> m b c", m=groups)
    return rearrange(hidden, "b (m c) h w -> m b (c h w)", m=groups)


def _joined(hidden: Tensor, op: Op, kept: list[Tensor]) -> Tensor:
    """What goes on where a branch begins, changes to its shortcut or ends; `kept` holds the other tensor."""
    if op.kind == "add":
        return hidden + kept.pop()
    kept.append(hidden)
    return hidden if op.kind == "branch" else kept.pop(-2)


def _conv(hidden: Tensor, groups: int, op: Op, parameters: dict[str, Tensor]) -> Tensor:
    weight, bias = parameters[f"{op.weights.name}.weight"], parameters.get(f"{op.weights.name}.bias")
    bias = None if bias is None else bias.flatten()
    return F.conv2d(hidden, weight.flatten(0, 1), bias, stride=op.stride, padding=op.padding, groups=groups * op.groups)


def _batch_norm(hidden: Tensor, op: Op, parameters: dict[str, Tensor], statistics: dict[str, Tensor] | None) -> Tensor:
    weight, bias, mean, variance = (parameters[name] for name in op.norm.shapes)
    if statistics is None:
        mean, variance = mean.detach().flatten(), variance.detach().flatten()
        return F.batch_norm(hidden, mean, variance, weight.flatten(), bias.flatten(), eps=EPSILON)
    batch = torch.zeros(2, weight.numel(), dtype=hidden.dtype, device=hidden.device)
    hidden = F.batch_norm(hidden, *batch, weight.flatten(), bias.flatten(), training=True, momentum=1.0, eps=EPSILON)
    statistics |= {name: row.view_as(mean) for name, row in zip(list(op.norm.shapes)[2:], batch, strict=True)}
    return hidden
