"""Queries and answers in units that training likes, and recovered weights back in the teacher's units."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from weightspace.nets.spec import NetSpec
from weightspace.recovery.layers import incoming, with_layers
from weightspace.recovery.queries import Queries


class Scaling(NamedTuple):
    """Shift and scale of inputs (per channel) and of answers (shift per output, one scale per teacher)."""

    x_mean: Float[Tensor, " channel"]
    x_scale: Float[Tensor, " channel"]
    y_mean: Float[Tensor, "teacher output"]
    y_scale: Float[Tensor, " teacher"]

    def inputs(self, x: Float[Tensor, "set query channel height width"]) -> Float[Tensor, "set query channel height width"]:
        """Inputs as networks in training see them."""
        return (x.double() - self.x_mean.view(-1, 1, 1)) / self.x_scale.view(-1, 1, 1)

    def answers(self, y: Float[Tensor, "teacher query output"]) -> Float[Tensor, "teacher query output"]:
        """Answers with mean 0 per output and variance 1 in all."""
        return (y - self.y_mean.unsqueeze(1)) / self.y_scale.view(-1, 1, 1)


def scaling_of(spec: NetSpec, queries: Queries) -> Scaling:
    """From the train queries; a constant channel or teacher keeps its scale, and zeros around an image stay zeros."""
    x, y = queries.train_x.double(), queries.train_y
    mean, scale = x.mean((0, 1, 3, 4)), x.std((0, 1, 3, 4))
    if any(op.sizes.get("padding") for op in spec.ops):
        mean = torch.zeros_like(mean)
    y_mean = y.mean(1)
    y_scale = (y - y_mean.unsqueeze(1)).square().mean((1, 2)).sqrt()
    return Scaling(mean, torch.where(scale > 0, scale, 1.0), y_mean, torch.where(y_scale > 0, y_scale, 1.0))


def in_teacher_units(
    spec: NetSpec, weights: Float[Tensor, "model weight"], scaling: Scaling, teachers: Tensor
) -> Float[Tensor, "model weight"]:
    """Weights of networks of raw inputs and answers, from those of scaled ones; `teachers` says whom each model imitates."""
    first, last = incoming(spec, weights, 0), incoming(spec, weights, len(spec.layers) - 1)
    entries = (first.shape[2] - 1) // len(scaling.x_mean)
    mean, scale = scaling.x_mean.repeat_interleave(entries), scaling.x_scale.repeat_interleave(entries)
    kernel = first[..., :-1] / scale
    first = torch.cat([kernel, first[..., -1:] - (kernel @ mean).unsqueeze(2)], dim=2)
    weights = with_layers(spec, weights, {0: first})[1]
    last = last * scaling.y_scale[teachers].view(-1, 1, 1)
    last[..., -1] += scaling.y_mean[teachers]
    return with_layers(spec, weights, {len(spec.layers) - 1: last})[1]


def skip_in_teacher_units(
    skip: Float[Tensor, "output input_and_1"], scaling: Scaling, teacher: int
) -> Float[Tensor, "output input_and_1"]:
    """What an affine map of scaled inputs adds to scaled answers, for raw ones; the answers' shift is the network's."""
    entries = (skip.shape[1] - 1) // len(scaling.x_mean)
    mean, scale = scaling.x_mean.repeat_interleave(entries), scaling.x_scale.repeat_interleave(entries)
    slopes = skip[:, :-1] / scale
    return scaling.y_scale[teacher] * torch.cat([slopes, (skip[:, -1] - slopes @ mean).unsqueeze(1)], dim=1)
