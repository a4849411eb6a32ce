"""Codes drawn from those of anchors: the samplers of the papers, as published and with independent draws."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from weightspace.generation.settings import GenerationSettings

NEGLIGIBLE = 1e-6  # of the largest singular value


class Drawn(NamedTuple):
    """Codes, and for each the one anchor that it is made from, if it is made from one."""

    codes: Float[Tensor, "network token feature"]
    parents: Int[Tensor, " network"] | None


def draw_codes(
    anchors: Float[Tensor, "anchor token feature"], generator: Generator, num: int, config: GenerationSettings
) -> Drawn:
    """Codes as the sampler of the settings draws them; random numbers are drawn on the CPU."""
    return SAMPLERS[config.sampler](anchors, generator, num, config)


def kde_published(anchors: Tensor, generator: Generator, num: int, config: GenerationSettings) -> Drawn:
    """One anchor and one shift for all numbers of a network: a density for each number, all sampled with one seed.

    So the published code draws (SANE, 888543c, sample_models.py, mode `individual`, and the hyper-representations before it):
    each density draws the same index and the same normal number.
    """
    parents = _places(len(anchors), (num,), generator)
    shifts = torch.randn(num, generator=generator).to(anchors).view(-1, 1, 1)
    return Drawn(anchors[parents] + _widths(anchors, config) * shifts, parents)


def kde_published_token(anchors: Tensor, generator: Generator, num: int, config: GenerationSettings) -> Drawn:
    """One anchor, and one shift of a token that all its tokens get: densities of tokens, all with one seed (mode `token`)."""
    parents = _places(len(anchors), (num,), generator)
    shifts = torch.randn(num, 1, anchors.shape[2], generator=generator).to(anchors)
    return Drawn(anchors[parents] + _widths(anchors, config) * shifts, parents)


def kde_number(anchors: Tensor, generator: Generator, num: int, config: GenerationSettings) -> Drawn:
    """An anchor and a shift for every number: the densities of mode `individual`, each with draws of its own."""
    places = _places(len(anchors), (num, *anchors.shape[1:]), generator)
    mixed = anchors.flatten(1).gather(0, places.flatten(1)).view(num, *anchors.shape[1:])
    return Drawn(_shifted(mixed, anchors, generator, config), None)


def kde_token(anchors: Tensor, generator: Generator, num: int, config: GenerationSettings) -> Drawn:
    """An anchor and a shift for every token: SANE's algorithm 3, the densities of mode `token` with draws of their own."""
    places = _places(len(anchors), (num, anchors.shape[1]), generator)
    mixed = anchors[places, torch.arange(anchors.shape[1])]
    return Drawn(_shifted(mixed, anchors, generator, config), None)


def kde_joint(anchors: Tensor, generator: Generator, num: int, config: GenerationSettings) -> Drawn:
    """One anchor for the network, and a shift for every number: one density over whole codes."""
    parents = _places(len(anchors), (num,), generator)
    return Drawn(_shifted(anchors[parents], anchors, generator, config), parents)


def kde_pca(anchors: Tensor, generator: Generator, num: int, config: GenerationSettings) -> Drawn:
    """The same with shifts along principal directions of the anchors alone; what an anchor has beside them stays."""
    parents = _places(len(anchors), (num,), generator)
    flat = anchors.flatten(1)
    _, singular, directions = torch.linalg.svd((flat - flat.mean(0)).double(), full_matrices=False)
    kept = (singular > singular[0] * NEGLIGIBLE).nonzero().flatten()[: config.components]
    widths = singular[kept] / (len(anchors) - 1) ** 0.5 if config.unit == "deviation" else torch.ones(len(kept))
    shifts = torch.randn(num, len(kept), generator=generator).to(directions) * config.bandwidth * widths.to(directions)
    return Drawn((flat[parents] + (shifts @ directions[kept]).to(flat)).view(num, *anchors.shape[1:]), parents)


def gaussian_start(anchors: Tensor, generator: Generator, num: int, config: GenerationSettings) -> Drawn:
    """Every number normal and by itself, with the mean and deviation that it has over the anchors: a start for bootstrapping.

    SANE's start is N(0, 10) for all numbers, whatever they are.
    """
    draws = torch.randn(num, *anchors.shape[1:], generator=generator).to(anchors)
    return Drawn(anchors.mean(0) + anchors.std(0) * draws, None)


SAMPLERS: dict[str, Callable[[Tensor, Generator, int, GenerationSettings], Drawn]] = {
    "kde_published": kde_published,
    "kde_published_token": kde_published_token,
    "kde_number": kde_number,
    "kde_token": kde_token,
    "kde_joint": kde_joint,
    "kde_pca": kde_pca,
    "gaussian_start": gaussian_start,
}


def _places(num_anchors: int, shape: tuple[int, ...], generator: Generator) -> Int[Tensor, "*shape"]:
    return torch.randint(num_anchors, shape, generator=generator)


def _widths(anchors: Tensor, config: GenerationSettings) -> Tensor | float:
    """Deviation of the shifts, of all numbers or of each."""
    return config.bandwidth * (anchors.std(0) if config.unit == "deviation" else 1.0)


def _shifted(codes: Tensor, anchors: Tensor, generator: Generator, config: GenerationSettings) -> Tensor:
    """Codes whose every number has a shift of its own."""
    return codes + _widths(anchors, config) * torch.randn(codes.shape, generator=generator).to(codes)
