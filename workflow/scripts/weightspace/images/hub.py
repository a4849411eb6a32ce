"""Image sets from Parquet files in the HF hub's layout: local or fetched, whole or in shards."""

from hashlib import sha256
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from weightspace.errors import InputError
from weightspace.images.decode import decode_image
from weightspace.images.fetch import fetch
from weightspace.images.files import check_distinct, resolve_files
from weightspace.images.labeled import Labeled, Source, shuffled_rows
from weightspace.images.parquet import read_class_names, read_contents, read_labels
from weightspace.images.settings import ImagesConfig, RemoteFile


def read_hub(config: ImagesConfig, images_dir: Path) -> Source:
    """The train and test files of `config`, fetched first where they are remote; raises InputError naming the file."""
    train_paths, test_paths = (_local_paths(config, split, images_dir) for split in ("train", "test"))
    check_distinct([*train_paths, *test_paths])
    train, test = _read_split(train_paths, config, "train"), _read_split(test_paths, config, "test")
    classes = read_class_names(train_paths[0], config.num_classes)
    name = ", ".join(file.url if isinstance(file, RemoteFile) else file for file in [*config.train, *config.test])
    return Source(train, test, classes, name, _said(train_paths), _joined_sha256([*train_paths, *test_paths]))


def _local_paths(config: ImagesConfig, split: Literal["train", "test"], images_dir: Path) -> list[Path]:
    files = resolve_files(getattr(config, split), images_dir)
    return [fetch(split, file, images_dir) if isinstance(file, RemoteFile) else file for file in files]


def _read_split(paths: list[Path], config: ImagesConfig, split: str) -> Labeled:
    """Images and labels of all shards of one split, in the order of a fixed shuffle; one shard is in memory at a time."""
    labels = [read_labels(path, config.num_classes) for path in paths]
    ends = np.cumsum([len(part) for part in labels])
    if ends[-1] == 0:
        raise InputError(f"{_said(paths)}: there is no image in it")
    rows = shuffled_rows(int(ends[-1]), config.limit, split).numpy()
    x = np.empty((len(rows), config.size, config.size, config.channels), np.uint8)
    for path, part, end in zip(paths, labels, ends, strict=True):
        start, contents = end - len(part), read_contents(path)
        for place in np.flatnonzero((rows >= start) & (rows < end)):
            row = rows[place] - start
            x[place] = decode_image(contents[row], config, f"{path}: the image in row {row}")
    y = torch.from_numpy(np.concatenate(labels)[rows])
    return Labeled(torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(), y)


def _said(paths: list[Path]) -> str:
    """The files of a split in a sentence."""
    return f"{paths[0]}" if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"


def _joined_sha256(paths: list[Path]) -> str:
    """The hash of the files' bytes, one file after another."""
    digest = sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
