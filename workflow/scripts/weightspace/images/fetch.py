"""Remote files of images, downloaded once and kept only with their pinned hash."""

import shutil
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pooch

from weightspace.errors import InputError
from weightspace.images.settings import RemoteFile


def fetch(key: str, file: RemoteFile, images_dir: Path) -> Path:
    """Path of the remote file below `images_dir`, downloaded unless a file with its hash is there.

    Raises InputError naming `key` and the address if it cannot be fetched or is not what its hash says.
    """
    downloader = _copy_local if urlsplit(file.url).scheme == "file" else pooch.HTTPDownloader()
    name = f"{file.sha256[:16]}.parquet"
    try:
        # pooch writes to a temporary file, removes it if its hash is wrong, and renames it if right
        path = pooch.retrieve(file.url, f"sha256:{file.sha256}", name, images_dir, downloader=downloader)
    except OSError as error:  # requests' errors are among these, some of them ValueErrors too
        raise InputError(f"{key}: {file.url}: cannot be fetched ({' '.join(str(error).split())})") from error
    except ValueError as error:
        raise InputError(f"{key}: {file.url}: what it sends does not have the pinned sha256 {file.sha256}") from error
    return Path(path)


def _copy_local(url: str, output: str, _pooch: object) -> None:
    shutil.copyfile(url2pathname(urlsplit(url).path), output)
