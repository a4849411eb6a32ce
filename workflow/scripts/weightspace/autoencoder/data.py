"""The zoo as an autoencoder sees it: checkpoints of the chosen epochs, by split, with their properties."""

from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from weightspace.autoencoder.settings import AutoencoderSettings
from weightspace.autoencoder.settings_baselines import BaselineConfig
from weightspace.checkpoints import Zoo, read_zoo, which_learned
from weightspace.errors import InputError
from weightspace.images.tensors import ImageSet, normalize, read_images
from weightspace.nets.spec import NetSpec
from weightspace.rng import generator_for
from weightspace.table import read_table
from weightspace.unit_orders import UnitOrders, in_order, read_unit_orders

SPLITS = ("train", "val", "test")


class Population(NamedTuple):
    """A zoo, as the files of other stages tell it."""

    name: str
    zoo: Zoo
    models: pa.Table
    images: ImageSet | None = None
    orders: UnitOrders | None = None  # in which its models are aligned; None: they are as they were trained
    sets: Mapping[str, ImageSet] = MappingProxyType({})  # all image sets that were read, by name


def read_populations(files: object, images: dict[str, str | None], device: torch.device) -> list[Population]:
    """Zoos by the files of a rule, each with the name of its image set, if it has one; images are put on `device`."""
    sets = {Path(path).stem: read_images(path, device) for path in files.images}
    orders = [read_unit_orders(path) for path in files.orders] or [None] * len(images)
    zoos = zip(images.items(), files.weights, files.models, orders, strict=True)
    return [
        Population(zoo, read_zoo(weights), read_table(models), sets.get(name), order, sets)
        for (zoo, name), weights, models, order in zoos
    ]


class Checkpoints(NamedTuple):
    """Checkpoints of one split and what is known of each."""

    weights: Float[Tensor, "checkpoint weight"]
    properties: pd.DataFrame  # one row per checkpoint: model, epoch, test_accuracy, generalization_gap, …
    specs: list[NetSpec] | None = None  # of each; None: all are of the zoo's

    @property
    def last_epoch(self) -> int:
        """The latest epoch of any."""
        return int(self.properties["epoch"].max())

    @property
    def models(self) -> list[int]:
        """Indices of the models, in order, each once."""
        return sorted(self.properties["model"].unique().tolist())

    def at_epoch(self, epoch: int) -> "Checkpoints":
        """Those of one epoch: one checkpoint per model."""
        return self.of((self.properties["epoch"] == epoch).to_numpy())

    def of(self, rows: Bool[np.ndarray, " checkpoint"]) -> "Checkpoints":
        """Those of some rows."""
        specs = self.specs and [spec for spec, kept in zip(self.specs, rows, strict=True) if kept]
        return Checkpoints(self.weights[torch.tensor(rows)], self.properties[rows], specs)


def checkpoints_by_split(
    config: AutoencoderSettings | BaselineConfig,
    population: Population,
    device: torch.device,
    wanted: Collection[str] = SPLITS,
) -> dict[str, Checkpoints]:
    """Checkpoints of train, val and test models, or of those splits alone that are wanted; no others are read.

    Diverged checkpoints cannot be learned from: they are left out and named in the log. Raises InputError if a split is empty.
    """
    name, zoo, models, _, orders, _ = population
    print(f"zoo {name!r}: {which_learned(models, zoo.bar)}")
    table, epochs = models.to_pandas(), config.epochs or zoo.epochs
    table = table[table["epoch"].isin(epochs)]
    if table["diverged"].any():
        lost = ", ".join(map(str, sorted(table.loc[table["diverged"], "model"].unique())))
        print(f"left out {int(table['diverged'].sum())} diverged of {len(table)} checkpoints, of models {lost}")
    table = table[~table["diverged"]]
    splits = {}
    for split in SPLITS:
        rows = table[table["split"] == split].sort_values(["model", "epoch"], ignore_index=True)
        usable = int((rows["epoch"] == epochs[-1]).sum())
        if usable < 2:
            raise InputError(f"zoo {name!r} has {usable} usable {split} models at epoch {epochs[-1]}: train more models")
        if split in wanted:
            places = list(zip(rows["model"].tolist(), rows["epoch"].tolist(), strict=True))
            weights = zoo.checkpoints(places)
            if orders is not None:
                weights = in_order(zoo.spec, weights, rows["model"].tolist(), orders)
            specs = [zoo.spec_of(model) for model in rows["model"]] if zoo.other else None
            splits[split] = Checkpoints(weights.to(device), rows, specs)
    return splits


def query_pool(num: int, images: ImageSet) -> Float[Tensor, "query channel height width"]:
    """So many train images, normalized, the same for all that ask for as many."""
    pool = torch.randperm(len(images.train_x), generator=generator_for("query_pool", num))[:num]
    return normalize(images.train_x[pool.to(images.train_x.device)], images)
