"""A zoo from checkpoints that exist: each is read or refused, and what is not taken over is told in a table."""

from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import torch
from jaxtyping import Float32
from torch import Tensor

from weightspace.checkpoints import Zoo, ZooWriter, in_range
from weightspace.ensemble import evaluate, learning_bar
from weightspace.errors import InputError
from weightspace.images.tensors import ImageSet, normalize
from weightspace.jobs import Job
from weightspace.nets.forward import flatten, unflatten
from weightspace.nets.spec import NetSpec
from weightspace.progress import Progress
from weightspace.zoo.inferring import Images, Inferred, activation_of, infer_spec
from weightspace.zoo.layouts import RENAMED, Found, Listing, Row, Trial, list_checkpoints, results_of
from weightspace.zoo.matching import match_keys
from weightspace.zoo.members import drawn_split
from weightspace.zoo.sources import CheckpointsConfig
from weightspace.zoo.state_files import State, read_state

DROPPED = pa.schema(
    [
        ("file", pa.string()),  # the first of those that it was dropped from
        ("model", pa.string()),  # null where it is of no one model
        ("epoch", pa.int64()),
        ("key", pa.string()),  # of a state dict; null of a whole file
        ("reason", pa.string()),
        ("num_files", pa.int64()),
    ]
)
SPLITS = {"train": "train", "val": "val", "validation": "val", "valid": "val", "dev": "val", "test": "test"}
TEXTS = ("init", "init_tensor", "split")  # columns of text that are kept; of others, numbers
OWN = ("model", "epoch", "diverged")  # columns that the import itself writes
PART_NUMBERS = 2**26  # in one part of the zoo at most, 256 MB, but where one model alone has more
MEASURED = [f"{split}_{what}" for split in ("train", "val", "test") for what in ("loss", "accuracy")]


class Plan(NamedTuple):
    """What can be said of a folder before its checkpoints are read, but for the first."""

    listing: Listing
    inferred: Inferred
    epochs: list[int]  # of the zoo
    models: dict[str, list[Found]]  # in the order of their indices; none is without a checkpoint


class Drops:
    """What is not taken over; the same key of many files, dropped for the same reason, is one row."""

    def __init__(self) -> None:
        self.rows: dict[tuple, Row] = {}

    def add(self, path: str | Path, reason: str, found: Found | None = None, key: str | None = None) -> None:
        """Note a file, or a key of one; the place of a checkpoint is said where a whole one is dropped."""
        whole = key is None
        about = {"model": found.model, "epoch": found.epoch} if found and whole else {"model": None, "epoch": None}
        row = {"file": str(path), **about, "key": key, "reason": reason, "num_files": 0}
        self.rows.setdefault((str(path) if whole else None, key, reason), row)["num_files"] += 1

    def table(self) -> pa.Table:
        """One row per file or key, in the order of their files."""
        return pa.Table.from_pylist(list(self.rows.values()), schema=DROPPED)


class ReadModel(NamedTuple):
    """One model of the zoo to be, and a row for each of its checkpoints."""

    weights: Float32[Tensor, "epoch weight"]  # not a number where there is no checkpoint
    rows: list[Row]


class ImportedZoo(NamedTuple):
    """What an import leaves."""

    zoo: Zoo
    models: pa.Table
    dropped: pa.Table


def plan_import(config: CheckpointsConfig, images: Images | None) -> Plan:
    """List a folder and infer the spec of its checkpoints, from the first that tells it and fits; opens no later one.

    Raises InputError naming the folder or file that cannot be used.
    """
    listing = list_checkpoints(config.path, config.properties)
    epochs, checkpoints = _numbered(config, listing.checkpoints)
    models: dict[str, list[Found]] = {}
    for found in checkpoints:
        models.setdefault(found.model, []).append(found)
    unfit, unread = [], []
    for name, (first, *_) in models.items():
        params = listing.trials[name].params if name in listing.trials else listing.params
        try:
            state = read_state(first.path)
        except InputError as error:
            unread.append(error)
            continue
        try:
            inferred = infer_spec(config, images, state, params)
            match_keys(inferred.spec, state, config.layers)
            return Plan(listing, inferred, epochs, models)
        except InputError as error:
            unfit.append(InputError(f"{first.path}: {error}"))
    raise (unfit + unread)[0]


