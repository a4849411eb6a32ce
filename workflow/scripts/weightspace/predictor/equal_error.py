"""Originals changed in a simple way by as much, layer by layer, as a predictor changes them.

A predictor's network that answers better than its original (Choi et al. 2024) shows something only if these do not.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from weightspace.errors import InputError
from weightspace.predictor.kernels import Layout, Part, from_kernels, to_kernels
from weightspace.predictor.spectra import frequency, grid_of

KINDS = ("noise", "truncated", "shrunk", "low_pass")
HALVINGS = 60  # of the interval in which the energy to remove lies: down to rounding in float64


def at_equal_error(
    kind: str,
    layout: Layout,
    originals: dict[str, Float[Tensor, "..."]],
    predicted: dict[str, Float[Tensor, "..."]],
    rank: Int[Tensor, "model kernel"],
    generators: Sequence[Generator],
) -> dict[str, Float[Tensor, "..."]]:
    """Predicted layers of the originals, changed so that each layer has the error that it has in the predicted networks.

    `rank` is used by low_pass, `generators`, one per model, by noise. Raises InputError for a kind that is none of KINDS.
    """
    names = [part.name for part in layout.parts]
    errors = {name: (originals[name] - predicted[name]).double().flatten(1).norm(dim=1) for name in names}
    if kind == "noise":
        return {name: noise(originals[name], errors[name], generators) for name in names}
    if kind == "truncated":
        return {name: truncated(originals[name], errors[name]) for name in names}
    if kind == "shrunk":
        return {name: shrunk(originals[name], errors[name]) for name in names}
    if kind != "low_pass":
        raise InputError(f"there is no control {kind!r} at equal error, only {', '.join(KINDS)}")
    kernels, mask, smooth = to_kernels(layout, originals), layout.mask.to(rank.device), []
    for part in layout.parts:
        own = rank[:, part.rows] - part.begin
        smooth.append(low_pass(part, kernels[:, part.rows], mask[part.rows], own, errors[part.name]))
    return from_kernels(layout, torch.cat(smooth, 1))


def noise(
    weights: Float[Tensor, "model ..."], error: Float[Tensor, " model"], generators: Sequence[Generator]
) -> Float[Tensor, "model ..."]:
    """Weights plus a normal vector scaled to the norm `error`; each model's from its own generator."""
    draws = [torch.randn(weights.shape[1:], generator=generator, dtype=torch.float64) for generator in generators]
    unit = torch.nn.functional.normalize(torch.stack(draws).flatten(1), dim=1).to(weights.device)
    return (weights.double() + (error.unsqueeze(1) * unit).view(weights.shape)).to(weights.dtype)


def shrunk(weights: Float[Tensor, "model ..."], error: Float[Tensor, " model"]) -> Float[Tensor, "model ..."]:
    """w (1 - a) with a = error / ||w||; zero weights stay zero, and an error above ||w|| leaves nothing."""
    norm = weights.double().flatten(1).norm(dim=1)
    share = torch.where(norm > 0, error / norm, 0.0).clamp_max(1.0)
    return (weights.double() * (1 - share).view(-1, *[1] * (weights.ndim - 1))).to(weights.dtype)


def truncated(weights: Float[Tensor, "model unit ..."], error: Float[Tensor, " model"]) -> Float[Tensor, "model unit ..."]:
    """Smallest singular values of F x (C k k) set to zero until the error is met, the last one only in part.

    At a rank's error this is the best matrix of that rank (Eckart and Young 1936). An error above ||w|| leaves nothing.
    """
    left, values, right = torch.linalg.svd(weights.double().flatten(2), full_matrices=False)
    factors = _factors(values.square().flip(-1), error.square()).flip(-1)
    return ((left * (values * factors).unsqueeze(1)) @ right).view(weights.shape).to(weights.dtype)


def low_pass(
    part: Part,
    kernels: Float[Tensor, "model own element"],
    mask: Bool[Tensor, "own element"],
    rank: Int[Tensor, "model own"],
    error: Float[Tensor, " model"],
) -> Float[Tensor, "model own element"]:
    """Highest frequencies over (filter, channel), as the ranks order kernels, set to zero until the error is met.

    Frequencies go by the radius of `spectra.frequency`, ring by ring and all kernel positions at once, the last ring only in
    part. Where only some kernels are padded the error without the padding is met, by bisection. An error above ||w|| leaves
    nothing.
    """
    spectrum = torch.fft.fft2(grid_of(part, kernels.double(), rank), dim=(1, 2), norm="ortho")
    radii, ring = frequency(part.filters, part.channels).to(kernels.device).unique(return_inverse=True)
    energy = spectrum.abs().square().sum(-1).flatten(1)
    rings = energy.new_zeros(len(energy), len(radii)).index_add_(1, ring.flatten(), energy)

    def removing(budget: Tensor) -> Tensor:
        factors = _factors(rings.flip(-1), budget).flip(-1)[:, ring]
        grid = torch.fft.ifft2(spectrum * factors.unsqueeze(-1), dim=(1, 2), norm="ortho").real
        own = grid.flatten(1, 2).gather(1, rank.unsqueeze(-1).expand_as(kernels))
        return own * mask

    if (mask == mask[0]).all():
        return removing(error.square()).to(kernels.dtype)
    least, most = torch.zeros_like(error), rings.sum(1)
    for _ in range(HALVINGS):
        middle = (least + most) / 2
        enough = (removing(middle) - kernels).flatten(1).norm(dim=1) >= error
        least, most = torch.where(enough, least, middle), torch.where(enough, middle, most)
    return removing(most).to(kernels.dtype)


def _factors(energy: Float[Tensor, "model component"], budget: Float[Tensor, " model"]) -> Float[Tensor, "model component"]:
    """What each component is multiplied by so that the first ones go: sum of (1 - factor)^2 energy is the budget."""
    before = energy.cumsum(1) - energy
    removed = (budget.unsqueeze(1) - before).clamp_min(0.0).minimum(energy)
    return 1 - torch.where(energy > 0, removed / energy, 0.0).sqrt()
