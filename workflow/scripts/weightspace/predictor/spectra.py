"""How smooth weights are: singular values, frequencies over (filter, channel), likeness of neighboring kernels."""

from math import ceil

import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightspace.predictor.kernels import Layout, Part, to_kernels

HALF_NYQUIST = 0.25  # cycles per kernel


def singular_values(weights: Float[Tensor, "model unit ..."]) -> Float[Tensor, "model value"]:
    """Of each layer as a matrix F x (C k k), largest first."""
    return torch.linalg.svdvals(weights.flatten(2).double())


def largest_share(values: Float[Tensor, "*stack value"]) -> Float[Tensor, "*stack"]:
    """Largest singular value over the sum of all: 1 for a matrix of rank one."""
    return values.amax(-1) / values.sum(-1)


def largest_tenth_share(values: Float[Tensor, "*stack value"]) -> Float[Tensor, "*stack"]:
    """Sum of the largest tenth of the singular values (rounded up) over the sum of all."""
    return values.topk(ceil(values.shape[-1] / 10)).values.sum(-1) / values.sum(-1)


def stable_rank(values: Float[Tensor, "*stack value"]) -> Float[Tensor, "*stack"]:
    """||W||_F^2 / s_1^2: from 1 to the rank."""
    return values.square().sum(-1) / values.amax(-1).square()


def grid_of(
    part: Part, kernels: Float[Tensor, "model own element"], rank: Int[Tensor, "model own"]
) -> Float[Tensor, "model filter channel element"]:
    """Kernels of one layer, each at the (filter, channel) that its rank in the layer (from 0) stands for."""
    index = rank.unsqueeze(-1).expand_as(kernels)
    return torch.zeros_like(kernels).scatter_(1, index, kernels).view(len(kernels), part.filters, part.channels, -1)


def frequency(filters: int, channels: int) -> Float[Tensor, "filter channel"]:
    """Radius of each entry of a two-dimensional DFT, in cycles per kernel: up to sqrt(1/2)."""
    along_filters, along_channels = (torch.fft.fftfreq(number, dtype=torch.float64) for number in (filters, channels))
    return (along_filters.square()[:, None] + along_channels.square()).sqrt()


def high_frequency_share(grid: Float[Tensor, "*stack filter channel element"]) -> Float[Tensor, "*stack"]:
    """Share of the DFT's energy over (filter, channel) at radii above half Nyquist, all kernel positions together.

    The mean counts as frequency 0. Of a grid of zeros it is not a number.
    """
    energy = torch.fft.fft2(grid.double(), dim=(-3, -2)).abs().square().sum(-1)
    high = frequency(*energy.shape[-2:]).to(energy.device) > HALF_NYQUIST
    return (energy * high).sum((-2, -1)) / energy.sum((-2, -1))


def neighbor_cosine(grid: Float[Tensor, "*stack filter channel element"]) -> Float[Tensor, "*stack"]:
    """Mean cosine of kernels (f, c) with (f, c + 1) and (f + 1, c); 0 with a kernel of zeros; a single kernel has none (nan)."""
    unit = torch.nn.functional.normalize(grid.double(), dim=-1)
    along_filters = (unit[..., 1:, :, :] * unit[..., :-1, :, :]).sum(-1).flatten(-2)
    along_channels = (unit[..., 1:, :] * unit[..., :-1, :]).sum(-1).flatten(-2)
    return torch.cat([along_filters, along_channels], -1).mean(-1)


def measure_layers(
    layout: Layout, parameters: dict[str, Float[Tensor, "..."]], rank: Int[Tensor, "model kernel"]
) -> dict[str, dict[str, Float[Tensor, " model"]]]:
    """Singular values and smoothness (after Choi et al. 2024) of each predicted layer; `ordered` is at the ranks' coordinates."""
    kernels = to_kernels(layout, parameters)
    return {
        part.name: _measures(parameters[part.name], part, kernels[:, part.rows], rank[:, part.rows] - part.begin)
        for part in layout.parts
    }


def _measures(weights: Tensor, part: Part, kernels: Tensor, rank: Tensor) -> dict[str, Tensor]:
    values = singular_values(weights)
    plain = grid_of(part, kernels, torch.arange(rank.shape[1], device=rank.device).expand_as(rank))
    ordered = grid_of(part, kernels, rank)
    return {
        "singular_largest_share": largest_share(values),
        "singular_largest_tenth_share": largest_tenth_share(values),
        "stable_rank": stable_rank(values),
        "high_frequency_share": high_frequency_share(plain),
        "high_frequency_share_ordered": high_frequency_share(ordered),
        "neighbor_cosine": neighbor_cosine(plain),
        "neighbor_cosine_ordered": neighbor_cosine(ordered),
    }
