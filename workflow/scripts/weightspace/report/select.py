"""Selections from a scenario's rows, as `weightspace.table.read` gives them: cells, matrices of values, their intervals.

Rows are of test models alone. `cells` is a cell's name, a pattern with asterisks, or a list of names: of several cells the models
are pooled. What a cell is, whom it stands against and how it is written stands in the columns kind, of, group and label.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

import numpy as np
import pandas as pd

from weightspace.errors import InputError
from weightspace.report.intervals import (
    Interval,
    Sample,
    describe_models,
    describe_n,
    difference_interval,
    mean_interval,
    ratio_interval,
    share_difference_interval,
    share_interval,
)
from weightspace.report.registry import metric_named
from weightspace.stages import STAGES
from weightspace.table import Metric

Cells = str | Sequence[str]


class Side(NamedTuple):
    """One side of a comparison."""

    cells: Cells
    metric: str
    at: int | None = None


def cells_of(rows: pd.DataFrame, *stages: str) -> list[str]:
    """Cells of stages in order of first appearance, stage by stage; raises InputError if there is none."""
    found = [cell for stage in stages for cell in rows.loc[rows["stage"] == stage, "cell"].unique()]
    if not found:
        raise InputError(f"the metrics table has no rows of the stage {' or '.join(stages)}")
    return found


def cells_named(rows: pd.DataFrame, name: str) -> list[str]:
    """Cells that a name, or a pattern with asterisks, matches, of the stages whose rows are of test models."""
    cells = rows.loc[(rows["split"] == "test") & (rows["stage"] != "zoo"), "cell"].unique()
    return [cell for cell in cells if fnmatchcase(cell, name)]


def cells_with(rows: pd.DataFrame, stage: str, *metrics: str) -> list[str]:
    """Cells of a stage that have all these metrics of test models, in order of first appearance."""
    own = rows[(rows["stage"] == stage) & (rows["split"] == "test")]
    measured = own.groupby("cell", sort=False)["metric"].agg(set)
    return [cell for cell, names in measured.items() if names.issuperset(metrics)]


def of_models(rows: pd.DataFrame, split: str) -> pd.DataFrame:
    """Rows of the models of another split, in the place of those of test models."""
    return rows[rows["split"] == split].assign(split="test")


def about(rows: pd.DataFrame, cell: str, column: str) -> object:
    """What the column of a cell's rows says: its stage, kind, of, group, label, or one of its numbers."""
    return rows.loc[rows["cell"] == cell, column].iloc[0]


def label_of(rows: pd.DataFrame, cell: str) -> str:
    """How a cell is written."""
    return about(rows, cell, "label")


def belonging(rows: pd.DataFrame, cells: Sequence[str], stage: str, kind: str) -> list[str]:
    """Cells of a stage and kind that stand against one of `cells`, such as the baselines of recoveries, in their order."""
    own = rows[(rows["stage"] == stage) & (rows["kind"] == kind)].drop_duplicates("cell")
    return [name for cell in cells for name in own.loc[own["of"] == cell, "cell"]]


def has_metric(rows: pd.DataFrame, cells: Cells, metric: str, at: int | None = None) -> bool:
    """Whether there are values of a metric, or those that it is derived from."""
    names = _names(rows, cells)
    return not any(_rows_of(rows, names, part, at).empty for part in _parts(metric))


def value_matrix(rows: pd.DataFrame, cells: Cells, metric: str, at: int | None = None) -> pd.DataFrame:
    """Values [seed, model]; of several cells side by side, models named `<cell>/<subject>`, all of the same seeds.

    Raises InputError where a value is missing.
    """
    names = _names(rows, cells)
    found = _rows_of(rows, names, metric, at)
    if lacking := [name for name in names if name not in set(found["cell"])]:
        raise InputError(f"cell {lacking[0]} has no metric {metric} of test models")
    if len(names) > 1:
        found = found.assign(subject=found["cell"] + "/" + found["subject"])
    matrix = found.pivot(index="seed", columns="subject", values="value")
    if matrix.size != len(found):
        raise InputError(f"cell {', '.join(names)}: not every seed has {metric} of the same models")
    return matrix[sorted(matrix.columns, key=_natural)]


def sample_of(
    rows: pd.DataFrame, cells: Cells, metric: str, at: int | None = None, models: Sequence[str] | None = None
) -> Sample:
    """A metric on the test models, or on these of them; of a derived metric the two that it is the ratio of."""
    matrices = [value_matrix(rows, cells, part, at) for part in _parts(metric)]
    parts = [(matrix[list(models)] if models is not None else matrix).to_numpy() for matrix in matrices]
    return Sample(*parts, one_minus=len(parts) == 2)


def interval_of(rows: pd.DataFrame, cells: Cells, metric: str, at: int | None = None) -> Interval:
    """A metric over test models and seeds with its 95 % interval, which ends where the metric's values end."""
    sample = sample_of(rows, cells, metric, at)
    return sample_interval(sample, metric_named(metric))._replace(n=_described(sample.values, _stage_of(rows, cells)))


def sample_interval(sample: Sample, metric: Metric) -> Interval:
    """The interval that a metric's values ask for."""
    if sample.over is not None:
        interval = ratio_interval(*sample)
    else:
        interval = (share_interval if metric.successes else mean_interval)(sample.values)
    return clipped(interval, *metric.range)


