"""Optimizers of a stack: one step of every model, as torch's own takes it on the model alone."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

SECOND_DECAY, EPSILON = 0.999, 1e-8  # Adam's defaults (Kingma and Ba 2015)


class Moments(NamedTuple):
    """State of a stacked optimizer; updated in place."""

    first: Float[Tensor, "model weight"]
    second: Float[Tensor, "model weight"]


class Pace(NamedTuple):
    """How far a step goes."""

    step: int  # counted from 1
    rate: Float[Tensor, "model 1"]
    decay: Float[Tensor, "model ..."]  # one number, or one per weight: 0 where it is not learned
    momentum: float  # of Adam: decay of the first moment


def zero_moments(weights: Float[Tensor, "model weight"]) -> Moments:
    """Moments before the first step."""
    return Moments(torch.zeros_like(weights), torch.zeros_like(weights))


def sgd(weights: Tensor, gradient: Tensor, moments: Moments, pace: Pace) -> None:
    """torch.optim.SGD with momentum and L2."""
    moments.first.mul_(pace.momentum).add_(torch.addcmul(gradient, weights, pace.decay))
    weights.addcmul_(moments.first, pace.rate, value=-1)


def adam(weights: Tensor, gradient: Tensor, moments: Moments, pace: Pace) -> None:
    """torch.optim.Adam, whose L2 is added to the gradient."""
    _adam(weights, torch.addcmul(gradient, weights, pace.decay), moments, pace)


def adamw(weights: Tensor, gradient: Tensor, moments: Moments, pace: Pace) -> None:
    """torch.optim.AdamW, whose decay is decoupled (Loshchilov and Hutter 2019)."""
    weights.mul_(1 - pace.rate * pace.decay)
    _adam(weights, gradient, moments, pace)


def _adam(weights: Tensor, gradient: Tensor, moments: Moments, pace: Pace) -> None:
    moments.first.lerp_(gradient, 1 - pace.momentum)
    moments.second.mul_(SECOND_DECAY).addcmul_(gradient, gradient, value=1 - SECOND_DECAY)
    denominator = (moments.second / (1 - SECOND_DECAY**pace.step)).sqrt_().add_(EPSILON)
    weights.sub_(moments.first / denominator * (pace.rate / (1 - pace.momentum**pace.step)))


# Weights and moments change in place.
OPTIMIZERS: dict[str, Callable[[Tensor, Tensor, Moments, Pace], None]] = {"adam": adam, "adamw": adamw, "sgd": sgd}