def _numbered(config: CheckpointsConfig, checkpoints: list[Found]) -> tuple[list[int], list[Found]]:
    """The zoo's epochs, and its checkpoints, each of one of them; where no file tells its epoch all are of one."""
    unknown = [found for found in checkpoints if found.epoch is None]
    if unknown and len(unknown) < len(checkpoints):
        known = next(found for found in checkpoints if found.epoch is not None)
        raise InputError(f"{unknown[0].path} does not tell its epoch, {known.path} does: a table's column `epoch` can tell all")
    if unknown:
        if config.epochs and len(config.epochs) > 1:
            raise InputError(f"{config.path}: its files do not tell their epochs: `epochs` can name one that all are of")
        (epoch,) = config.epochs or [0]
        return [epoch], [found._replace(epoch=epoch) for found in checkpoints]
    epochs = config.epochs or sorted({found.epoch for found in checkpoints})
    kept = [found for found in checkpoints if found.epoch in epochs]
    if missing := set(epochs) - {found.epoch for found in kept}:
        raise InputError(f"{config.path}: no model has a checkpoint of epoch {min(missing)}")
    return epochs, kept


def import_zoo(
    config: CheckpointsConfig, images: ImageSet | None, parts: str | Path, job: Job | None = None, numbers: int = PART_NUMBERS
) -> ImportedZoo:
    """The zoo of a folder, written into another; with images its models are measured on them where nothing is given.

    No more than one part of the weights, of so many numbers, is in memory at a time.
    Raises InputError naming the folder or file where nothing can be read at all.
    """
    plan = plan_import(config, images and Images(tuple(images.train_x.shape[1:]), len(images.classes)))
    print(f"{config.path}: {len(plan.models)} models, epochs {', '.join(map(str, plan.epochs))}; {plan.inferred.told}")
    drops = Drops()
    for path, reason in plan.listing.missing:
        drops.add(path, reason)
    bar = learning_bar(images.train_y) if images else None
    writer, rows, waiting = ZooWriter(parts, plan.inferred.spec, plan.epochs, bar), [], []
    for model in read_models(config, plan, images, drops):
        rows += model.rows
        waiting.append(model.weights)
        if (len(waiting) + 1) * model.weights.numel() > numbers:
            _write_part(writer, waiting)
            waiting = []
    if not rows:
        raise InputError(f"{config.path}: no checkpoint can be used: {next(iter(drops.rows.values()))['reason']}")
    if waiting:
        _write_part(writer, waiting)
    zoo = writer.finish(job)
    print(f"{len(rows)} checkpoints of {len(zoo.models)} models; {len(drops.rows)} rows tell what was not taken over")
    return ImportedZoo(zoo, _models_table(rows), drops.table())


def _write_part(writer: ZooWriter, weights: list[Float32[Tensor, "epoch weight"]]) -> None:
    """The next models of a zoo, as one part."""
    models = range(writer.num_models, writer.num_models + len(weights))
    writer.write(models, unflatten(writer.zoo.spec, torch.stack(weights)))


def read_models(config: CheckpointsConfig, plan: Plan, images: ImageSet | None, drops: Drops) -> Iterator[ReadModel]:
    """Read one model after the other; those without a checkpoint that can be used are left out."""
    progress, number = Progress("models", len(plan.models)), 0
    for done, checkpoints in enumerate(plan.models.values(), start=1):
        model = _read_model(config, plan, number, checkpoints, drops)
        progress.update(done)
        if not model.rows:
            continue
        number += 1
        if images is not None:
            model = _measured(plan, model, images)
        split = _split_of(config, model.rows)
        yield model._replace(rows=[_finished(row) | {"split": split} for row in model.rows])


