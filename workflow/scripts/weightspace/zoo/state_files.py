"""One file of weights, safetensors or torch: read as plain tensors by name; code in it is never run."""

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from weightspace.errors import InputError

WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network")  # keys under which a state dict may lie
PREFIXES = ("module.", "_orig_mod.", "model.")  # of every key: DataParallel, torch.compile, Lightning


class Dropped(NamedTuple):
    """A key of a file that is no weight of the network, and why."""

    key: str
    reason: str


class State(NamedTuple):
    """Tensors of one file by their keys, without what comes before every key."""

    tensors: dict[str, Tensor]  # in floating point
    ordered: bool  # whether their order is the one in which the layers were made: safetensors keeps none
    dropped: list[Dropped]


def read_state(path: str | Path) -> State:
    """The state dict of a file; raises InputError naming the file and what is wrong with it."""
    path = Path(path)
    ordered = path.suffix != ".safetensors"
    try:
        content = _read_torch(path) if ordered else _read_safetensors(path)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    state, dropped = _unwrapped(content)
    tensors = {}
    for key, value in state.items():
        if (reason := _why_no_weight(key, value)) is None:
            tensors[str(key)] = value.detach()
        else:
            dropped.append(Dropped(str(key), reason))
    if not tensors:
        raise InputError(f"{path}: holds no tensors of weights, but {_told(content)}")
    return State(_without_prefixes(tensors), ordered, dropped)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in sorted(file.keys(), key=natural)}
    except (SafetensorError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise InputError(f"{path}: not a whole safetensors file ({error})") from error


def _read_torch(path: Path) -> Any:
    """What `torch.save` wrote, in its zip or its older format, read with `weights_only`."""
    _check_unpacked_size(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # whatever a damaged file makes of torch's reader
        if found := re.search(r"GLOBAL ([\w.]+)", str(error)):
            told = f"holds {found[1]}, which is no tensor: nothing but tensors is read, save the state dict alone"
        else:
            told = (
                f"not a whole torch file of tensors ({str(error).strip().splitlines()[0][:200] if str(error) else 'it is cut'})"
            )
        raise InputError(f"{path}: {told}") from error


def _check_unpacked_size(path: Path) -> None:
    """Raises InputError for a zip file that unpacks to more than its own size: torch packs nothing, and memory would end."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except zipfile.BadZipFile as error:
        raise InputError(f"{path}: not a whole torch file ({error})") from error
    if unpacked > (size := path.stat().st_size):
        raise InputError(f"{path}: unpacks from {size:,} to {unpacked:,} bytes, which no file of torch does: it is not read")


def _unwrapped(content: Any) -> tuple[Mapping, list[Dropped]]:
    """The state dict within what a file holds, and the keys beside it."""
    dropped: list[Dropped] = []
    while isinstance(content, Mapping):
        inner = next((key for key in WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            return content, dropped
        dropped += [Dropped(str(key), f"stands beside {inner}") for key in content if key != inner]
        content = content[inner]
    return {}, dropped


def _why_no_weight(key: object, value: object) -> str | None:
    """Why an entry of a state dict holds no weights, if so."""
    if not isinstance(value, Tensor):
        return f"is no tensor, but {_told(value)}"
    if str(key).endswith("num_batches_tracked"):
        return "counts batches, which no output depends on"
    if not value.is_floating_point():
        return f"holds {str(value.dtype).removeprefix('torch.')}, no weights in floating point"
    return "is sparse" if value.layout != torch.strided else None


def _told(value: object) -> str:
    return "an empty dictionary" if value == {} else f"a {type(value).__name__}"


def _without_prefixes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same without the prefixes that every key has, however many stand before each other."""
    while prefix := next((prefix for prefix in PREFIXES if all(key.startswith(prefix) for key in tensors)), None):
        tensors = {key.removeprefix(prefix): tensor for key, tensor in tensors.items()}
    return tensors


def natural(text: str) -> list[tuple[bool, int, str]]:
    """Sort key that takes runs of digits as numbers: layer2 before layer10."""
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"([0-9]+)", text)]
