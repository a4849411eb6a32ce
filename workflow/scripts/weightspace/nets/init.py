"""Initial weights, as the papers draw them."""

from __future__ import annotations

from collections.abc import Callable
from math import prod, sqrt
from typing import TYPE_CHECKING

from weightspace.lazily import torch
from weightspace.nets.spec import NetSpec

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Generator, Tensor

BIAS = 0.01  # every bias of the papers' zoos (Meynent et al. 2025, model zoos)
BIASES = {"published": BIAS, "uniform": None}  # by the names that recipe.BiasesName has

INITS: dict[str, Callable[[tuple[int, ...], Generator], Tensor]] = {
    # He et al. 2015, gain of relu: U(-b, b) with b = sqrt(6 / fan_in), or N(0, 2 / fan_in)
    "kaiming_uniform": lambda shape, rng: (2 * torch.rand(shape, generator=rng) - 1) * sqrt(6 / prod(shape[1:])),
    "kaiming_normal": lambda shape, rng: torch.randn(shape, generator=rng) * sqrt(2 / prod(shape[1:])),
    "uniform": lambda shape, rng: torch.rand(shape, generator=rng),  # U[0, 1), torch's default bounds
    "normal": lambda shape, rng: torch.randn(shape, generator=rng),
}


def initial_weights(spec: NetSpec, init: str, generator: Generator, bias: float | None = BIAS) -> Float[Tensor, " weight"]:
    """Flat weights of one model: `init` for weights, `bias` for biases; norms start as the identity.

    Without a `bias` they are uniform in +-1 / sqrt(fan_in), torch's default, which the CIFAR residual networks of NeRN keep
    beside kaiming_normal weights (akamaster's).
    """
    pieces = []
    for op in spec.ops:
        for parameter in op.made.parameters:
            if parameter.start == "init":
                pieces.append(INITS[init](parameter.shape, generator).flatten())
            elif parameter.start == "bias" and bias is None:
                pieces.append((2 * torch.rand(parameter.shape, generator=generator) - 1) / sqrt(prod(op.weights.fan_in)))
            else:
                pieces.append(torch.full((prod(parameter.shape),), bias if parameter.start == "bias" else parameter.start))
    return torch.cat(pieces)
