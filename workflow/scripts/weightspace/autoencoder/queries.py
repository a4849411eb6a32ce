"""What networks are asked in training: images of their own set or another, blends of two, or noise."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from weightspace.autoencoder.data import query_pool
from weightspace.behavior import mixed_queries
from weightspace.images.tensors import ImageSet, normalize
from weightspace.rng import generator_for


class Asked(NamedTuple):
    """So many queries are asked for, of a zoo of these images."""

    num: int
    images: ImageSet
    other: ImageSet | None  # another set, of images of the same shape
    generator: Generator

    @property
    def shape(self) -> tuple[int, ...]:
        """query, channel, height, width"""
        return (self.num, *self.images.train_x.shape[1:])


def images_of_another_set(asked: Asked) -> Float[Tensor, "query channel height width"]:
    """Its train images, normalized as the networks' own are."""
    return query_pool(asked.num, asked.other._replace(mean=asked.images.mean, std=asked.images.std))


def blends(asked: Asked) -> Float[Tensor, "query channel height width"]:
    """Means of two train images of different classes, at most one of each image."""
    return mixed_queries(normalize(asked.images.train_x, asked.images), asked.images.train_y, asked.generator)[: asked.num]


QUERIES: dict[str, Callable[[Asked], Float[Tensor, "query channel height width"]]] = {
    "train": lambda asked: query_pool(asked.num, asked.images),
    "other": images_of_another_set,
    "blends": blends,
    "uniform": lambda asked: torch.rand(asked.shape, generator=asked.generator),  # 727c3a9, def_loss.py:154
    "gaussian": lambda asked: torch.randn(asked.shape, generator=asked.generator),
}


def query_bank(
    kinds: list[str], num: int, images: ImageSet, other: ImageSet | None = None
) -> Float[Tensor, "query channel height width"]:
    """`num` queries of these kinds in equal parts, the first kinds one more where they do not divide; fewer of too small sets."""
    sizes = [num // len(kinds) + (place < num % len(kinds)) for place in range(len(kinds))]
    parts = [
        QUERIES[kind](Asked(size, images, other, generator_for("queries", kind, size)))
        for kind, size in zip(kinds, sizes, strict=True)
    ]
    return torch.cat([part.to(images.train_x.device) for part in parts])
