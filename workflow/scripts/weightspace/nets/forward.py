"""One functional forward pass, for many networks at once."""

from collections.abc import Callable
from math import prod

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from weightspace.nets.activations import ACTIVATIONS
from weightspace.nets.layers import LAYERS
from weightspace.nets.spec import NetSpec
from weightspace.nets.steps import Op, Run, Training

MOMENTUM = 0.1  # of batch norm, torch's default
EVALUATION = Training()


def unflatten(spec: NetSpec, weights: Float[Tensor, "*stack weight"]) -> dict[str, Float[Tensor, "..."]]:
    """Parameters by name, as views of the flat weights; inverse of `flatten`."""
    pieces = weights.split([prod(shape) for shape in spec.shapes.values()], dim=-1)
    return {
        name: piece.view(*weights.shape[:-1], *shape) for piece, (name, shape) in zip(pieces, spec.shapes.items(), strict=True)
    }


def flatten(spec: NetSpec, parameters: dict[str, Float[Tensor, "..."]]) -> Float[Tensor, "*stack weight"]:
    """Flat weights of parameters by name, in the spec's order; inverse of `unflatten`."""
    return torch.cat([parameters[name].flatten(-len(shape)) for name, shape in spec.shapes.items()], dim=-1)


def learned(spec: NetSpec) -> Bool[Tensor, " weight"]:
    """True for weights that are learned, False for running statistics."""
    sizes = torch.tensor([prod(parameter.shape) for parameter in spec.parameters])
    return torch.tensor([parameter.learned for parameter in spec.parameters]).repeat_interleave(sizes)


def forward(
    spec: NetSpec,
    weights: Float[Tensor, "model weight"],
    images: Float[Tensor, "sets batch channel height width"],
    observe: Callable[[Op, Tensor, Tensor], None] | None = None,
    maps: list[Tensor] | None = None,
    training: Training = EVALUATION,
) -> Float[Tensor, "model batch class"]:
    """Logits of each model on its own images, or of all models on the same ones where `sets` is 1.

    `observe` is called with each layer of weights, what goes in ([model or 1, batch, in], [model, batch, position, in] or
    [batch, channels of all, h, w]) and what comes out of it, before batch norm and activation. `maps` is filled with each
    feature map before its activation, [model, batch, channel, h, w]: convolutions, after their batch norms, and sums of images,
    without those within shortcuts.
    Batch norms use running statistics, or, where `training.statistics` is a dictionary, those of the batch, which are left in
    it by the names of the running ones (see `move_statistics`). Dropout acts where `training.seeds` has a number per model.

    Convolutions run with models as groups: one call for the whole stack, with channels last in memory.
    """
    parameters, run, kept = unflatten(spec, weights), Run(ACTIVATIONS[spec.activation].function, training), []
    if not spec.plain:  # a plain net's first convolution makes every model's channels of the shared images
        images = images.expand(len(weights), -1, -1, -1, -1)
    hidden = channels_last(rearrange(images, "m b c h w -> b (m c) h w"))
    for op in spec.ops:
        layer, before = LAYERS[op.kind], hidden
        if layer.route:
            hidden = layer.route(hidden, kept, torch.add)
        else:
            hidden = layer.apply(op, hidden, [parameters[each.name] for each in op.made.parameters], run)
        if observe and op.weights is not None:
            observe(op, before, hidden)
        if maps is not None and op.made.mapped:
            maps.append(rearrange(hidden, "b (m c) h w -> m b c h w", c=op.made.shape[0]))
    return hidden


def channels_last(images: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch channel height width"]:
    """The same with channels last in memory, also where there is one channel, whose strides torch's `contiguous` leaves alone.

    Convolutions and pooling go by these strides: many networks on the same gray images run 3 to 5 times as fast.
    """
    return torch.empty_like(images, memory_format=torch.channels_last).copy_(images)


def move_statistics(
    spec: NetSpec, weights: Float[Tensor, "model weight"], statistics: dict[str, Tensor], momentum: float = MOMENTUM
) -> None:
    """Move the running statistics within the weights towards a batch's, in place: (1 - momentum) running + momentum batch's."""
    parameters = unflatten(spec, weights)
    for name, batch in statistics.items():
        parameters[name].lerp_(batch, momentum)
