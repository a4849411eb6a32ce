"""Kept references are what the code of today would write: their cells, columns, metrics and verdicts."""

import pandas as pd
import pytest
from conftest import ROOT
from weightspace.cells import cells_table
from weightspace.options import Options, read_scenario
from weightspace.report.claims import judge_claims, read_claims
from weightspace.report.registry import SIDE_TABLES, metrics_of, schema_of
from weightspace.table import SCHEMA, read, read_table

pytestmark = pytest.mark.slow

GOLDEN = ROOT / "tests" / "golden" / "smoke.parquet"
REFERENCES = sorted(path.name for path in ROOT.glob("results/reference/*") if path.is_dir())


def always_measured():
    """Metrics that every cell of a stage has in the smoke run, by stage, but for those that another stage has only sometimes."""
    rows = pd.read_parquet(GOLDEN)
    by_cell = rows.groupby(["stage", "cell"])["metric"].agg(set)
    stages = {stage: (set.intersection(*cells), set.union(*cells)) for stage, cells in by_cell.groupby("stage")}
    sometimes = set().union(*(found - always for always, found in stages.values()))
    return {stage: always - sometimes for stage, (always, _) in stages.items()}


@pytest.mark.parametrize("name", REFERENCES)
def test_a_kept_reference_has_the_cells_that_its_scenario_says(name):
    scenario = read_scenario([ROOT / "config" / "scenarios"], Options(scenario=name))
    kept = read_table(ROOT / "results" / "reference" / name / "cells.parquet").to_pandas()
    today = cells_table(sorted(scenario.cells(name), key=lambda row: (row["stage"], row["cell"]))).to_pandas()
    pd.testing.assert_frame_equal(kept, today)
    rows = read_table(ROOT / "results" / "reference" / name / "metrics.parquet", SCHEMA).to_pandas()
    measured = set(rows[["stage", "cell"]].itertuples(index=False, name=None))
    named = today[today["stage"] != "teacher"]  # teachers have no rows of their own
    assert measured == set(named[["stage", "cell"]].itertuples(index=False, name=None))


@pytest.mark.parametrize("name", REFERENCES)
def test_a_kept_reference_has_the_metrics_and_columns_of_today(name):
    folder = ROOT / "results" / "reference" / name
    rows = read(folder / "metrics.parquet")
    for (stage, cell), own in rows.groupby(["stage", "cell"]):
        found = set(own["metric"])
        assert found <= set(metrics_of(stage)), cell
        assert always_measured()[stage] <= found, cell
    for table in SIDE_TABLES:
        read_table(folder / f"{table}.parquet", schema_of(table))


@pytest.mark.parametrize("name", REFERENCES)
def test_claims_are_judged_on_a_kept_reference_as_they_were(name):
    folder = ROOT / "results" / "reference" / name
    judged = judge_claims(read(folder / "metrics.parquet"), read_claims(ROOT / "config" / "claims.yaml")).judged
    pd.testing.assert_frame_equal(read_table(folder / "claims.parquet").to_pandas(), judged.to_pandas(), rtol=1e-9)
