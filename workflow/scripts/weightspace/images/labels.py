"""Labels as files have them, numbers or names, and the classes that they are of."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, Integer

from weightspace.errors import InputError

Labels = np.ndarray  # one per image: int64, or the names of classes


class Picture(NamedTuple):
    """One encoded image."""

    which: str  # begins what is said of it
    content: bytes | None


class Content(NamedTuple):
    """What a file or folder of images holds."""

    num_images: int
    names: set[str] | None  # of classes; None where labels are numbers


def check_numbers(labels: Integer[np.ndarray, " image"], path: Path, num_classes: int) -> Int64[np.ndarray, " image"]:
    """The labels; raises InputError naming the first row whose label is no class."""
    wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(wrong):
        raise InputError(f"{path}: the label in row {wrong[0]} is {labels[wrong[0]]}, not one of 0 to {num_classes - 1}")
    return labels.astype(np.int64)


def names_in(parts: list[Labels]) -> set[str] | None:
    """Names of the classes of which there are images, or None where labels are numbers."""
    return None if any(part.dtype.kind != "U" for part in parts) else {name for part in parts for name in part.tolist()}


def in_order(names: set[str]) -> list[str]:
    """Names of classes in the order of their labels: that of numbers if all are numbers, else that of letters."""
    return sorted(names, key=int) if all(name.isdecimal() for name in names) else sorted(names)


def check_classes(train: set[str] | None, other: set[str] | None, where: str, num_classes: int) -> None:
    """Raises InputError naming `where` unless the train images' classes are `num_classes`, and those of `other` among them."""
    if (train is None) != (other is None):
        raise InputError(f"{where}: labels are names in some files and numbers in others")
    if train is None:
        return
    if len(train) != num_classes:
        some = ", ".join(in_order(train)[:5]) + (", …" if len(train) > 5 else "")
        raise InputError(f"{where}: has {len(train)} classes ({some}), num_classes is {num_classes}")
    if unknown := other - train:
        raise InputError(f"{where}: has a class {min(unknown)} that the train images do not have")


def numbered(labels: Labels, classes: list[str]) -> Int64[np.ndarray, " image"]:
    """Labels as numbers: places of names among the classes."""
    if labels.dtype.kind != "U":
        return labels
    place = {name: number for number, name in enumerate(classes)}
    return np.asarray([place[name] for name in labels.tolist()], dtype=np.int64)
