"""Checkpoints of a zoo's models on disk, in parts: what makes a zoo writes all of them, what learns from it reads some."""

import os
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import product
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import pyarrow as pa
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from weightspace.chosen import ChosenNetworks
from weightspace.errors import InputError
from weightspace.jobs import MANIFEST, Job
from weightspace.nets.spec import NetSpec, build_spec, by_spec
from weightspace.parts import AVERAGED, Epoch, Part, Shapes, read_checkpoints, read_part, write_part
from weightspace.store import load_tensors, save_tensors


class Zoo(NamedTuple):
    """A zoo on disk, or some of its models: what its index says. Weights are read when they are asked for."""

    path: Path  # of the index
    spec: NetSpec  # of all models but those that have another
    epochs: list[int]  # whose weights are stored
    bar: float | None  # train accuracy above which a model has learned more than a constant answer; None: not known
    parts: list[Part]
    averaged: bool = False  # whether the mean weights of the last epochs are stored too, as of the epoch AVERAGED
    other: Mapping[int, NetSpec] = MappingProxyType({})  # specs of models that differ

    def spec_of(self, model: int) -> NetSpec:
        return self.other.get(model, self.spec)

    @property
    def stored(self) -> list[Epoch]:
        """What checkpoints of every model are stored, as its parts have them."""
        return [*self.epochs, *[AVERAGED] * self.averaged]

    @property
    def models(self) -> list[int]:
        """Indices of the models that are stored, in order."""
        return sorted(model for part in self.parts for model in part.models)

    def read(self, models: Iterable[int], epochs: Iterable[Epoch]) -> Float32[Tensor, "model epoch weight"]:
        """Flat weights of every one of these models at every one of these epochs; see `checkpoints`."""
        models, epochs = list(models), list(epochs)
        return self.checkpoints(list(product(models, epochs))).view(len(models), len(epochs), -1)

    def checkpoints(self, places: Sequence[tuple[int, Epoch]]) -> Float32[Tensor, "checkpoint weight"]:
        """Flat weights at (model, epoch) places, in their order; nothing else is read.

        Raises InputError naming the index if a place is not stored or models have unlike weights, or the part that is damaged or
        another's.
        """
        part_of = {model: part for part in self.parts for model in part.models}
        wanted: dict[Path, list[int]] = {}
        for n, (model, epoch) in enumerate(places):
            if model not in part_of:
                raise InputError(f"{self.path}: has {len(part_of)} models, and no model {model}")
            if epoch not in self.stored:
                raise InputError(f"{self.path}: has weights of epochs {', '.join(map(str, self.stored))}, not of {epoch}")
            wanted.setdefault(part_of[model].path, []).append(n)
        shapes = self._shapes({model for model, _ in places})
        weights = torch.empty(len(places), sum(map(prod, shapes.values())))
        for numbers in wanted.values():
            chosen = [places[n] for n in numbers]
            found = read_checkpoints(part_of[chosen[0][0]], shapes, chosen)
            for n, values in zip(numbers, found, strict=True):
                weights[n] = values
        return weights

    def _shapes(self, models: Collection[int]) -> Shapes:
        """Of the parameters of all these models."""
        if not self.other or not models:
            return self.spec.shapes
        models = sorted(models)
        (first, _), *others = by_spec(map(self.spec_of, models))
        if unlike := [places[0] for spec, places in others if spec.shapes != first.shapes]:
            told = f"models {models[0]} and {models[unlike[0]]} are of architectures whose weights differ in shape"
            raise InputError(f"{self.path}: {told}: take models of one of them")
        return first.shapes


def read_zoo(path: str | Path) -> Zoo:
    """A zoo by its index, or by the folder that a `ZooWriter` left; raises InputError naming the index if it is damaged."""
    path = Path(path, MANIFEST) if Path(path).is_dir() else Path(path)
    _, about = load_tensors(path)
    parts = [Part(path.parent / file, *rest) for file, *rest in about["parts"]]
    other = {}
    for spec, models in about.get("other", []):
        other |= dict.fromkeys(models, build_spec(**spec))
    return Zoo(path, build_spec(**about["spec"]), about["epochs"], about["bar"], parts, about.get("averaged", False), other)


def write_index(path: str | Path, zoo: Zoo, job: Job | None = None, place: Path | None = None) -> None:
    """Write what a zoo is and where its parts lie, relative to the index; `place` is where the index will lie, if it is moved."""
    start = (place or Path(path)).parent
    parts = [[Path(os.path.relpath(part.path, start)).as_posix(), *part[1:]] for part in zoo.parts]
    about = {"spec": zoo.spec.description, "epochs": zoo.epochs, "bar": zoo.bar, "parts": parts}
    about |= {"averaged": True} if zoo.averaged else {}  # so that other indices stay those that were written before
    if zoo.other:
        models = list(zoo.other)
        about["other"] = [[spec.description, [models[n] for n in places]] for spec, places in by_spec(zoo.other.values())]
    save_tensors(path, {}, about, job, place)


