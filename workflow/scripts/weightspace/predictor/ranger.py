"""Ranger for a stack: rectified Adam, lookahead, centralized gradients, as the official code of NeRN runs it."""

from math import cos, pi, sqrt
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from weightspace.nets.forward import unflatten
from weightspace.nets.spec import NetSpec

DECAY_1, DECAY_2, EPSILON = 0.5, 0.999, 1e-5
LONGEST = 2 / (1 - DECAY_2) - 1  # length of the second moment's average, in the limit
RECTIFIED_FROM = 5.0  # length from which its variance is finite, so that it may divide (Liu et al. 2020)
LOOKAHEAD_STEPS, LOOKAHEAD_SHARE = 6, 0.5


class Averages(NamedTuple):
    """State of the stacked optimizer; updated in place."""

    first: Float[Tensor, "model weight"]
    second: Float[Tensor, "model weight"]
    slow: Float[Tensor, "model weight"]  # weights of the lookahead


class Rates(NamedTuple):
    """What a step is scaled by."""

    learning_rate: float
    weight_decay: float  # decoupled


def start_averages(weights: Float[Tensor, "model weight"]) -> Averages:
    """Before the first step."""
    return Averages(torch.zeros_like(weights), torch.zeros_like(weights), weights.detach().clone())


def ranger_step(
    spec: NetSpec,
    weights: Float[Tensor, "model weight"],
    gradient: Float[Tensor, "model weight"],
    averages: Averages,
    rates: Rates,
    step: int,
) -> None:
    """One step (counted from 1) of every model, in place.

    Gradients of weight matrices lose their mean over inputs, as in the official code whatever its settings say. Every
    LOOKAHEAD_STEPS steps the weights go back to LOOKAHEAD_SHARE of the distance that they have moved since the last time.
    """
    rate, decay = rates
    gradient = centralized(spec, gradient)
    averages.first.lerp_(gradient, 1 - DECAY_1)
    averages.second.mul_(DECAY_2).addcmul_(gradient, gradient, value=1 - DECAY_2)
    weights.mul_(1 - rate * decay)
    size = rate / (1 - DECAY_1**step)
    rectified = rectification(step)
    if rectified > 0:
        weights.addcdiv_(averages.first, averages.second.sqrt().add_(EPSILON), value=-size * rectified)
    else:
        weights.add_(averages.first, alpha=-size)
    if step % LOOKAHEAD_STEPS == 0:
        averages.slow.lerp_(weights, LOOKAHEAD_SHARE)
        weights.copy_(averages.slow)


def rectification(step: int) -> float:
    """r_t sqrt(1 - DECAY_2^t) of rectified Adam, 0 where the second moment's variance is not finite (Liu et al. 2020)."""
    corrected = 1 - DECAY_2**step
    length = LONGEST - 2 * step * (1 - corrected) / corrected
    if length <= RECTIFIED_FROM:
        return 0.0
    variance = (length - 4) * (length - 2) * LONGEST / ((LONGEST - 4) * (LONGEST - 2) * length)
    return sqrt(corrected * variance)


def centralized(spec: NetSpec, gradient: Float[Tensor, "model weight"]) -> Float[Tensor, "model weight"]:
    """The gradient without the mean over inputs of each row of a weight matrix (Yong et al. 2020); a new tensor."""
    gradient = gradient.clone()
    for name, piece in unflatten(spec, gradient).items():
        if name.endswith(".weight"):
            piece -= piece.mean(dim=-1, keepdim=True)
    return gradient


def cosine_rate(first: float, last: float, step: int, steps: int) -> float:
    """Learning rate of a step (counted from 1): from `first` down half a cosine, to `last` after the end."""
    return last + (first - last) * (1 + cos(pi * (step - 1) / steps)) / 2