def ratio_of(rows: pd.DataFrame, cells: Cells, metric: str, over: str, at: int | None = None) -> Interval:
    """Mean of `metric` over mean of `over` (where `at` is empty), both of the same cells and not negative."""
    ours, theirs = value_matrix(rows, cells, metric, at).to_numpy(), value_matrix(rows, cells, over).to_numpy()
    return clipped(ratio_interval(ours, theirs), 0.0, np.inf)._replace(n=_described(ours, _stage_of(rows, cells)))


def paired_interval(rows: pd.DataFrame, plus: Side, minus: Side, same_seeds: bool = False) -> Interval:
    """One side minus the other, over the models that both have; within a cell, or with `same_seeds`, seeds are paired as well."""
    samples = paired_samples(rows, plus, minus)
    both = [metric_named(side.metric).successes for side in (plus, minus)]
    if all(both):
        interval = share_difference_interval(*(sample.values for sample in samples))
    else:
        interval = difference_interval(*samples, same_seeds=same_seeds or plus.cells == minus.cells)
    stages = [STAGES[_stage_of(rows, side.cells)] for side in (plus, minus)]
    trained = [sample.values for sample, stage in zip(samples, stages, strict=True) if stage.trained]
    if not trained:
        return interval._replace(n=describe_models(samples[0].values.shape[1], stages[0].noun))
    return interval._replace(n=describe_n(*trained, noun=stages[0].noun))


def paired_samples(rows: pd.DataFrame, plus: Side, minus: Side) -> list[Sample]:
    """Both sides of a comparison on the models that both have; raises InputError if there are none."""
    ours, theirs = (value_matrix(rows, side.cells, _parts(side.metric)[0], side.at).columns for side in (plus, minus))
    models = [model for model in ours if model in theirs]
    if not models:
        raise InputError(f"cells {plus.cells} and {minus.cells} have no test model in common")
    return [sample_of(rows, *side, models) for side in (plus, minus)]


def is_reading(rows: pd.DataFrame, cells: Cells, metric: str, at: int | None = None) -> bool:
    """Whether too little varies behind a metric: fewer models, teachers or seeds than the stage needs to decide a claim."""
    seeds, models = sample_of(rows, cells, metric, at).values.shape
    stage = STAGES[_stage_of(rows, cells)]
    return models < stage.least_models or seeds < stage.least_seeds


def describe(rows: pd.DataFrame, cells: Cells, metric: str, at: int | None = None) -> str:
    """Models, teachers or originals behind a metric, and seeds where a cell was trained: `60 models × 3 seeds`."""
    return _described(sample_of(rows, cells, metric, at).values, _stage_of(rows, cells))


def num_not_finite(rows: pd.DataFrame, cell: str, metric: str) -> int:
    """Values of a cell's metric that are not finite, over all its models and seeds."""
    return int((~np.isfinite(value_matrix(rows, cell, metric).to_numpy())).sum())


def clipped(interval: Interval, lowest: float, highest: float) -> Interval:
    """An interval that ends where values end."""
    low, high = np.clip(interval[1:3], lowest, highest)
    return interval._replace(low=float(low), high=float(high))


def choose(rows: pd.DataFrame, cells: Sequence[str] | None) -> pd.DataFrame:
    """Rows of these cells, in this order, each followed by what stands against it; all rows where `cells` is None."""
    if cells is None:
        return rows
    own = {cell: place for place, cell in enumerate(cells)}
    place = rows["cell"].map(own).fillna(rows["of"].where(rows["stage"].map(lambda stage: STAGES[stage].against)).map(own))
    kept = rows.assign(place=place)[place.notna()]
    return kept.sort_values("place", kind="stable").drop(columns="place")


def _names(rows: pd.DataFrame, cells: Cells) -> list[str]:
    if isinstance(cells, str):
        return cells_named(rows, cells) or [cells] if "*" in cells else [cells]
    return list(cells)


def _parts(metric: str) -> tuple[str, ...]:
    """The measured metrics that a metric is made of."""
    return metric_named(metric).ratio or (metric,)


def _described(values: np.ndarray, stage: str) -> str:
    about_stage = STAGES[stage]
    return (
        describe_n(values, noun=about_stage.noun) if about_stage.trained else describe_models(values.shape[1], about_stage.noun)
    )


def _stage_of(rows: pd.DataFrame, cells: Cells) -> str:
    own = rows["cell"].isin(_names(rows, cells)) & (rows["split"] == "test") & (rows["stage"] != "zoo")
    return rows.loc[own, "stage"].iloc[0]


def _rows_of(rows: pd.DataFrame, names: Sequence[str], metric: str, at: int | None) -> pd.DataFrame:
    found = rows[rows["metric"] == metric]
    found = found[found["cell"].isin(names) & (found["split"] == "test") & (found["stage"] != "zoo")]
    found = found[found["at"].isna() if at is None else found["at"] == at]
    if found["stage"].nunique() > 1:
        raise InputError(f"{', '.join(names)}: cells of the stages {' and '.join(found['stage'].unique())} have that name")
    return found


def _natural(subject: str) -> tuple[str, int]:
    """Sorts the subjects of a cell as numbers."""
    cell, _, index = subject.rpartition("/")
    return cell, int(index)
