"""Which files an image set is made of: globs resolved, shards complete, no file given twice."""

import re
from filecmp import cmp
from glob import glob
from pathlib import Path

from weightspace.errors import InputError
from weightspace.images.settings import RemoteFile

# "train-00000-of-00002.parquet", and the hub's older names with a hash at the end
SHARD = re.compile(r"(.*)-\d+-of-(\d+)(-[0-9a-f]+)?(\.\w+).*")
NUMBERED = "[0-9]" * 4 + ".parquet"  # the hub's own conversions to Parquet: 0000.parquet, 0001.parquet, …


def resolve_files(files: list[str | RemoteFile], images_dir: str | Path) -> list[Path | RemoteFile]:
    """Paths below `images_dir`, and remote files as they are, sorted by name; a glob becomes the files that it matches.

    Raises InputError naming a file if some of the shards that belong to it are not given.
    """
    resolved = [found for file in files for found in (_expand(file, Path(images_dir)) if isinstance(file, str) else [file])]
    resolved.sort(key=_name)
    _check_shards([_name(file) for file in resolved])
    _check_numbered([file for file in resolved if isinstance(file, Path)])
    return resolved


def check_distinct(paths: list[Path]) -> None:
    """Raises InputError naming the first file that has the content of an earlier one."""
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


def _name(file: Path | RemoteFile) -> str:
    return file.url if isinstance(file, RemoteFile) else str(file)


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
