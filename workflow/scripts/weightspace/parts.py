"""Parts of a zoo on disk: checkpoints of some models in one file, of which any are read without reading the others."""

import json
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float32
from safetensors import safe_open
from torch import Tensor

from weightspace.errors import InputError
from weightspace.store import digest_and_text, opened, write_whole

AGAIN = "remove its folder, and the next run makes it again"
AVERAGED = "averaged"  # stands in place of an epoch: mean weights of the last ones
Epoch = int | Literal["averaged"]
Shapes = dict[str, tuple[int, ...]]  # of a model's parameters, by name, in the order of its flat weights


class Part(NamedTuple):
    """One file: a parameter is a tensor [model, epoch, *shape], and a checkpoint has a digest of its own."""

    path: Path
    digest: str  # of the digests of its checkpoints, of their models and epochs
    models: list[int]  # their indices in the zoo
    epochs: list[Epoch]


def write_part(path: Path, models: list[int], epochs: list[Epoch], parameters: dict[str, Float32[Tensor, "..."]]) -> Part:
    """Write checkpoints, each parameter as [model, epoch, *shape], to one file, whole or not at all."""
    parameters = {name: values.detach().cpu().contiguous() for name, values in parameters.items()}
    digests = [[_digest(parameters, row, column) for column in range(len(epochs))] for row in range(len(models))]
    text = json.dumps({"models": models, "epochs": epochs, "sha256": digests})
    part = Part(path, _sha256(text), models, epochs)
    write_whole(path, parameters, f"{part.digest} {text}")
    return part


def read_part(path: Path) -> Part:
    """What a part holds, without its weights; raises InputError naming the file if it is cut, or its header was altered."""
    with opened(path, "np") as file:
        return _header(path, file)[0]


def read_checkpoints(part: Part, shapes: Shapes, places: Sequence[tuple[int, Epoch]]) -> Iterator[Float32[Tensor, " weight"]]:
    """Flat weights of the checkpoints at (model, epoch) places, one by one, each verified; no others are read.

    Raises InputError naming the file if it is not the part that its index says, or a checkpoint is not what was written.
    """
    with opened(part.path, "np") as file:  # for PyTorch it would map the whole file as its own memory
        found, digests = _header(part.path, file)
        if found != part:
            raise InputError(f"{part.path}: is not the file that the index of its zoo says: {AGAIN}")
        slices = {name: file.get_slice(name) for name in shapes}
        for name, shape in shapes.items():
            if (slices[name].get_dtype(), slices[name].get_shape()) != ("F32", [len(part.models), len(part.epochs), *shape]):
                raise InputError(f"{part.path}: {name} is not of the shape that its zoo says: {AGAIN}")
        rows = {model: row for row, model in enumerate(part.models)}
        for model, epoch in places:
            row, column = rows[model], part.epochs.index(epoch)
            weights = np.concatenate([values[row, column].ravel() for values in slices.values()])
            if sha256(weights).hexdigest() != digests[row][column]:
                raise InputError(f"{part.path}: model {model} at epoch {epoch} is not what was written: {AGAIN}")
            yield torch.from_numpy(weights)


def _header(path: Path, file: safe_open) -> tuple[Part, list[list[str]]]:
    """A part, and the digest of each of its checkpoints."""
    digest, text = digest_and_text(file)
    if digest != _sha256(text):
        raise InputError(f"{path}: its content is not what was written (sha256 differs)")
    about = json.loads(text)
    return Part(path, digest, about["models"], about["epochs"]), about["sha256"]


def _digest(parameters: dict[str, Tensor], row: int, column: int) -> str:
    """Hash of one checkpoint's flat weights."""
    digest = sha256()
    for values in parameters.values():
        digest.update(values[row, column].numpy())
    return digest.hexdigest()


def _sha256(text: str) -> str:
    return sha256(text.encode()).hexdigest()
