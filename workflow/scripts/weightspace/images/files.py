"""Which files an image set is made of: named ones found, globs resolved, shards complete, no file given twice."""

import re
from filecmp import cmp
from glob import glob
from pathlib import Path
from typing import Literal

from weightspace.errors import InputError
from weightspace.images.published import PUBLISHED, HubFile
from weightspace.images.settings import ImagesConfig, RemoteFile

Located = Path | RemoteFile | HubFile

# "train-00000-of-00002.parquet", and the hub's older names with a hash at the end
SHARD = re.compile(r"(.*)-\d+-of-(\d+)(-[0-9a-f]+)?(\.\w+).*")
NUMBERED = "[0-9]" * 4 + ".parquet"  # the hub's own conversions to Parquet: 0000.parquet, 0001.parquet, …


def split_files(config: ImagesConfig, split: Literal["train", "test"], images_dir: str | Path) -> list[Located]:
    """What the images of a split are read from: the files that `config` names, else those of a set by name.

    The files of a set by name are those in the folder of its name below `images_dir`, or, without that folder, the hub's.
    Raises InputError naming a file or folder that is not what the source reads.
    """
    named, folder = PUBLISHED.get(config.source), Path(images_dir, config.source)
    if config.train or named is None:
        files = resolve_files(getattr(config, split), images_dir)
    else:
        files = named.files(config.source, split)
        if folder.is_dir():
            files = [path for file in files for path in _local(file, [split] if len(files) == 1 else [], folder)]
        files = _complete(files)
    for path in files:
        _check_kind(path, config.source)
    return files


def resolve_files(files: list[str | RemoteFile], images_dir: str | Path) -> list[Path | RemoteFile]:
    """Paths below `images_dir`, and remote files as they are, sorted by name; a glob becomes the files that it matches.

    Raises InputError naming a file if some of the shards that belong to it are not given.
    """
    return _complete(
        [found for file in files for found in (_expand(file, Path(images_dir)) if isinstance(file, str) else [file])]
    )


def check_distinct(paths: list[Path]) -> None:
    """Raises InputError naming the first file that has the content of an earlier one, or folder that lies in an earlier one."""
    folders = [path.resolve() for path in paths if path.is_dir()]
    for number, folder in enumerate(folders):
        for other in folders[:number]:
            if folder.is_relative_to(other) or other.is_relative_to(folder):
                raise InputError(f"{folder}: shares files with {other}; train and test must not share a file, nor name one twice")
    of_size: dict[int, list[Path]] = {}
    for path in filter(Path.is_file, paths):
        same_size = of_size.setdefault(path.stat().st_size, [])
        for other in same_size:
            if cmp(path, other, shallow=False):
                raise InputError(f"{path}: is the same file as {other}; train and test must not share a file, nor name one twice")
        same_size.append(path)


def _expand(file: str, images_dir: Path) -> list[Path]:
    """The path as written if it is there or matches nothing as a glob, else what it matches."""
    path = images_dir / file
    matches = [] if path.exists() else glob(file, root_dir=images_dir)
    return [images_dir / match for match in matches] or [path]


def _complete(files: list[Located]) -> list[Located]:
    """The files sorted by name; raises InputError if some of the shards that belong to them are not given."""
    files = sorted(files, key=_name)
    _check_shards([_name(file) for file in files])
    _check_numbered([file for file in files if isinstance(file, Path)])
    return files


def _local(file: HubFile, other_names: list[str], folder: Path) -> list[Path]:
    """What the folder of a set has for `file`: what has the hub's path or name, else one file, shards or a folder of classes."""
    path = Path(file.path)
    for pattern in (file.path, path.name):
        if (folder / pattern).is_file():
            return [folder / pattern]
    names = [path.name.partition("-")[0], *other_names]
    for name in names:
        for pattern in (f"{name}.parquet", f"{name}-*.parquet", f"{name}/*.parquet", name):
            if found := list(folder.glob(pattern)):
                return found
    raise InputError(f"no file {folder / names[0]}.parquet; nothing is fetched where there is a folder {folder}")


def _check_kind(file: Located, source: str) -> None:
    is_folder, is_there = (isinstance(file, Path) and look(file) for look in (Path.is_dir, Path.exists))
    if source == "folder" and not is_folder and (is_there or not isinstance(file, Path)):
        raise InputError(f"{_name(file)}: is a file, not a folder of one subfolder per class")
    if source == "parquet" and is_folder:
        raise InputError(f"{file}: not a whole Parquet file, but a folder, as source folder reads")


def _name(file: Located) -> str:
    return str(file) if isinstance(file, Path) else file.url


def _check_shards(names: list[str]) -> None:
    """Raises InputError for a name like train-00000-of-00002.parquet without the others of its 2."""
    of_set: dict[tuple, list[str]] = {}
    for name in names:
        if match := SHARD.fullmatch(name):
            of_set.setdefault((match[1], match[2], bool(match[3]), match[4]), []).append(name)
    for (stem, total, hashed, ending), given in of_set.items():
        if len(given) < int(total):
            pattern = f"{stem.rpartition('/')[2]}-*-of-{total}{'-*' * hashed}{ending}"
            how = "with the url and sha256 of each" if "://" in stem else f"or by the glob {pattern}"
            raise InputError(f"{given[0]}: only {len(given)} of {int(total)} shards are named: name all in a list, {how}")


def _check_numbered(paths: list[Path]) -> None:
    """Raises InputError for 0000.parquet without the 0001.parquet that lies beside it."""
    for path in paths:
        if path.match(NUMBERED) and (others := sorted(set(path.parent.glob(NUMBERED)) - set(paths))):
            raise InputError(f"{path}: {others[0].name} beside it is not named: name all in a list, or by a glob")
