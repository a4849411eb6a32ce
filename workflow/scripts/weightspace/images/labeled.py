"""Images with their labels, before validation images are held out."""

from math import ceil
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from weightspace.errors import InputError
from weightspace.rng import generator_for, seed_for


class Labeled(NamedTuple):
    """Images with their labels."""

    x: UInt8[Tensor, "image channel height width"]
    y: Int64[Tensor, " image"]

    def take(self, rows: Tensor | np.ndarray) -> "Labeled":
        """The images and labels of these rows, in their order."""
        rows = torch.as_tensor(rows)
        return Labeled(self.x[rows], self.y[rows])


class Source(NamedTuple):
    """What a source holds before val is held out."""

    train: Labeled
    test: Labeled
    classes: list[str]  # name of each label
    name: str
    train_name: str  # in error messages
    sha256: str


def shuffled_rows(num_images: int, limit: int | None, name: str) -> Int64[Tensor, " image"]:
    """The first `limit` rows of a fixed shuffle: a smaller limit keeps a subset of a larger one's images."""
    return torch.randperm(num_images, generator=generator_for("images", "shuffle", name))[:limit]


def hold_out(images: Labeled, share: float, name: str, source: str) -> tuple[Labeled, Labeled]:
    """The rest, and a stratified `share` of the images; raises InputError naming `source` if it has too few images."""
    from sklearn.model_selection import train_test_split  # here, not above: it takes a second that only this rule has to pay

    total, rows = len(images.y), np.arange(len(images.y))
    if share == 0:
        return images, images.take(rows[:0])
    counts = torch.bincount(images.y)
    held, classes, rarest = ceil(share * total), int(counts.count_nonzero()), int(counts[counts > 0].min())
    if rarest < 2:
        raise InputError(f"{source}: class {counts.tolist().index(1)} has 1 image, a stratified {name} split needs 2 or more")
    if min(held, total - held) < classes:
        raise InputError(f"{source}: {total} images of {classes} classes are too few for a stratified {name}_share of {share:g}")
    rest, out = train_test_split(rows, test_size=share, stratify=images.y.numpy(), random_state=seed_for("images", name))
    return images.take(rest), images.take(out)