class Networks(NamedTuple):
    """Networks of a zoo at one epoch, all of one spec."""

    spec: NetSpec
    weights: Float32[Tensor, "model weight"]
    models: list[int]  # their indices in the zoo


class ZooWriter:
    """Writes checkpoints part by part into a folder that appears, whole, when it is finished.

    Until then they lie in `<folder>.partial`, where a job that was killed finds them.
    """

    def __init__(
        self,
        folder: str | Path,
        spec: NetSpec,
        epochs: Sequence[int],
        bar: float | None,
        averaged: bool = False,
        other: Mapping[int, NetSpec] = MappingProxyType({}),
    ) -> None:
        self.folder = Path(folder)
        self.partial = self.folder.with_name(f"{self.folder.name}.partial")
        self.zoo = Zoo(self.folder / MANIFEST, spec, list(epochs), bar, [], averaged, other)

    @property
    def num_models(self) -> int:
        """Models written so far."""
        return sum(len(part.models) for part in self.zoo.parts)

    def go_on(self, num_models: int = 0) -> bool:
        """Keep the first models that a killed job wrote and remove the rest; whether they are all there, else none is kept."""
        parts, lost = [], f"{self.partial} does not hold the first {num_models} models"
        try:
            found = {int(path.stem): path for path in self.partial.glob("*.safetensors") if path.stem.isdecimal()}
            parts = [read_part(path) for start, path in sorted(found.items()) if start < num_models]
        except InputError as error:
            lost = str(error)
        whole = sum(len(part.models) for part in parts) == num_models
        if not whole:
            print(f"starting over: {lost}")
        self.zoo = self.zoo._replace(parts=parts if whole else [])
        for path in set(self.partial.glob("*")) - {part.path for part in self.zoo.parts}:
            path.unlink()
        return whole

    def write(self, models: Sequence[int], parameters: dict[str, Float32[Tensor, "..."]]) -> None:
        """Write one part: models of one spec, by their indices in the zoo, each parameter as [model, stored, *shape], float32."""
        own = self.zoo.spec_of(models[0])
        shapes = {name: (len(models), len(self.zoo.stored), *shape) for name, shape in own.shapes.items()}
        if {name: tuple(values.shape) for name, values in parameters.items()} != shapes:
            raise ValueError(f"parameters are not of the shapes {shapes}")
        if any(values.dtype != torch.float32 for values in parameters.values()):
            raise ValueError("parameters are not float32")
        if not self.zoo.parts:
            self.go_on()
        path = self.partial / f"{self.num_models:07d}.safetensors"
        ordered = {name: parameters[name] for name in shapes}
        self.zoo.parts.append(write_part(path, list(models), self.zoo.stored, ordered))

    def finish(self, job: Job | None = None) -> Zoo:
        """Put the folder, with a manifest that is its index, in its place."""
        parts = [part._replace(path=self.folder / part.path.name) for part in self.zoo.parts]
        zoo = self.zoo._replace(parts=parts)
        write_index(self.partial / MANIFEST, zoo, job, zoo.path)
        if self.folder.exists():
            shutil.rmtree(self.folder)
        self.partial.replace(self.folder)
        return zoo


def chosen_networks(zoo: Zoo, chosen: ChosenNetworks) -> Networks:
    """The networks of a zoo that a cell takes.

    Raises InputError naming the zoo if a model or the epoch is not there, if a model diverged, or if they are of several specs.
    """
    name = f"zoo {chosen.zoo!r}"
    models = zoo.models if chosen.models is None else chosen.models
    epoch = zoo.epochs[-1] if chosen.epoch is None else chosen.epoch
    if epoch not in zoo.epochs:
        raise InputError(f"{name} keeps epochs {', '.join(map(str, zoo.epochs))}, not {epoch}")
    if missing := sorted(set(models) - set(zoo.models)):
        raise InputError(f"{name} has models 0 to {len(zoo.models) - 1}, no {missing[0]}")
    (spec, _), *others = by_spec(map(zoo.spec_of, models))
    if others:
        told = f"models {models[0]} and {models[others[0][1][0]]} differ in activation or architecture"
        raise InputError(f"{name}: {told}: name `models` that are alike")
    weights = zoo.checkpoints([(model, epoch) for model in models])
    if lost := [str(model) for model, usable in zip(models, in_range(weights), strict=True) if not usable]:
        told = f"model {lost[0]} diverged, or lacks" if len(lost) == 1 else f"models {', '.join(lost)} diverged, or lack"
        raise InputError(f"{name}: {told} epoch {epoch}: lower its learning_rates, or name other models")
    return Networks(spec, weights, models)


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
