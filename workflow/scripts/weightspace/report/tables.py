"""Selections from the metrics table: cells, matrices of values, their intervals.

Autoencoders and their baselines have the same metrics of reconstructions and are read alike; a baseline is computed, not trained:
it has one seed, which stands for no variation, and neither probes nor losses. Recoveries and their baselines are read like
autoencoders, with teachers in place of models; a name such as `synthetic_*` stands for all cells that it matches, their teachers
pooled.
"""

import re
from fnmatch import fnmatchcase
from math import inf
from typing import NamedTuple

import numpy as np
import pandas as pd

from weightspace.errors import InputError
from weightspace.metrics import counts_successes, ratio_named
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

RECOVERING = ("recovery", "recovery_baseline")  # stages whose subjects are teachers
STAGES = ("autoencoder", "baseline", *RECOVERING, "predictor", "predictor_control")

RANGES = {  # by a pattern of the metric's name; others are at least 0
    r"accuracy_gain.*": (-1.0, 1.0),
    r"(accuracy|agreement|retrieval|diversity_outputs|coverage)(_.*)?": (0.0, 1.0),
    r"solved|reached|size_right|activation_right": (0.0, 1.0),
    r".*_r2.*": (-inf, 1.0),
    r"overhead": (-1.0, inf),
    r"angle_.*": (0.0, 180.0),
    r"identifiability": (-inf, 0.0),
}

FEW_TEACHERS = 5  # below so many, whose errors may lie decades apart, there is no interval


class Varied(NamedTuple):
    """The least numbers of models, or teachers, and of seeds whose interval can decide a claim."""

    models: int
    seeds: int


ENOUGH = {  # by stage; what was computed and not trained hangs on no seed, or, as noise on thousands of weights, hardly on it
    "autoencoder": Varied(2, 2),
    "baseline": Varied(2, 1),
    "recovery": Varied(FEW_TEACHERS, 1),
    "recovery_baseline": Varied(FEW_TEACHERS, 1),
    "predictor": Varied(2, 2),
    "predictor_control": Varied(2, 1),
}


def cells_of(metrics: pd.DataFrame, stage: str) -> list[str]:
    """Cells of a stage in order of first appearance; raises InputError if there is none."""
    cells = list(metrics.loc[metrics["stage"] == stage, "cell"].unique())
    if not cells:
        raise InputError(f"the metrics table has no rows of the stage {stage}")
    return cells


def cells_named(metrics: pd.DataFrame, name: str) -> list[str]:
    """Cells that a name, or a pattern with asterisks, matches."""
    cells = metrics.loc[metrics["stage"].isin(STAGES), "cell"].unique()
    return [cell for cell in cells if fnmatchcase(cell, name)]


def reconstructing_cells(metrics: pd.DataFrame) -> list[str]:
    """Autoencoders, then their baselines if there are any; raises InputError if there is no autoencoder."""
    baselines = metrics.loc[metrics["stage"] == "baseline", "cell"].unique()
    return [*cells_of(metrics, "autoencoder"), *baselines]


def is_baseline(metrics: pd.DataFrame, cell: str) -> bool:
    """Whether a cell that reconstructs is a baseline."""
    return bool(((metrics["cell"] == cell) & (metrics["stage"] == "baseline")).any())


def is_reading(metrics: pd.DataFrame, cell: str, metric: str) -> bool:
    """Whether too little varies behind a cell's metric: fewer models, or teachers, or seeds than are ENOUGH.

    Recoveries are sampled by their teachers: of enough, one seed will do, but no number of seeds makes up for teachers.
    """
    seeds, models = sample_of(metrics, cell, metric).values.shape
    enough = ENOUGH[_rows_of(metrics, cells_named(metrics, cell), _stored(metric))["stage"].iloc[0]]
    return models < enough.models or seeds < enough.seeds


def has_metric(metrics: pd.DataFrame, cell: str, metric: str) -> bool:
    """Whether a cell has values of `metric`, or those that it is derived from, for its test models or teachers."""
    ratio = ratio_named(metric)
    return not any(_rows_of(metrics, [cell], name).empty for name in (ratio[1:3] if ratio else [metric]))


def value_matrix(metrics: pd.DataFrame, cell: str, metric: str) -> pd.DataFrame:
    """Values [seed, model] of a cell on its test models or teachers; raises InputError where one is missing.

    Of a pattern, the values of all cells that it matches.
    """
    if "*" in cell:
        return pooled_matrix(metrics, cells_named(metrics, cell) or [cell], metric)
    return _matrix(_rows_of(metrics, [cell], metric), [cell], metric)


def pooled_matrix(metrics: pd.DataFrame, cells: list[str], metric: str) -> pd.DataFrame:
    """Values [seed, model] of several cells side by side, models named `<cell>/<subject>`; all must have the same seeds."""
    rows = _rows_of(metrics, cells, metric)
    return _matrix(rows.assign(subject=rows["cell"] + "/" + rows["subject"]), cells, metric)


def sample_of(metrics: pd.DataFrame, cell: str, metric: str, models: list[str] | None = None) -> Sample:
    """A cell's metric on its test models, or on these; of a derived metric the two that it is the ratio of."""
    ratio = ratio_named(metric)
    names = ratio[1:3] if ratio else [metric]
    matrices = [value_matrix(metrics, cell, name) for name in names]
    parts = [(matrix[models] if models else matrix).to_numpy() for matrix in matrices]
    return Sample(*parts, one_minus=ratio is not None and ratio.one_minus)


