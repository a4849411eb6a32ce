"""Remote files of images, downloaded once and kept only with their hash: the pinned one, or the one of the first download."""

import json
import re
import shutil
from collections.abc import Callable
from hashlib import file_digest
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pooch

from weightspace.errors import InputError
from weightspace.images.parquet import check_whole
from weightspace.images.published import HubFile
from weightspace.images.settings import RemoteFile

LOCKS = Path("config", "image-locks")  # of the working directory: one file per image set by name, to be kept and shared
DIGEST = re.compile("[0-9a-f]{64}")


def fetch(key: str, file: RemoteFile | HubFile, images_dir: Path) -> Path:
    """Path of the remote file below `images_dir`, downloaded unless a file with its hash is there.

    A file of the hub without a pinned hash must have the one that its lock records, and is recorded if none does.
    Raises InputError naming `key` and the address if it cannot be fetched or is not what its hash says.
    """
    pinned = file.sha256 or _recorded(file)
    if pinned is None:
        return _fetch_first(key, file, images_dir)
    name = f"{pinned[:16]}.parquet"
    try:
        # pooch writes to a temporary file, removes it if its hash is wrong, and renames it if right
        path = pooch.retrieve(file.url, f"sha256:{pinned}", name, images_dir, downloader=_downloader(file.url))
    except OSError as error:  # requests' errors are among these, some of them ValueErrors too
        raise InputError(_unreachable(key, file, error)) from error
    except ValueError as error:
        where = "" if file.sha256 else f", which {_lock(file)} records"
        raise InputError(f"{key}: {file.url}: what it sends does not have the pinned sha256 {pinned}{where}") from error
    return Path(path)


def _fetch_first(key: str, file: HubFile, images_dir: Path) -> Path:
    """Download a file of which no hash is known, and record its hash if it came whole."""
    images_dir.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".first-", dir=images_dir) as folder:
        partial = Path(folder, "first.parquet")
        try:
            _downloader(file.url)(file.url, str(partial), None)
        except OSError as error:
            raise InputError(_unreachable(key, file, error)) from error
        try:
            check_whole(partial)
        except InputError as error:
            raise InputError(f"{key}: {file.url}: what it sends is not a whole Parquet file") from error
        with partial.open("rb") as opened:
            digest = file_digest(opened, "sha256").hexdigest()
        _record(file, digest)
        return partial.rename(images_dir / f"{digest[:16]}.parquet")


def _lock(file: HubFile) -> Path:
    return LOCKS / f"{file.name}.json"


def _recorded(file: HubFile) -> str | None:
    """The hash that a file had at its first download; raises InputError naming the lock if it cannot be read."""
    return _read_lock(_lock(file)).get(file.place)


def _record(file: HubFile, digest: str) -> None:
    """Add the hash of a file to the lock of its image set."""
    path = _lock(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    recorded = _read_lock(path) | {file.place: digest}
    partial = path.with_suffix(f".{digest[:16]}.partial")
    partial.write_text(json.dumps(recorded, indent=2, sort_keys=True) + "\n")
    partial.replace(path)
    print(f"{file.url}: recorded its sha256 {digest} in {path}")


def _read_lock(path: Path) -> dict[str, str]:
    """Hashes of an image set's files, by repository, revision and path."""
    try:
        recorded = json.loads(path.read_text()) if path.exists() else {}
        if all(DIGEST.fullmatch(digest) for digest in recorded.values()):
            return recorded
    except (OSError, ValueError, AttributeError, TypeError):
        pass
    raise InputError(f"{path}: is not a list of files with their sha256: mend it, or remove it to record them anew")


def _unreachable(key: str, file: RemoteFile | HubFile, error: OSError) -> str:
    """What is said of an address that does not answer."""
    instead = f"; its files may also lie in the folder {file.name} of images_dir" if isinstance(file, HubFile) else ""
    return f"{key}: {file.url}: cannot be fetched ({' '.join(str(error).split())}){instead}"


def _downloader(url: str) -> Callable:
    return _copy_local if urlsplit(url).scheme == "file" else pooch.HTTPDownloader()


def _copy_local(url: str, output: str, _pooch: object) -> None:
    shutil.copyfile(url2pathname(urlsplit(url).path), output)