def _read_model(config: CheckpointsConfig, plan: Plan, number: int, checkpoints: list[Found], drops: Drops) -> ReadModel:
    """What can be used of one model, which will have a number in the zoo; it may be nothing."""
    spec, name = plan.inferred.spec, checkpoints[0].model
    trial = plan.listing.trials.get(name, Trial(Path(config.path), plan.listing.params))
    weights, rows = torch.full((len(plan.epochs), spec.num_weights), torch.nan), []
    if (own := activation_of(None, trial.params)) not in (None, spec.activation):
        for found in checkpoints:
            drops.add(found.path, f"its activation is {own}, the zoo's is {spec.activation}", found)
        return ReadModel(weights, rows)
    results = {}
    if name in plan.listing.trials:
        results, problems = results_of(trial, [found.epoch for found in checkpoints])
        for problem in problems:
            drops.add(trial.folder / "result.json", problem)
    for found in checkpoints:
        try:
            flat = flat_weights(spec, read_state(found.path), found, config.layers, drops)
            said = known_columns(trial.params | results.get(found.epoch, {}) | found.said)
        except InputError as error:
            drops.add(found.path, str(error).removeprefix(f"{found.path}: "), found)
            continue
        if not (finite := bool(in_range(flat))):
            drops.add(found.path, "a weight is not finite: kept as diverged", found)
        weights[plan.epochs.index(found.epoch)] = flat
        about = {"model": number, "name": name, "epoch": found.epoch, "activation": spec.activation, "init_tensor": name}
        rows.append(about | said | {"diverged": not finite})
    for epoch in sorted(set(plan.epochs) - {found.epoch for found in checkpoints}):
        drops.add(trial.folder, "there is no such checkpoint", Found(name, epoch, trial.folder, {}))
    return ReadModel(weights, rows)


def flat_weights(spec: NetSpec, state: State, found: Found, order: list[str] | None, drops: Drops) -> Float32[Tensor, " weight"]:
    """Weights of a state dict in the spec's order; raises InputError, without the file's name, where they do not match."""
    keys = match_keys(spec, state, order)
    used = set(keys.values())
    left = [(key, "is no weight of the architecture") for key in state.tensors if key not in used]
    for key, reason in (*state.dropped, *left):
        drops.add(found.path, reason, found, key)
    return flatten(spec, {name: state.tensors[key].float() for name, key in keys.items()})


def known_columns(said: Row) -> Row:
    """Numbers and names by our names of columns; raises InputError for an accuracy that is no fraction, or no split."""
    row: Row = {}
    for given, value in said.items():
        name = RENAMED.get(given, given)
        if name in TEXTS and value is not None:
            row[name] = str(value)
        elif isinstance(value, int | float) and not isinstance(value, bool) and name not in OWN:
            row[name] = float(value)
        if name.endswith("_accuracy") and isfinite(number := row.get(name, 0.0)) and not 0 <= number <= 1:
            raise InputError(f"{given} is {value}: accuracies are fractions, from 0 to 1")
    if (split := row.get("split")) is not None and split not in SPLITS:
        raise InputError(f"split is {split!r}: it must be train, val or test")
    return row


def _measured(plan: Plan, model: ReadModel, images: ImageSet) -> ReadModel:
    """The model with losses and accuracies where none are given."""
    places = [plan.epochs.index(row["epoch"]) for row in model.rows]
    weights, rows = model.weights[places].to(images.train_x.device), [dict(row) for row in model.rows]
    for split in ("train", "val", "test"):
        names = f"{split}_loss", f"{split}_accuracy"
        if all(name in row for row in rows for name in names):
            continue
        x, y = normalize(getattr(images, f"{split}_x"), images), getattr(images, f"{split}_y")
        for name, values in zip(names, evaluate(plan.inferred.spec, weights, x, y), strict=True):
            for row, value in zip(rows, values.tolist(), strict=True):
                row.setdefault(name, value)
    return model._replace(rows=rows)


def _finished(row: Row) -> Row:
    """A row with the gap, where it can be told, and with diverged if a measure is not finite."""
    row = dict(row)
    if {"train_accuracy", "test_accuracy"} <= set(row):
        row.setdefault("generalization_gap", row["train_accuracy"] - row["test_accuracy"])
    broken = not all(isfinite(row[name]) for name in MEASURED if name in row)
    return row | {"diverged": row["diverged"] or broken}


def _models_table(rows: list[Row]) -> pa.Table:
    """One row per model and epoch that it has, as of a zoo that was trained here; a column for all that is known of any."""
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.Table.from_pylist([{name: row.get(name) for name in names} for row in rows])


def _split_of(config: CheckpointsConfig, rows: list[Row]) -> str:
    """The given split, else train, val or test by a hash of the model's name, the same whoever else is in the zoo."""
    given = {SPLITS[row["split"]] for row in rows if "split" in row}
    if len(given) > 1:
        raise InputError(f"{config.path}: model {rows[0]['name']!r} is in splits {' and '.join(sorted(given))}")
    return next(iter(given), drawn_split(config, rows[0]["name"]))
