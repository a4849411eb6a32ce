"""Which checkpoints lie in a folder, in a fixed order, and what is written beside them; none of the weights is read here.

Two layouts are known. Trials, as ModelZoos publishes them (ModelZooDataset efccaf3, PhaseTransitionModelZoo 26ff952): a folder
per model with params.json or config.json, result.json (one JSON object per line and epoch) and `checkpoint_<epoch>/checkpoints`,
the epoch padded to six digits or not. Files: safetensors and torch state dicts anywhere below, with a CSV or Parquet file that
has a row for each.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from weightspace.errors import InputError
from weightspace.zoo.state_files import natural

WEIGHTS, TABLES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt"), (".csv", ".parquet")
FOLDER = re.compile(r"checkpoint_([0-9]{1,9})")
EPOCH = re.compile(r"(?:^|[-_./])epoch[-_=]?([0-9]{1,9})$")  # how the path of a file may end, before its suffix
FILE_COLUMNS = ("file", "path", "filename", "checkpoint", "name", "model")  # of which the first says which file a row is of
RENAMED = {  # what ModelZoos and others call our columns
    "train_acc": "train_accuracy", "val_acc": "val_accuracy", "test_acc": "test_accuracy", "ggap": "generalization_gap",
    "model::init_type": "init", "optim::lr": "learning_rate", "optim::wd": "weight_decay", "seed": "seed",
}  # fmt: skip
OF_RAY = ("training_iteration", "timestamp", "pid", "time_", "timesteps", "episodes", "iterations", "warmup", "done", "should_")

Row = dict[str, object]


class Found(NamedTuple):
    """One checkpoint: whose it is, when it was made, where it lies, and what is said of it."""

    model: str
    epoch: int | None  # None where nothing tells it
    path: Path
    said: Row  # columns of a table of files


class Trial(NamedTuple):
    """What lies beside a model's checkpoints in the layout of trials."""

    folder: Path
    params: dict[str, object]  # flat, as in params.json


class Listing(NamedTuple):
    """What a folder holds."""

    checkpoints: list[Found]  # by model, then by epoch
    trials: dict[str, Trial]  # by model; none in the layout of files
    params: dict[str, object]  # of the folder, for models that are no trials: its config.json, as an export has it
    missing: list[tuple[str, str]]  # files that something names, and why there is nothing to read


def list_checkpoints(folder: str | Path, properties: str | None = None) -> Listing:
    """The checkpoints of a folder; raises InputError naming the folder or file and what is wrong with it."""
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    paths = sorted((path for path in folder.rglob("*") if path.is_file()), key=lambda path: natural(path.as_posix()))
    trials = [path for path in paths if path.name == "checkpoints" and FOLDER.fullmatch(path.parent.name)]
    listing = _list_trials(folder, trials) if trials else _list_files(folder, paths, properties)
    if not listing.checkpoints:
        raise InputError(f"{folder}: neither checkpoint_<epoch>/checkpoints nor files {', '.join(WEIGHTS)} lie in it")
    known: dict[tuple[str, int | None], Path] = {}
    for found in listing.checkpoints:
        if (first := known.setdefault((found.model, found.epoch), found.path)) != found.path:
            when = "" if found.epoch is None else f" at epoch {found.epoch}"
            raise InputError(f"{first} and {found.path} are both model {found.model!r}{when}")
    ordered = sorted(listing.checkpoints, key=lambda found: (natural(found.model), found.epoch or 0))
    return listing._replace(checkpoints=ordered)


def _list_trials(folder: Path, paths: list[Path]) -> Listing:
    checkpoints, trials = [], {}
    for path in paths:
        trial = path.parent.parent
        model = trial.relative_to(folder).as_posix() if trial != folder else folder.name
        if model not in trials:
            trials[model] = Trial(trial, _params(trial))
        checkpoints.append(Found(model, int(FOLDER.fullmatch(path.parent.name)[1]), path, {}))
    return Listing(checkpoints, trials, {}, [])


def _params(trial: Path) -> dict[str, object]:
    path = next((trial / name for name in ("params.json", "config.json") if (trial / name).is_file()), None)
    if path is None:
        return {}
    try:
        content = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error})") from error
    return content if isinstance(content, dict) else {}


