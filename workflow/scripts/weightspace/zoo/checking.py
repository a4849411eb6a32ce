"""Checks of a folder of checkpoints before the first job: it is listed, and of its files the first is opened."""

from hashlib import sha256
from pathlib import Path

from weightspace.errors import InputError
from weightspace.images.settings import ImagesConfig
from weightspace.zoo.sources import CheckpointsConfig


def check_checkpoints(config: CheckpointsConfig, images: ImagesConfig | None, where: str) -> None:
    """Raises InputError naming `where` and what of the folder cannot be used."""
    from weightspace.zoo.importing import Images, plan_import  # here, not above: most scenarios are planned without

    try:
        plan_import(config, images and Images(images.image_shape, images.num_classes))
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def files_digest(folder: str | Path) -> str:
    """Short sha256 of the names, sizes and times of all files below a folder: whether an import is of what lies there now."""
    found = [(path.relative_to(folder).as_posix(), path.stat()) for path in Path(folder).rglob("*") if path.is_file()]
    text = "\n".join(sorted(f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in found))
    return sha256(text.encode()).hexdigest()[:16]
