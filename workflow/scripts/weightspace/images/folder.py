"""A folder of pictures with one subfolder per class, read as a file of images is."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from weightspace.errors import InputError
from weightspace.images.labels import Content, Labels, Picture
from weightspace.images.settings import ImagesConfig

ENDINGS = {".png", ".jpg", ".jpeg"}
OTHER_PICTURES = {".bmp", ".gif", ".tif", ".tiff", ".webp"}  # refused, where other files are passed over


def check(path: Path, config: ImagesConfig) -> Content:
    """Number of pictures and names of classes, opening no picture; raises InputError naming what is wrong with the folder."""
    found = _found(path)
    return Content(len(found), {name for name, _ in found})


def read_labels(path: Path, config: ImagesConfig) -> Labels:
    """The class of each picture, which is the name of its subfolder."""
    return np.asarray([name for name, _ in _found(path)], dtype=np.str_)


def read_pictures(path: Path, config: ImagesConfig) -> Callable[[int], Picture]:
    """Reads the picture of each row when it is asked for."""
    files = [file for _, file in _found(path)]
    return lambda row: Picture(str(files[row]), files[row].read_bytes())


def read_class_names(path: Path, config: ImagesConfig) -> None:
    """None: the subfolders are the names."""


def picture_files(path: Path) -> list[Path]:
    """Every picture of the folder, in the order of its rows."""
    return [file for _, file in _found(path)]


def _found(path: Path) -> list[tuple[str, Path]]:
    """Class and file of each picture, at any depth of its subfolder, in the order of names.

    Raises InputError naming the folder without subfolders, the subfolder without pictures, or a picture of another kind.
    """
    if not path.is_dir():
        raise InputError(f"no folder {path}; set images_dir")
    found, folders = [], sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not folders:
        raise InputError(f"{path}: has no subfolders, of which each class needs one")
    for folder in folders:
        files = sorted(file for file in folder.rglob("*") if not file.name.startswith(".") and file.is_file())
        pictures = [file for file in files if file.suffix.lower() in ENDINGS]
        if other := [file for file in files if file.suffix.lower() in OTHER_PICTURES]:
            raise InputError(f"{other[0]}: is neither PNG nor JPEG")
        if not pictures:
            raise InputError(f"{folder}: there is no picture in it")
        found += [(folder.name, file) for file in pictures]
    return found
