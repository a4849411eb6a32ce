"""Jobs, and who their files are: every file says where it belongs and what made it, and every job checks that of its inputs."""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError, safe_open

from weightspace.errors import InputError
from weightspace.settings import settings_hash
from weightspace.stages import VERSION

MANIFEST = "manifest.safetensors"  # says who the files of a folder are
AGAIN = "remove it, and the next run makes it again"


class Identity(NamedTuple):
    """Who a file is, as the job said that wrote it."""

    place: str  # the path that its rule gives it: results, scenario, stage, cell, then seed, shard or order, and kind of file
    version: str  # of its stage: an entry of VERSION
    made_from: dict[str, str]  # digests of all files that it depends on, by their places


class Header(NamedTuple):
    """What can be known of a file without reading its content."""

    digest: str  # of its content, whoever it is
    identity: Identity | None  # None of a file that no job wrote


class Job(NamedTuple):
    """One run of a rule."""

    version: str  # of its stage
    made_from: dict[str, str]  # digests of its inputs, and of all that these were made from, by their places
    key: str  # hash of all that its outputs depend on: settings, version, wildcards, content of its inputs

    def said_of(self, path: str | Path) -> str:
        """The identity of an output, as JSON in one line."""
        return json.dumps(Identity(Path(path).as_posix(), self.version, self.made_from)._asdict(), sort_keys=True)


def job_of(rule: object) -> Job:
    """The job of a script, its inputs checked; `rule` is what Snakemake hands to the script, with the stage's version in params.

    Raises InputError naming the first input that belongs elsewhere, is of another version of its stage, or was made from
    another file than the one that the job, or another of its inputs, knows at that place.
    """
    headers = {Path(path).as_posix(): read_header(path) for path in rule.input}
    made_from = {path: header.digest for path, header in headers.items()}
    key = settings_hash(dict(rule.params.items()), dict(rule.wildcards.items()), made_from)
    said = {path: header.identity for path, header in headers.items() if header.identity}
    for path, identity in said.items():
        check_identity(path, identity)
    for path, identity in said.items():
        check_sources(path, identity, made_from)
        made_from = identity.made_from | made_from
    return Job(rule.params.version, made_from, key)


def check_identity(path: str, identity: Identity) -> None:
    """Raises InputError, one sentence, if a file is not the one that belongs at `path`, or of another version of its stage."""
    expected = _manifest_of(path).as_posix()
    if identity.place != expected:
        raise InputError(f"{path}: holds {identity.place}, which does not belong there: {AGAIN}")
    if identity.version not in VERSION.values():
        current = VERSION.get(identity.version.partition(" ")[0], "none")
        raise InputError(f"{path}: was made by version {identity.version}, the current one is {current}: {AGAIN}")


def check_sources(path: str, identity: Identity, known: Mapping[str, str]) -> None:
    """Raises InputError, one sentence, if a file was made from another content of a place than `known` has by its digest."""
    for place, digest in identity.made_from.items():
        if known.get(place, digest) != digest:
            raise InputError(f"{path}: was made from another {place} than the one in use: {AGAIN}")


def read_header(path: str | Path) -> Header:
    """Header of a file, or of a folder with a manifest. One that no job wrote has the digest of its bytes."""
    file = _manifest_of(path)
    try:
        if file.suffix == ".parquet":
            entries = pq.read_schema(file).metadata or {}
            digest, said = entries.get(b"sha256", b"").decode(), entries.get(b"identity", b"").decode()
        else:
            with safe_open(file, "np") as opened:
                digest, _, text = (opened.metadata() or {}).get("weightspace", "").partition(" ")
            said = text.partition("\n")[2]
        identity = Identity(**json.loads(said)) if said else None
    except (SafetensorError, pa.ArrowException, OSError, ValueError, TypeError):  # damaged: whoever reads it says so
        digest, identity = "", None
    return Header(digest or sha256(file.read_bytes()).hexdigest(), identity)


def _manifest_of(path: str | Path) -> Path:
    """The file that says who a path is: itself, or a folder's manifest."""
    return Path(path) / MANIFEST if Path(path).is_dir() else Path(path)
