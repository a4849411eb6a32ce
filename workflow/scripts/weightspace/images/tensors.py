"""An image set as uint8 tensors: read, written, normalized."""

from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

from weightspace.errors import InputError
from weightspace.jobs import Job
from weightspace.store import load_tensors, save_tensors

TENSORS = ("train_x", "train_y", "val_x", "val_y", "test_x", "test_y")


class ImageSet(NamedTuple):
    """Images and labels of three disjoint splits, each in a fixed random order, and what normalizes them."""

    train_x: UInt8[Tensor, "train channel height width"]
    train_y: Int64[Tensor, " train"]
    val_x: UInt8[Tensor, "val channel height width"]
    val_y: Int64[Tensor, " val"]
    test_x: UInt8[Tensor, "test channel height width"]
    test_y: Int64[Tensor, " test"]
    mean: tuple[float, ...]  # per channel, of train_x / 255 or as the settings say
    std: tuple[float, ...]
    classes: list[str]  # name of each label
    source: str
    source_sha256: str  # of the train files' bytes, then the test files'; of pixels, then labels, for the bundled digits

    def to(self, device: str | torch.device) -> "ImageSet":
        """The same with its tensors on `device`."""
        return self._replace(**{name: getattr(self, name).to(device) for name in TENSORS})


def write_images(path: str | Path, images: ImageSet, job: Job | None = None) -> None:
    """Write an image set to one safetensors file, whole or not at all."""
    fields = images._asdict()
    save_tensors(path, {name: fields.pop(name) for name in TENSORS}, fields, job)


def read_images(path: str | Path, device: str | torch.device = "cpu") -> ImageSet:
    """The image set that `write_images` wrote, on `device`; raises InputError naming the file and what is wrong with it."""
    tensors, metadata = load_tensors(path, device)
    fields = {**tensors, **metadata}
    if missing := set(ImageSet._fields) - set(fields):
        raise InputError(f"{path}: not an image set: {', '.join(sorted(missing))} missing")
    fields = {name: fields[name] for name in ImageSet._fields}
    return ImageSet(**{**fields, "mean": tuple(fields["mean"]), "std": tuple(fields["std"])})


def normalize(x: UInt8[Tensor, "*any channel height width"], images: ImageSet) -> Float32[Tensor, "*any channel height width"]:
    """(x / 255 - mean) / std per channel, on the device of `x`."""
    # Constants as Python numbers: a tensor of them would be copied to the GPU, and waited for, at every call.
    planes = (x.float() / 255).unbind(-3)
    return torch.stack([(plane - m) / s for plane, m, s in zip(planes, images.mean, images.std, strict=True)], dim=-3)
