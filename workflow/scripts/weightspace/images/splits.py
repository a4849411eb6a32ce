"""Train and test images from files and folders, local or fetched, each split in the order of a fixed shuffle."""

from hashlib import sha256
from pathlib import Path

import numpy as np
import torch

from weightspace.errors import InputError
from weightspace.images.decode import decode_image
from weightspace.images.fetch import fetch
from weightspace.images.files import check_distinct, split_files
from weightspace.images.folder import picture_files
from weightspace.images.labeled import Labeled, Source, hold_out, shuffled_rows
from weightspace.images.labels import Labels, check_classes, in_order, names_in, numbered
from weightspace.images.published import HubFile
from weightspace.images.readers import reader_of
from weightspace.images.settings import ImagesConfig, RemoteFile


def read_files(config: ImagesConfig, images_dir: Path) -> Source:
    """The train and test images of `config`, fetched first where they are remote; raises InputError naming the file."""
    found = {split: split_files(config, split, images_dir) for split in ("train", "test")}
    train_paths, test_paths = ([_local(split, file, images_dir) for file in files] for split, files in found.items())
    paths = [*train_paths, *test_paths]
    check_distinct(paths)
    labels = {path: reader_of(path).read_labels(path, config) for path in paths}
    classes = _classes(train_paths, labels, config)
    numbers = {path: numbered(own, classes) for path, own in labels.items()}
    train = _read_split(train_paths, numbers, config, "train")
    if test_paths:
        test = _read_split(test_paths, numbers, config, "test")
    else:
        train, test = hold_out(train, config.test_share, "test", _said(train_paths))
    name = ", ".join(_name(file, images_dir) for file in [*config.train, *config.test] or [*found["train"], *found["test"]])
    return Source(train, test, classes, name, _said(train_paths), _joined_sha256(paths))


def _local(split: str, file: Path | RemoteFile | HubFile, images_dir: Path) -> Path:
    return file if isinstance(file, Path) else fetch(split, file, images_dir)


def _classes(train_paths: list[Path], labels: dict[Path, Labels], config: ImagesConfig) -> list[str]:
    """Name of each class: as the labels or the schema have it, else its number; raises InputError if they are not so many."""
    train = names_in([labels[path] for path in train_paths])
    for path, own in labels.items():
        check_classes(train, names_in([own]), _said(train_paths) if path in train_paths else str(path), config.num_classes)
    numbers = [str(label) for label in range(config.num_classes)]
    return in_order(train) if train else reader_of(train_paths[0]).read_class_names(train_paths[0], config) or numbers


def _read_split(paths: list[Path], labels: dict[Path, Labels], config: ImagesConfig, split: str) -> Labeled:
    """Images and labels of all shards of one split, in the order of a fixed shuffle; one shard is in memory at a time."""
    ends = np.cumsum([len(labels[path]) for path in paths])
    if ends[-1] == 0:
        raise InputError(f"{_said(paths)}: there is no image in it")
    rows = shuffled_rows(int(ends[-1]), config.limit, split).numpy()
    x = np.empty((len(rows), config.size, config.size, config.channels), np.uint8)
    for path, end in zip(paths, ends, strict=True):
        start, picture = end - len(labels[path]), reader_of(path).read_pictures(path, config)
        for place in np.flatnonzero((rows >= start) & (rows < end)):
            x[place] = decode_image(picture(int(rows[place] - start)), config)
    y = torch.from_numpy(np.concatenate([labels[path] for path in paths])[rows])
    return Labeled(torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(), y)


def _said(paths: list[Path]) -> str:
    """The files of a split in a sentence."""
    return f"{paths[0]}" if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"


def _name(file: str | Path | RemoteFile | HubFile, images_dir: Path) -> str:
    """A file as settings name it."""
    if isinstance(file, Path):
        return str(file.relative_to(images_dir))
    return file if isinstance(file, str) else file.place if isinstance(file, HubFile) else file.url


def _joined_sha256(paths: list[Path]) -> str:
    """The hash of the files' bytes, one file after another; before each picture of a folder its place there."""
    digest = sha256()
    for path in paths:
        for file in picture_files(path) if path.is_dir() else [path]:
            digest.update(str(file.relative_to(path)).encode() if path.is_dir() else b"")
            with file.open("rb") as opened:
                while block := opened.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()
