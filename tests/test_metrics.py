"""The one row shape: what does not fit it is refused, what is damaged is named."""

import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import weightspace.metrics
from weightspace.autoencoder.losses import Losses
from weightspace.autoencoder.probe import TARGETS
from weightspace.errors import InputError
from weightspace.metrics import (
    METRICS,
    SCHEMA,
    Source,
    counts_successes,
    metric_named,
    ratio_named,
    read_metrics,
    write_metrics,
    write_table,
)
from weightspace.zoo import MEASURES

SOURCE = Source("digits", "autoencoder", "plain", 3)
ROWS = [SOURCE.row("agreement_own", n / 7, split="val", subject=n) for n in range(5)]
UNKNOWN = ["agreement_", "test_accuracy_", "xtest_accuracy", "accuracy_original_mixed", "loss_total_step_", "probe_r2_", ""]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.parquet"


# round trip


def test_rows_come_back(path):
    write_metrics(path, ROWS)
    table = read_metrics(path)
    assert table.schema == SCHEMA
    assert table.to_pylist() == ROWS


def test_a_row_says_who_measured_what_of_whom():
    assert SOURCE.row("weights_l2", 1.0) == SOURCE._asdict() | {
        "split": "test", "subject": "", "metric": "weights_l2", "value": 1.0
    }  # fmt: skip


def test_not_finite_values_are_rows_like_others(path):
    write_metrics(path, [SOURCE.row("weights_l2", float(value)) for value in ("nan", "inf", "-inf")])
    assert [str(value) for value in read_metrics(path)["value"].to_pylist()] == ["nan", "inf", "-inf"]


def test_no_rows_are_a_table(path):
    write_metrics(path, [])
    assert len(read_metrics(path)) == 0


# names


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_name_that_is_not_in_the_table_is_refused(path, name):
    with pytest.raises(InputError, match=re.escape(repr(name))):
        metric_named(name)
    with pytest.raises(InputError, match=re.escape(repr(name))):
        write_metrics(path, [SOURCE.row(name, 0.0)])


@pytest.mark.parametrize(
    "name",
    [
        *(f"{measure}_epoch_{epoch}" for measure in (*MEASURES, "generalization_gap") for epoch in (0, 50)
          if measure not in ("train_loss", "val_loss")),
        *(f"loss_{part}_step_{step}" for part in (*Losses._fields, "total") for step in (1, 1000)),
        *(f"probe_{kind}_{target}_{features}" for target in TARGETS for kind in ("r2", "error")
          for features in ("embedding", "random_encoder", "weight_statistics")),
        *(f"probe_deviation_{target}" for target in TARGETS),
    ],
)  # fmt: skip
def test_a_name_that_a_stage_makes_belongs_to_exactly_one_entry(name):
    assert [metric for metric in METRICS if re.fullmatch(metric.pattern, name)] == [metric_named(name)]


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("weights_r2", ("weights_squared_error", "weights_deviation")),
        ("weights_r2_within_init", ("weights_squared_error", "weights_deviation_within_init")),
        ("probe_r2_epoch_embedding", ("probe_error_epoch_embedding", "probe_deviation_epoch")),
        ("probe_r2_test_accuracy_random_encoder", ("probe_error_test_accuracy_random_encoder", "probe_deviation_test_accuracy")),
    ],
)
def test_a_derived_metric_is_the_ratio_of_two_that_are_measured_and_never_a_row(path, name, parts):
    assert ratio_named(name)[1:] == (*parts, True)
    assert all(metric_named(part) and ratio_named(part) is None for part in parts)
    with pytest.raises(InputError, match=f"{name} is derived"):
        write_metrics(path, [SOURCE.row(name, 0.5)])


def test_every_derived_metric_and_every_share_of_successes_has_an_entry():
    shares = ("solved", "reached", "size_right", "activation_right", "from_students", "coverage_1e-3", "retrieval_outputs_mixed")
    assert all(counts_successes(name) and metric_named(name) for name in shares)
    assert not any(map(counts_successes, ("retrieval_chance", "accuracy_original", "weights_r2", "overhead")))


def test_each_metric_says_its_unit_its_meaning_and_which_way_is_better():
    assert {metric.better for metric in METRICS} <= {"higher", "lower", "neither"}
    assert all(metric.unit and metric.meaning for metric in METRICS)


# refusals


WRONG_ROWS = {
    "a column too many": ROWS[0] | {"epoch": 3},
    "a column too few": {key: value for key, value in ROWS[0].items() if key != "seed"},
    "a misspelt column": {("sed" if key == "seed" else key): value for key, value in ROWS[0].items()},
}


@pytest.mark.parametrize("row", WRONG_ROWS.values(), ids=WRONG_ROWS)
def test_a_row_of_another_shape_is_refused_and_nothing_written(path, row):
    with pytest.raises(InputError, match=re.escape(str(path))):
        write_metrics(path, [*ROWS, row])
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
    with pytest.raises(InputError, match=re.escape(f"{path}: not a metrics table")):
        read_metrics(path)


# faults


def test_a_file_cut_anywhere_is_named(path):
    write_metrics(path, ROWS)
    content = path.read_bytes()
    for length in range(0, len(content), 41):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match="^" + re.escape(f"{path}: ")):
            read_metrics(path)


@pytest.mark.parametrize("bit", [3, 7])
def test_one_flipped_bit_is_named_or_changes_nothing(path, bit):
    write_metrics(path, ROWS)
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

    write_metrics(path, ROWS)
    monkeypatch.setattr(weightspace.metrics, "pq", type("Parquet", (), {"write_table": staticmethod(write_half)}))
    with pytest.raises(OSError, match="no space"):
        write_metrics(path, ROWS[:1])
    assert pq.read_table(path).to_pylist() == ROWS
