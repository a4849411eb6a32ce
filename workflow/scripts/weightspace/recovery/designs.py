"""Designs: how the inputs that a teacher is asked are drawn."""

from collections.abc import Callable
from math import ceil
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float32, Float64
from torch import Generator, Tensor

from weightspace.errors import InputError
from weightspace.recovery.settings import QueriesConfig
from weightspace.recovery.teachers import Answer, cube

BISECTIONS = 20  # halvings of the way between two inputs: a millionth of it is left
GRIDS = (2, 3)  # images along a side of a composition
SHIFT = 2.0  # deviation of the off-distribution inputs over that of a design without images


class Drawn(NamedTuple):
    """Inputs of one split, shared by all teachers or per teacher, and what finding them took."""

    x: Float32[Tensor, "set query channel height width"]  # set is 1 or one per teacher
    asked: int = 0  # answers of each teacher that were needed to find them


class Place(NamedTuple):
    """What inputs are drawn for and from."""

    shape: tuple[int, int, int]  # channel, height, width
    pool: Float32[Tensor, "image channel height width"] | None  # normalized images of the split
    answers: list[Answer]


def draw_inputs(config: QueriesConfig, place: Place, num: int, rng: Generator) -> Drawn:
    """At most `num` inputs of the design; raises InputError if a design finds none."""
    if config.design == "boundary":
        return _boundary(config, place, num, rng)
    return Drawn(DESIGNS[config.design](config, place, num, rng).float().unsqueeze(0))


def draw_shifted(config: QueriesConfig, place: Place, num: int, rng: Generator, images: bool) -> Drawn:
    """Gaussian inputs off the distribution: of twice the design's deviation, or of deviation 1 where there are images."""
    deviation = 1.0 if images else SHIFT * config.scale
    return Drawn((deviation * torch.randn(1, num, *place.shape, generator=rng, dtype=torch.float64)).float())


def _data(config: QueriesConfig, place: Place, num: int, rng: Generator) -> Tensor:
    return place.pool[torch.randperm(len(place.pool), generator=rng)[:num]]


def _uniform(config: QueriesConfig, place: Place, num: int, rng: Generator) -> Tensor:
    return config.scale * cube(num, place.shape, rng)


def _gaussian(config: QueriesConfig, place: Place, num: int, rng: Generator) -> Tensor:
    return config.scale * torch.randn(num, *place.shape, generator=rng, dtype=torch.float64)


def _composition(config: QueriesConfig, place: Place, num: int, rng: Generator) -> Tensor:
    """Grids of 2 x 2 and, every other one, of 3 x 3 shrunken images (Beiser et al. 2025)."""
    _, height, width = place.shape
    x = torch.empty(num, *place.shape)
    for start, side in enumerate(GRIDS):
        small = F.interpolate(place.pool, (ceil(height / side), ceil(width / side)), mode="bilinear", antialias=True)
        rows = torch.randint(len(small), (len(x[start :: len(GRIDS)]), side * side), generator=rng)
        tiled = rearrange(small[rows], "query (a b) c h w -> query c (a h) (b w)", a=side)
        x[start :: len(GRIDS)] = tiled[..., :height, :width]
    return x


def _biased_noise(config: QueriesConfig, place: Place, num: int, rng: Generator) -> Tensor:
    """Images plus noise of a deviation uniform in [0, 1], plus a constant N(0, 1), both one per image (Beiser et al. 2025)."""
    strength, bias = torch.rand(num, 1, 1, 1, generator=rng), torch.randn(num, 1, 1, 1, generator=rng)
    images = place.pool[torch.randint(len(place.pool), (num,), generator=rng)]
    return images + strength * torch.randn(num, *place.shape, generator=rng) + bias


DESIGNS: dict[str, Callable[[QueriesConfig, Place, int, Generator], Tensor]] = {
    "data": _data,
    "uniform": _uniform,
    "gaussian": _gaussian,
    "composition": _composition,
    "biased_noise": _biased_noise,
}


def _boundary(config: QueriesConfig, place: Place, num: int, rng: Generator) -> Drawn:
    """Inputs between two classes of each teacher, from as many pairs of images or of gaussian inputs."""
    ends = (_gaussian if config.images is None else _data)(config, place, 2 * num, rng).double()
    x = torch.stack([bisected(answer, ends, num, rng) for answer in place.answers])
    return Drawn(x.float(), len(ends) + BISECTIONS * num)


def bisected(
    answer: Answer, ends: Float64[Tensor, "end channel height width"], num: int, rng: Generator
) -> Float64[Tensor, "query channel height width"]:
    """`num` points within a millionth of the way between two `ends` from where the largest output changes.

    Raises InputError if there is one output only, or if all ends are of one class.
    """
    y = answer(ends)
    labels = y.argmax(1)
    first, second = _unequal_pairs(labels, num, rng)
    if y.shape[1] < 2 or len(first) == 0:
        why = "has one output" if y.shape[1] < 2 else f"gives {len(ends)} inputs one and the same class"
        raise InputError(f"queries.design: there is no boundary to find, a teacher {why}")
    low, high = ends[first], ends[second]
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        same = (answer(middle).argmax(1) == labels[first]).view(-1, 1, 1, 1)
        low, high = torch.where(same, middle, low), torch.where(same, high, middle)
    return (low + high) / 2


def _unequal_pairs(labels: Tensor, num: int, rng: Generator) -> tuple[Tensor, Tensor]:
    """`num` pairs of places with different labels, uniform over the first and then over the second; none if there are none."""
    order = labels.argsort(stable=True)
    counts = labels.bincount()
    if counts.max() == len(labels):
        return order[:0], order[:0]
    first = torch.randint(len(labels), (num,), generator=rng)
    size, start = counts[labels[first]], (counts.cumsum(0) - counts)[labels[first]]
    other = (torch.rand(num, generator=rng, dtype=torch.float64) * (len(labels) - size)).long()
    return first, order[torch.where(other < start, other, other + size)]
