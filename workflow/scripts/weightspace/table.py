"""Tables on disk: Parquet written whole and read checked; the one row shape of every measurement."""

from collections.abc import Iterable
from hashlib import sha256
from math import inf
from pathlib import Path
from typing import Literal, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from weightspace.errors import InputError
from weightspace.jobs import Job

SCHEMA = pa.schema(
    [
        ("scenario", pa.string()),
        ("stage", pa.string()),
        ("cell", pa.string()),
        ("seed", pa.int64()),  # of the stage's job; 0 where a stage has no seeds
        ("split", pa.string()),  # train, val or test *models*
        ("subject", pa.string()),  # a model's index, or empty
        ("metric", pa.string()),
        ("at", pa.int64()),  # the epoch, step, round, … that the metric says; null where there is none
        ("value", pa.float64()),
    ]
)
SOURCE = [("scenario", pa.string()), ("stage", pa.string()), ("cell", pa.string()), ("seed", pa.int64())]  # how side tables begin
CELLS = pa.schema(  # what each row's cell is, from the settings; its numbers follow as columns
    [
        ("scenario", pa.string()),
        ("stage", pa.string()),
        ("cell", pa.string()),
        ("kind", pa.string()),  # of a baseline, a control or a teacher; null where a stage has one kind
        ("of", pa.string()),  # the cell that it was made from or stands against
        ("group", pa.string()),  # what cells have in common that figures may pool, as the scenario says; null: nothing
        ("label", pa.string()),  # as figures write it
    ]
)
KEY = ["scenario", "stage", "cell"]


class Metric(NamedTuple):
    """What a metric's number means, said once beside the code that writes it."""

    name: str
    unit: str
    range: tuple[float, float]  # lowest and highest possible value
    better: Literal["higher", "lower", "neither"]
    meaning: str
    at: Literal["", "epoch", "step", "round", "layer", "percent", "models", "bits"] = (
        ""  # what the column `at` counts, if anything
    )
    tolerance: float = 1e-3  # in the golden run: of each number, relative above 1
    mean_tolerance: float = 1e-3  # the same of the mean over models
    successes: bool = False  # 0 or 1, or shares of one model's trials: its mean has the interval of a proportion
    ratio: tuple[str, str] | None = None  # in no row: 1 - mean of the first metric / mean of the second, as an R2 is


SHARE, POSITIVE, SIGNED, ANY = (0.0, 1.0), (0.0, inf), (-1.0, 1.0), (-inf, inf)  # ranges
OF_IMAGES = {"tolerance": 0.03, "mean_tolerance": 0.003}  # counts of answers can jump where two logits are nearly equal


class Source(NamedTuple):
    """Who measured: the columns that all rows of a job share."""

    scenario: str
    stage: str
    cell: str
    seed: int

    def row(self, metric: str, value: float, *, split: str = "test", subject: object = "", at: int | None = None) -> dict:
        """One row; `subject` is a model's index or empty, `at` an epoch, step, round or layer."""
        return {**self._asdict(), "split": split, "subject": str(subject), "metric": metric, "at": at, "value": float(value)}


def write_metrics(path: str | Path, rows: list[dict], metrics: Iterable[Metric], job: Job | None = None) -> None:
    """Write rows whole or not at all; raises InputError on a column too many or too few, or a metric not listed or derived."""
    known = {metric.name for metric in metrics if metric.ratio is None}
    for row in rows:
        if row.keys() != set(SCHEMA.names):
            raise InputError(f"{path}: a row has columns {sorted(row)}, the schema has {sorted(SCHEMA.names)}")
        if row["metric"] not in known:
            raise InputError(f"{path}: metric {row['metric']!r} is not in the list of its stage")
    write_table(path, pa.Table.from_pylist(rows, schema=SCHEMA), job)


def read_metrics(path: str | Path) -> pa.Table:
    """Read a metrics table; raises InputError naming the file if its bytes or its columns are wrong."""
    return read_table(path, SCHEMA)


def read_cells(path: str | Path) -> pd.DataFrame:
    """Read a table of cells; raises InputError naming the file if its bytes or its columns are wrong."""
    table = read_table(path)
    if table.schema.names[: len(CELLS)] != CELLS.names:
        raise InputError(f"{path}: not a table of cells with columns {CELLS.names}")
    return table.to_pandas()


def read(path: str | Path) -> pd.DataFrame:
    """Rows of a scenario's table, such as metrics.parquet, each with its cell's columns (kind, of, group, label, numbers) beside.

    The cells are read from `cells.parquet` in the same folder; a table of no cells is read as it is. Raises InputError if a
    file is missing or damaged, or a cell is not in the table of cells.
    """
    rows = read_table(path).to_pandas()
    if not set(KEY) <= set(rows.columns):
        return rows
    cells = read_cells(Path(path).with_name("cells.parquet"))
    joined = rows.merge(cells, on=KEY, how="left", validate="many_to_one", indicator="known")
    strange = joined["known"] != "both"
    if strange.any():
        raise InputError(f"{path}: cell {joined.loc[strange, 'cell'].iloc[0]!r} is not in cells.parquet beside it")
    return joined.drop(columns="known")


def write_table(path: str | Path, table: pa.Table, job: Job | None = None) -> None:
    """Write a Parquet file with a hash of its content, by a temporary file and a rename; with a job it says who it is."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    entries = {"sha256": _digest(table)} | ({"identity": job.said_of(path)} if job else {})
    pq.write_table(table.replace_schema_metadata(entries), partial, compression="zstd")
    partial.replace(path)


def read_table(path: str | Path, schema: pa.Schema | None = None) -> pa.Table:
    """Read what `write_table` wrote; raises InputError naming the file if it is cut, altered, not ours or of another schema."""
    try:
        table = pq.read_table(path, partitioning=None)
        written = (table.schema.metadata or {}).get(b"sha256", b"").decode()
        whole = written == _digest(table)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (pa.ArrowException, ValueError, OSError) as error:
        raise InputError(f"{path}: not a whole Parquet file ({' '.join(str(error).split())})") from error
    if not whole:
        raise InputError(f"{path}: its content is not what was written (sha256 differs)")
    table = table.replace_schema_metadata(None)
    if schema is not None and table.schema != schema:
        raise InputError(f"{path}: not a table with columns {schema.names}")
    return table


def _digest(table: pa.Table) -> str:
    """Hash of names, types and values; `repr` tells every float from every other."""
    fields = [(field.name, str(field.type)) for field in table.schema]
    return sha256(repr((fields, table.to_pydict())).encode()).hexdigest()