def sample_interval(sample: Sample, metric: str) -> Interval:
    """What a metric's interval is made with; it ends where the metric's values end."""
    if sample.over is not None:
        interval = ratio_interval(*sample)
    else:
        interval = (share_interval if counts_successes(metric) else mean_interval)(sample.values)
    return _clip(interval, *value_range(metric))


def cell_interval(metrics: pd.DataFrame, cell: str, metric: str) -> Interval:
    """A cell's metric over its test models and seeds."""
    sample = sample_of(metrics, cell, metric)
    return sample_interval(sample, metric)._replace(n=_describe(metrics, {cell: sample.values}))


def ratio_of(metrics: pd.DataFrame, cell: str, metric: str, over: str) -> Interval:
    """Mean of `metric` over mean of `over`, both of one cell and not negative."""
    ours, theirs = (value_matrix(metrics, cell, name).to_numpy() for name in (metric, over))
    return _clip(ratio_interval(ours, theirs), 0.0, inf)


def value_range(metric: str) -> tuple[float, float]:
    """Lowest and highest value that a metric of a cell can have."""
    for pattern, values in RANGES.items():
        if re.fullmatch(pattern, metric):
            return values
    return 0.0, inf


def paired_interval(metrics: pd.DataFrame, plus: tuple[str, str], minus: tuple[str, str]) -> Interval:
    """Mean of one (cell, metric) minus mean of another, over the models in both; within a cell seeds are paired as well."""
    known = [value_matrix(metrics, cell, _stored(metric)).columns for cell, metric in (plus, minus)]
    models = [model for model in known[0] if model in known[1]]
    if not models:
        raise InputError(f"cells {plus[0]} and {minus[0]} have no test model in common")
    ours, theirs = sample_of(metrics, *plus, models), sample_of(metrics, *minus, models)
    n = _describe(metrics, {plus[0]: ours.values, minus[0]: theirs.values})
    if counts_successes(plus[1]) and counts_successes(minus[1]):
        return share_difference_interval(ours.values, theirs.values)._replace(n=n)
    return difference_interval(ours, theirs, same_seeds=plus[0] == minus[0])._replace(n=n)


def describe_cell(metrics: pd.DataFrame, cell: str) -> str:
    """Test models of a cell, and seeds of an autoencoder."""
    return _describe(metrics, {cell: value_matrix(metrics, cell, "accuracy_original").to_numpy()})


def num_not_finite(metrics: pd.DataFrame, cell: str, metric: str) -> int:
    """Values of a cell's metric, or errors of a derived one, that are not finite, over all its models and seeds."""
    values = value_matrix(metrics, cell, _stored(metric))
    return int((~(values.abs() < float("inf"))).to_numpy().sum())


def _stored(metric: str) -> str:
    """The metric itself, or the numerator of a derived one."""
    ratio = ratio_named(metric)
    return ratio.numerator if ratio else metric


def _rows_of(metrics: pd.DataFrame, cells: list[str], metric: str) -> pd.DataFrame:
    named = metrics[(metrics["metric"] == metric) & metrics["cell"].isin(cells)]
    rows = named[named["stage"].isin(STAGES) & (named["split"] == "test")]
    if rows["stage"].nunique() > 1:
        raise InputError(f"{', '.join(cells)}: cells of the stages {' and '.join(rows['stage'].unique())} have that name")
    return rows


def _matrix(rows: pd.DataFrame, cells: list[str], metric: str) -> pd.DataFrame:
    """Rows of `cells` as values [seed, subject]; raises InputError where one is missing."""
    if lacking := [cell for cell in cells if cell not in set(rows["cell"])]:
        raise InputError(f"cell {lacking[0]} has no metric {metric} of test models")
    matrix = rows.pivot(index="seed", columns="subject", values="value")
    if matrix.size != len(rows):
        raise InputError(f"cell {', '.join(cells)}: not every seed has {metric} of the same models")
    return matrix[sorted(matrix.columns, key=_natural)]


def _natural(subject: str) -> tuple[str, int]:
    """Sorts the subjects of a cell as numbers."""
    cell, _, index = subject.rpartition("/")
    return cell, int(index)


def _recovers(metrics: pd.DataFrame, cell: str) -> bool:
    """Whether a cell is a recovery or a baseline of one."""
    named = metrics["cell"].isin(cells_named(metrics, cell))
    return bool((named & metrics["stage"].isin(RECOVERING)).any())


def _describe(metrics: pd.DataFrame, matrices: dict[str, np.ndarray]) -> str:
    """Models or teachers, and seeds where a cell was trained, of matrices [seed, model] by cell."""
    trained = [values for cell, values in matrices.items() if not is_baseline(metrics, cell)]
    noun = "teacher" if all(_recovers(metrics, cell) for cell in matrices) else "model"
    return describe_n(*trained, noun=noun) if trained else describe_models(next(iter(matrices.values())).shape[1])


def _clip(interval: Interval, lowest: float, highest: float) -> Interval:
    low, high = np.clip(interval[1:3], lowest, highest)
    return interval._replace(low=float(low), high=float(high))
