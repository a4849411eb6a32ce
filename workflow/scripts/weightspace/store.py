"""Tensors on disk: safetensors written whole and read checked; the state of a job that can go on after its death."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from weightspace.errors import InputError
from weightspace.jobs import Job


def save_tensors(
    path: str | Path, tensors: dict[str, Tensor], metadata: dict[str, object], job: Job | None = None, place: Path | None = None
) -> None:
    """Write tensors and JSON-able metadata to one safetensors file, whole or not at all; with a job it says who it is.

    `place` is where the file will lie, if it is moved with its folder.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(metadata, sort_keys=True)
    entry = f"{_digest(tensors, text)} {text}"  # one entry, since safetensors writes several in any order
    write_whole(Path(path), tensors, f"{entry}\n{job.said_of(place or path)}" if job else entry)


def write_whole(path: Path, tensors: dict[str, Tensor], entry: str) -> None:
    """Write a safetensors file with one entry of text, by a temporary file and a rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    save_file(tensors, partial, {"weightspace": entry})
    partial.chmod(0o666 & ~_umask())  # safetensors writes 0600
    partial.replace(path)


@contextmanager
def opened(path: str | Path, framework: Literal["pt", "np"]) -> Iterator[safe_open]:
    """An open safetensors file; raises InputError naming it if it is missing, cut, or lacks what the block asks it for."""
    try:
        with safe_open(path, framework) as file:
            yield file
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a whole safetensors file ({error})") from error


def digest_and_text(file: safe_open) -> tuple[str, str]:
    """What the header of an open file says: digest of its content, and its metadata as JSON."""
    digest, _, text = (file.metadata() or {}).get("weightspace", "").partition(" ")
    return digest, text.partition("\n")[0]  # after it stands who the file is


def load_tensors(path: str | Path, device: str | torch.device = "cpu") -> tuple[dict[str, Tensor], dict]:
    """Tensors and metadata of `path`; raises InputError naming the file if it is cut, altered or not ours."""
    with opened(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        digest, text = digest_and_text(file)
    if digest != _digest(tensors, text):
        raise InputError(f"{path}: its content is not what was written (sha256 differs)")
    return {name: t.to(device) for name, t in tensors.items()}, json.loads(text)


def choose_device(name: str) -> torch.device:
    """The device that a setting names: auto takes CUDA where there is one; cuda says so where there is none."""
    if name != "cpu" and torch.cuda.is_available():
        return torch.device("cuda")
    if name == "cuda":
        print("device cuda was asked for and there is none: on the CPU instead")
    return torch.device("cpu")


class TrainingState:
    """Side file from which a killed job goes on; `key` names the run, and a state of another run is ignored.

    Saving takes at most a fiftieth of the time: the longer a save takes, the rarer they are.
    """

    def __init__(self, path: str | Path, key: str) -> None:
        self.path, self.key, self.next_save = Path(path), key, 0.0
        self.phases: list[TrainingState] = []

    def load(self) -> tuple[dict[str, Tensor], dict] | None:
        """Tensors and metadata of the last save of this run, or None; a damaged state is said to be and not used."""
        if not self.path.exists():
            return None
        try:
            tensors, metadata = load_tensors(self.path)
        except InputError as error:
            print(f"starting over: {error}")
            return None
        return (tensors, metadata) if metadata.pop("key") == self.key else None

    def save_if_due(self, tensors: Callable[[], dict[str, Tensor]], **metadata: object) -> None:
        """Replace the state by what `tensors` returns, unless the last save was only just now."""
        started = time.monotonic()
        if started >= self.next_save:
            save_tensors(self.path, tensors(), metadata | {"key": self.key})
            self.next_save = time.monotonic() + 50 * (time.monotonic() - started)

    def phase(self, name: str) -> "TrainingState":
        """The state of one part of the job, in a side file of its own."""
        self.phases.append(TrainingState(self.path.with_suffix(f".{name}.state"), self.key))
        return self.phases[-1]

    def remove(self) -> None:
        """Forget the state and those of its phases; called when the outputs are written."""
        for state in (self, *self.phases):
            state.path.unlink(missing_ok=True)


@contextmanager
def resumable(job: Job, output: str | Path) -> Iterator[TrainingState]:
    """The state of a job, beside its output, for the block that writes its outputs; forgotten when that ends well."""
    state = TrainingState(f"{output}.state", job.key)
    yield state
    state.remove()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _digest(tensors: dict[str, Tensor], text: str) -> str:
    digest = sha256(text.encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()
