"""Checks of image files before the first job: those at hand are looked up, and their schemas and footers read."""

from pathlib import Path

from weightspace.errors import InputError
from weightspace.images.files import check_distinct, resolve_files
from weightspace.images.settings import ImagesConfig


def check_image_files(config: ImagesConfig, images_dir: str | Path, where: str) -> None:
    """Raises InputError naming `where`, the key and the file that is missing or cannot be used; decodes no image."""
    local: list[Path] = []
    for split in ("train", "test"):
        try:
            files = resolve_files(getattr(config, split), images_dir)
            paths = [file for file in files if isinstance(file, Path)]
            num_images = _num_images(paths, config.num_classes)
            if files and paths == files and not num_images:
                raise InputError(f"{paths[0]}: there is no image in it")
            local += paths
            check_distinct(local)
        except InputError as error:
            raise InputError(f"{where}.{split}: {error}") from error


def _num_images(paths: list[Path], num_classes: int) -> int:
    """Images of all files together."""
    from weightspace.images.parquet import check_parquet  # here, not above: Snakemake plans most scenarios without Parquet

    if missing := [path for path in paths if not path.is_file()]:
        raise InputError(f"no file {missing[0]}; set images_dir")
    return sum(check_parquet(path, num_classes) for path in paths)
