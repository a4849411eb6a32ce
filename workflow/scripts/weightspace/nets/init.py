"""Initial weights, as the papers draw them."""

from collections.abc import Callable
from math import prod, sqrt

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from weightspace.nets.spec import NORM_PARTS, NetSpec, Weights

BIAS = 0.01  # every bias of the papers' zoos (Meynent et al. 2025, model zoos)
NORM = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}

INITS: dict[str, Callable[[tuple[int, ...], Generator], Tensor]] = {
    # He et al. 2015, gain of relu: U(-b, b) with b = sqrt(6 / fan_in), or N(0, 2 / fan_in)
    "kaiming_uniform": lambda shape, rng: (2 * torch.rand(shape, generator=rng) - 1) * sqrt(6 / prod(shape[1:])),
    "kaiming_normal": lambda shape, rng: torch.randn(shape, generator=rng) * sqrt(2 / prod(shape[1:])),
    "uniform": lambda shape, rng: torch.rand(shape, generator=rng),  # U[0, 1), torch's default bounds
    "normal": lambda shape, rng: torch.randn(shape, generator=rng),
}


def initial_weights(spec: NetSpec, init: str, generator: Generator, bias: float | None = BIAS) -> Float[Tensor, " weight"]:
    """Flat weights of one model: `init` for weights, `bias` for biases; batch norms start as the identity.

    Without a `bias` they are uniform in +-1 / sqrt(fan_in), torch's default, which the CIFAR residual networks of NeRN keep
    beside kaiming_normal weights (akamaster's).
    """
    pieces = []
    for op in spec.ops:
        if op.weights is not None:
            pieces.append(INITS[init](op.weights.weight_shape, generator).flatten())
            if op.weights.has_bias:
                pieces.append(_biases(op.weights, generator) if bias is None else torch.full((op.weights.out,), bias))
        if op.norm is not None:
            pieces += [torch.full((op.norm.channels,), NORM[part]) for part in NORM_PARTS]
    return torch.cat(pieces)


def _biases(weights: Weights, generator: Generator) -> Tensor:
    return (2 * torch.rand(weights.out, generator=generator) - 1) / sqrt(prod(weights.fan_in))
