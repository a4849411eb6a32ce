"""Checkpoints of a zoo's models as one file: what trains a zoo writes it, what learns from a zoo reads it."""

from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
from jaxtyping import Bool, Float
from torch import Tensor

from weightspace.jobs import Job
from weightspace.nets.forward import flatten, unflatten
from weightspace.nets.spec import NetSpec, build_spec
from weightspace.store import load_tensors, save_tensors


class ZooWeights(NamedTuple):
    """Checkpoints of all models of a zoo, or of one shard."""

    spec: NetSpec
    epochs: list[int]  # that are kept
    models: list[int]  # their indices in the zoo
    bar: float | None  # train accuracy above which a model has learned more than a constant answer; None: not known
    weights: Float[Tensor, "model epoch weight"]


def write_zoo(path: str | Path, zoo: ZooWeights, job: Job | None = None) -> None:
    """Write checkpoints, each parameter as [model, epoch, *shape], to one file, whole or not at all."""
    about = {"spec": zoo.spec.description, "epochs": zoo.epochs, "models": zoo.models, "bar": zoo.bar}
    save_tensors(path, unflatten(zoo.spec, zoo.weights), about, job)


def read_zoo(path: str | Path) -> ZooWeights:
    """Inverse of `write_zoo`; raises InputError naming the file if it is damaged."""
    tensors, metadata = load_tensors(path)
    spec = build_spec(**metadata["spec"])
    return ZooWeights(spec, *(metadata[name] for name in ("epochs", "models", "bar")), flatten(spec, tensors))


def which_learned(models: pa.Table, bar: float | None) -> str:
    """A sentence for a log: how many models of a zoo learned more than a constant answer, by the last epoch in its table."""
    if bar is None or "train_accuracy" not in models.column_names:
        return "whether its models learned more than a constant answer is not known"
    table = models.to_pandas()
    last = table[table["epoch"] == table["epoch"].max()]
    num = int(((last["train_accuracy"] > bar) & ~last["diverged"]).sum())
    told = f"{num} of {len(last)} models" if num else f"none of {len(last)} models, so that there is nothing to find in them,"
    return f"{told} learned more than a constant answer (train accuracy above {bar:.3f})"


def in_range(weights: Float[Tensor, "*any weight"]) -> Bool[Tensor, "*any"]:
    """Networks that can be computed with: the sum of squares of their weights is finite in their own precision."""
    return weights.square().sum(-1).isfinite()
