"""An image set from its settings: read, split, measured."""

from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from weightspace.errors import InputError
from weightspace.images.digits import read_digits
from weightspace.images.labeled import hold_out
from weightspace.images.settings import ImagesConfig
from weightspace.images.splits import read_files
from weightspace.images.tensors import ImageSet


def build_image_set(config: ImagesConfig, images_dir: str | Path) -> ImageSet:
    """Read, split and measure one image set; remote files are downloaded into `images_dir`.

    Raises InputError naming the file and what is wrong with it.
    """
    source = read_digits(config) if config.source == "bundled_digits" else read_files(config, Path(images_dir))
    train, val = hold_out(source.train, config.val_share, "val", source.train_name)
    mean, std = _channel_statistics(train.x)
    if min(std) == 0:
        raise InputError(f"{source.train_name}: all train images have one and the same color in channel {std.index(0)}")
    if config.constants:  # one number may stand for all channels
        mean, std = (numbers * (config.channels // len(numbers)) for numbers in config.constants)
    return ImageSet(*train, *val, *source.test, mean, std, source.classes, source.name, source.sha256)


def _channel_statistics(x: UInt8[Tensor, "image channel height width"]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of x / 255 per channel, exact, from a count of each of the 256 levels."""
    levels = torch.arange(256, dtype=torch.float64) / 255
    counts = torch.stack([torch.bincount(plane.flatten(), minlength=256) for plane in x.unbind(1)]).double()
    shares = counts / counts.sum(1, keepdim=True)
    mean = shares @ levels
    variance = (shares * (levels - mean[:, None]) ** 2).sum(1)
    return tuple(mean.tolist()), tuple(variance.sqrt().tolist())
