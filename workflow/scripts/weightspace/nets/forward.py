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
) -> Float[Tensor, "model batch class"]:
    """Logits of each model on its own images, or of all models on the same ones where `sets` is 1.

    `observe` is called with each layer of weights, what goes in ([model or 1, batch, in], or [batch, channels of all, h, w])
    and what comes out of it, before the activation.

    Convolutions run with models as groups: one call for the whole stack. Channels lie last in memory, which made
    convolution and pooling of such stacks three times as fast on a CPU (docs/log.md).
    """
    parameters = unflatten(spec, weights)
    hidden = rearrange(images, "m b c h w -> b (m c) h w").contiguous(memory_format=torch.channels_last)
    groups = len(images)
    for op in spec.ops:
        before = hidden
        if op.kind == "conv":
            hidden, groups = _conv(hidden, groups, op, parameters), len(weights)
        elif op.kind == "pool":
            hidden = F.max_pool2d(hidden, op.pool)
        elif op.kind == "activation":
            hidden = ACTIVATIONS[spec.activation].function(hidden)
        elif op.kind == "flatten":
            hidden = rearrange(hidden, "b (m c) h w -> m b (c h w)", m=groups)
        else:
            bias = parameters[f"{op.weights.name}.bias"].unsqueeze(1)
            hidden = hidden @ parameters[f"{op.weights.name}.weight"].mT + bias
        if observe and op.weights is not None:
            observe(op, before, hidden)
    return hidden


def _conv(hidden: Tensor, groups: int, op: Op, parameters: dict[str, Tensor]) -> Tensor:
    weight, bias = parameters[f"{op.weights.name}.weight"], parameters[f"{op.weights.name}.bias"]
    return F.conv2d(hidden, weight.flatten(0, 1), bias.flatten(), groups=groups, padding=op.padding)