def results_of(trial: Trial, epochs: list[int]) -> tuple[dict[int, Row], list[str]]:
    """What result.json says at each epoch, and what is wrong with it.

    A row's epoch is its training_iteration; a later row of the same epoch wins. Rows that have none are counted from the
    first epoch that has a checkpoint, if that is 0, else from 1.
    """
    path = trial.folder / "result.json"
    if not path.is_file():
        return {}, ["there is no such file: nothing is known of the model"]
    rows: dict[int, Row] = {}
    problems = []
    for number, line in enumerate(path.read_text(errors="replace").splitlines()):
        try:
            row = json.loads(line)
            epoch = int(row.get("training_iteration", number + (0 if min(epochs) == 0 else 1)))
        except (ValueError, TypeError, AttributeError, RecursionError):
            problems.append(f"line {number + 1} is not a JSON object")
            continue
        rows[epoch] = {key: value for key, value in row.items() if not key.startswith(OF_RAY)}
    return rows, problems


def _list_files(folder: Path, paths: list[Path], properties: str | None) -> Listing:
    files = {path.relative_to(folder).as_posix(): path for path in paths if path.suffix in WEIGHTS}
    tables = [path for path in paths if path.suffix in TABLES and path.parent == folder]
    if properties is None and len(tables) > 1:
        raise InputError(f"{folder}: holds {', '.join(path.name for path in tables)}: say which has the `properties`")
    table = folder / properties if properties else next(iter(tables), None)
    if table is None:
        return Listing([_unsaid(name, path) for name, path in files.items()], {}, _params(folder), [])
    rows, lost = _rows_by_file(table, files)
    checkpoints = [_said(name, path, rows[name]) if name in rows else _unsaid(name, path) for name, path in files.items()]
    return Listing(checkpoints, {}, _params(folder), [(f"{table}", f"names {name!r}, which is not there") for name in lost])


def _unsaid(name: str, path: Path) -> Found:
    """A file of which nothing but its name is known; `…/epoch-12` is the epoch of the model before it."""
    stem = name.removesuffix(path.suffix)
    if told := EPOCH.search(stem):
        return Found(stem[: told.start()] or path.parent.name, int(told[1]), path, {})
    return Found(stem, None, path, {})


def _said(name: str, path: Path, row: Row) -> Found:
    alone = _unsaid(name, path)
    model, epoch = row.get("model"), row.get("epoch")
    if epoch is not None and int(epoch) != epoch:
        raise InputError(f"{path}: its epoch {epoch} is no whole number")
    return Found(alone.model if model is None else _stem(str(model)), alone.epoch if epoch is None else int(epoch), path, row)


def _rows_by_file(path: Path, files: dict[str, Path]) -> tuple[dict[str, Row], list[str]]:
    """Rows of a table by the file that each is of, and the names that are no file's."""
    table = read_properties(path)
    column = next((name for name in FILE_COLUMNS if name in table.column_names), None)
    if column is None:
        raise InputError(f"{path}: has none of the columns {', '.join(FILE_COLUMNS)} that could name files")
    known = dict(_names_of(files))
    rows: dict[str, Row] = {}
    lost = []
    for row in table.to_pylist():
        name = known.get(str(row[column]))
        if name is None:
            lost.append(str(row[column]))
        elif name in rows:
            raise InputError(f"{path}: column {column!r} names {row[column]!r} twice")
        else:
            rows[name] = row
    return rows, lost


def _names_of(files: dict[str, Path]) -> Iterator[tuple[str, str]]:
    """What may stand for a file: its path below the folder, or its name, with and without suffix, where no other has the same."""
    short: dict[str, set[str]] = {}
    for name in files:
        for alias in (Path(name).name, _stem(Path(name).name), _stem(name)):
            short.setdefault(alias, set()).add(name)
    yield from ((alias, *names) for alias, names in short.items() if len(names) == 1)
    yield from ((name, name) for name in files)


def _stem(name: str) -> str:
    return next((name.removesuffix(suffix) for suffix in WEIGHTS if name.endswith(suffix)), name)


def read_properties(path: Path) -> pa.Table:
    """A CSV or Parquet file as a table; raises InputError naming the file if it is neither."""
    try:
        return pa.csv.read_csv(path) if path.suffix == ".csv" else pq.read_table(path, partitioning=None)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{path}: not a whole {path.suffix[1:].upper()} file ({' '.join(str(error).split())[:200]})") from error
