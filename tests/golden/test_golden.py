"""The smoke run's numbers are those of the last commit that meant to change them.

Meant to hold on any x86 CPU with the pinned torch. Training amplifies rounding, but three epochs and sixty steps do so
little: with SSE kernels in place of AVX-512 ones (ATEN_CPU_CAPABILITY, ONEDNN_MAX_CPU_ISA, MKL_ENABLE_INSTRUCTIONS) no number
moved by more than 1e-5, and 70 % were equal to the last bit. So each continuous number must agree within 1e-3, a hundred
times that; another end of the learning rate's schedule moved them by up to 27 times 1e-3. Numbers that count answers can jump
where two logits are nearly equal: each of these may be off by 3 of a hundred images, and their mean over models by a tenth of
that; a retrieval, by one model of the seven; a probe, whose targets are such counts, by 0.3, and 0.03 on average.

When numbers are meant to change: raise the stage's number in weightspace/stages.py, run
`python tests/golden/test_golden.py`, which renews the golden file, and commit both together.
"""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pytest
from conftest import copy_sources
from weightspace.report.registry import metrics_of

GOLDEN = Path(__file__).with_name("smoke.parquet")
SIDES = {"left_only": "in the golden file", "right_only": "in this run"}
HOW_TO = """
Where these changes are meant: raise the stage's number in weightspace/stages.py, renew the golden file with
    python tests/golden/test_golden.py
and commit both together. Where they are not, a stage computes something else than it did."""


def tolerances(stage):
    """Of a stage's metrics, by name: of each number, and of the mean over models."""
    return {name: (metric.tolerance, metric.mean_tolerance) for name, metric in metrics_of(stage).items()}


def beyond(golden, found, keys, level):
    """Rows whose values differ by more than the tolerance, relative above 1, the worst first."""
    rows = golden.merge(found, on=keys, suffixes=("_golden", "_found"))
    known = {stage: tolerances(stage) for stage in rows["stage"].unique()}
    allowed = [known[stage][metric][level] for stage, metric in zip(rows["stage"], rows["metric"], strict=True)]
    scale = rows["value_golden"].abs().clip(lower=1).fillna(1)
    rows["times_allowed"] = (rows["value_found"] - rows["value_golden"]).abs() / (allowed * scale)
    one_is_nan = rows["value_found"].isna() != rows["value_golden"].isna()
    rows.loc[one_is_nan, "times_allowed"] = float("inf")
    return rows[rows["times_allowed"] > 1].sort_values("times_allowed", ascending=False)


def changes(golden, found):
    """What differs between two metrics tables, said in full; empty if nothing does."""
    keys = [name for name in golden.columns if name != "value"]
    sides = golden[keys].merge(found[keys], how="outer", indicator="where")
    unpaired = sides[sides["where"] != "both"].assign(where=lambda rows: rows["where"].map(SIDES))
    cell = [name for name in keys if name not in ("split", "subject")]
    means = [table.groupby(cell, as_index=False, dropna=False)["value"].mean() for table in (golden, found)]
    tables = {
        "rows without a partner": unpaired,
        "numbers that changed": beyond(golden, found, keys, level=0),
        "means over models that changed": beyond(*means, cell, level=1),
    }
    return "\n".join(f"{len(rows)} {what}:\n{rows.head(12).to_string()}" for what, rows in tables.items() if len(rows))


def test_the_smoke_run_has_the_golden_numbers(smoke):
    said = changes(pd.read_parquet(GOLDEN), pd.read_parquet(smoke.results / "metrics.parquet"))
    assert not said, f"{said}\n{HOW_TO}"


def row_of(table, metric):
    return table.index[table["metric"].str.startswith(metric)][0]


@pytest.mark.parametrize("metric", ["test_loss", "loss_total", "weights_l2", "diverged"])
def test_a_number_off_by_a_percent_is_a_change(metric):
    golden = pd.read_parquet(GOLDEN)
    found = golden.copy()
    found.loc[row_of(found, metric), "value"] += 0.01
    assert "1 numbers that changed" in changes(golden, found)


def test_a_row_too_many_and_a_row_too_few_are_changes():
    golden = pd.read_parquet(GOLDEN)
    assert "1 rows without a partner" in changes(golden, golden.iloc[1:])
    assert "1 rows without a partner" in changes(golden.iloc[1:], golden)


def test_one_image_answered_otherwise_is_no_change():
    golden = pd.read_parquet(GOLDEN)
    found = golden.copy()
    found.loc[row_of(found, "accuracy_reconstruction"), "value"] += 0.01
    assert changes(golden, found) == ""


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        project = copy_sources(Path(folder) / "smoke")
        project.snakemake("--cores", "2")
        GOLDEN.parent.mkdir(exist_ok=True)
        shutil.copyfile(project.results / "metrics.parquet", GOLDEN)
