"""The one row shape: what does not fit it is refused, what is damaged is named."""

import re
from importlib import import_module

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import weightspace.table
from tables import joined, write_cells
from weightspace.autoencoder.metrics import METRICS
from weightspace.errors import InputError
from weightspace.report.registry import FIGURES, SIDE_TABLES, metric_named, metrics_of, schema_of
from weightspace.stages import STAGES
from weightspace.table import SCHEMA, Source, read, read_metrics, write_metrics, write_table

SOURCE = Source("digits", "autoencoder", "plain", 3)
ROWS = [SOURCE.row("agreement_own", n / 7, split="val", subject=n) for n in range(5)]
UNKNOWN = ["agreement_", "test_accuracy_", "xtest_accuracy", "accuracy_original_mixed", "loss_total_step_", "probe_r2_", ""]
DERIVED = [metric.name for metric in METRICS if metric.ratio]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.parquet"


# round trip


def test_rows_come_back(path):
    write_metrics(path, ROWS, METRICS)
    table = read_metrics(path)
    assert table.schema == SCHEMA
    assert table.to_pylist() == ROWS


def test_a_row_says_who_measured_what_of_whom():
    assert SOURCE.row("weights_l2", 1.0) == SOURCE._asdict() | {
        "split": "test", "subject": "", "metric": "weights_l2", "at": None, "value": 1.0
    }  # fmt: skip


def test_not_finite_values_are_rows_like_others(path):
    write_metrics(path, [SOURCE.row("weights_l2", float(value)) for value in ("nan", "inf", "-inf")], METRICS)
    assert [str(value) for value in read_metrics(path)["value"].to_pylist()] == ["nan", "inf", "-inf"]


def test_no_rows_are_a_table(path):
    write_metrics(path, [], METRICS)
    assert len(read_metrics(path)) == 0


# names


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_name_that_is_not_in_the_table_is_refused(path, name):
    with pytest.raises(InputError, match=re.escape(repr(name))):
        metric_named(name)
    with pytest.raises(InputError, match=re.escape(repr(name))):
        write_metrics(path, [SOURCE.row(name, 0.0)], METRICS)


@pytest.mark.parametrize("name", DERIVED)
def test_a_derived_metric_has_its_parts_and_is_never_a_row(path, name):
    assert all(part in metrics_of("autoencoder") for part in metric_named(name).ratio)
    with pytest.raises(InputError, match=re.escape(repr(name))):
        write_metrics(path, [SOURCE.row(name, 0.5)], METRICS)


@pytest.mark.parametrize("stage", STAGES)
def test_each_metric_of_a_stage_has_one_entry_that_says_what_it_is(stage):
    metrics = list(import_module(f"weightspace.{STAGES[stage].room}.metrics").METRICS)
    assert len({metric.name for metric in metrics}) == len(metrics)
    assert {metric.better for metric in metrics} <= {"higher", "lower", "neither"}
    assert all(metric.unit and metric.meaning and metric.range[0] < metric.range[1] for metric in metrics)


def test_each_figure_has_a_stage_a_table_and_a_function_that_are_there():
    for figure in FIGURES:
        module, _, function = figure.function.partition(":")
        assert callable(getattr(import_module(f"weightspace.{module}"), function))
        assert figure.stage in STAGES
        assert figure.table in ("metrics", *SIDE_TABLES)
    assert all(schema_of(table).names[:4] == ["scenario", "stage", "cell", "seed"] for table in SIDE_TABLES)


# joined with the cells


def test_a_table_is_read_with_what_its_cells_are(path):
    write_metrics(path, ROWS, METRICS)
    write_cells(path.with_name("cells.parquet"), joined(ROWS, {("autoencoder", "plain"): {"of": "zoo", "label": "Plain"}}))
    rows = read(path)
    assert rows[SCHEMA.names].equals(read_metrics(path).to_pandas())
    assert set(rows["label"]) == {"Plain"}
    assert set(rows["of"]) == {"zoo"}


def test_a_row_of_an_unknown_cell_is_named(path):
    write_metrics(path, ROWS, METRICS)
    write_cells(path.with_name("cells.parquet"), joined([row | {"cell": "other"} for row in ROWS]))
    with pytest.raises(InputError, match="cell 'plain' is not in cells.parquet"):
        read(path)


# refusals


WRONG_ROWS = {
    "a column too many": ROWS[0] | {"epoch": 3},
    "a column too few": {key: value for key, value in ROWS[0].items() if key != "seed"},
    "a misspelt column": {("sed" if key == "seed" else key): value for key, value in ROWS[0].items()},
}


@pytest.mark.parametrize("row", WRONG_ROWS.values(), ids=WRONG_ROWS)
def test_a_row_of_another_shape_is_refused_and_nothing_written(path, row):
    with pytest.raises(InputError, match=re.escape(str(path))):
        write_metrics(path, [*ROWS, row], METRICS)
    assert list(path.parent.iterdir()) == []


TABLE = pa.Table.from_pylist(ROWS, schema=SCHEMA)
WRONG_TABLES = {
    "a column too many": TABLE.append_column("epoch", pa.array([0] * len(ROWS))),
    "a column too few": TABLE.drop_columns(["seed"]),
    "columns in another order": TABLE.select(SCHEMA.names[::-1]),
    "a column of another type": TABLE.set_column(3, "seed", pa.array(["3"] * len(ROWS))),
}


@pytest.mark.parametrize("table", WRONG_TABLES.values(), ids=WRONG_TABLES)
def test_a_table_of_another_shape_is_named(path, table):
    write_table(path, table)
    with pytest.raises(InputError, match=re.escape(f"{path}: not a table with columns")):
        read_metrics(path)


# faults


def test_a_file_cut_anywhere_is_named(path):
    write_metrics(path, ROWS, METRICS)
    content = path.read_bytes()
    for length in range(0, len(content), 41):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match="^" + re.escape(f"{path}: ")):
            read_metrics(path)


@pytest.mark.slow
@pytest.mark.parametrize("bit", [3, 7])
def test_one_flipped_bit_is_named_or_changes_nothing(path, bit):
    write_metrics(path, ROWS, METRICS)
    content = path.read_bytes()
    told = []
    for place in range(0, len(content), 5):
        flipped = bytearray(content)
        flipped[place] ^= 1 << bit
        path.write_bytes(flipped)
        try:
            assert read_metrics(path).to_pylist() == ROWS
        except InputError as error:
            told.append(str(error))
    assert told
    assert all(text.startswith(f"{path}: ") for text in told)


def test_a_file_that_is_not_there_is_named(path):
    with pytest.raises(InputError, match=re.escape(f"{path}: no such file")):
        read_metrics(path)


def test_a_write_that_dies_leaves_the_old_table(path, monkeypatch):
    def write_half(_, partial, **__):
        partial.write_bytes(b"half")
        raise OSError("no space left on device")

    write_metrics(path, ROWS, METRICS)
    monkeypatch.setattr(weightspace.table, "pq", type("Parquet", (), {"write_table": staticmethod(write_half)}))
    with pytest.raises(OSError, match="no space"):
        write_metrics(path, ROWS[:1], METRICS)
    assert pq.read_table(path).to_pylist() == ROWS
