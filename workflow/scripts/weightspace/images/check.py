"""Checks of image files before the first job: those at hand are looked up, and their schemas, footers and folders read."""

from pathlib import Path

from weightspace.errors import InputError
from weightspace.images.files import check_distinct, split_files
from weightspace.images.labels import Content, check_classes
from weightspace.images.settings import ImagesConfig


def check_image_files(config: ImagesConfig, images_dir: str | Path, where: str) -> None:
    """Raises InputError naming `where`, the key and the file that is missing or cannot be used; decodes no image."""
    local: list[Path] = []
    train: list[Content] = []
    for split in ("train", "test"):
        try:
            files = split_files(config, split, images_dir)
            paths = [file for file in files if isinstance(file, Path)]
            contents = _contents(paths, config)
            if files and paths == files:
                if not sum(content.num_images for content in contents):
                    raise InputError(f"{paths[0]}: there is no image in it")
                train = train if split == "test" else contents
                _check_names(train, contents, str(paths[0]), config.num_classes)
            local += paths
            check_distinct(local)
        except InputError as error:
            raise InputError(f"{where}.{split}: {error}") from error


def _contents(paths: list[Path], config: ImagesConfig) -> list[Content]:
    """What is in each file."""
    from weightspace.images.readers import reader_of  # here, not above: Snakemake plans most scenarios without Parquet

    if missing := [path for path in paths if not path.exists()]:
        raise InputError(f"no {'folder' if config.source == 'folder' else 'file'} {missing[0]}; set images_dir")
    return [reader_of(path).check(path, config) for path in paths]


def _check_names(train: list[Content], contents: list[Content], where: str, num_classes: int) -> None:
    """Whether the classes of the train files are as many as they should be, and those of `contents` among them."""
    if train:  # and not remote
        known = None if any(content.names is None for content in train) else {name for content in train for name in content.names}
        for content in contents:
            check_classes(known, content.names, where, num_classes)
