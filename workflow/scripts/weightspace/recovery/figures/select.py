"""Selections of recoveries for figures: groups of cells, what stands against them, means of logarithms."""

from typing import NamedTuple, get_args

import numpy as np
import pandas as pd

from weightspace.recovery.settings import BaselineKind
from weightspace.report.intervals import Interval, Sample, describe_n, mean_interval
from weightspace.report.registry import metrics_of
from weightspace.report.select import about, belonging, cells_with, has_metric, label_of, sample_interval, value_matrix
from weightspace.stages import STAGES

BASELINES = get_args(BaselineKind)
MACHINE_EPSILON = 1e-16  # errors below it are rounding
FEW_TEACHERS = STAGES["recovery"].least_models  # below so many, whose errors may lie decades apart, there is no interval


class Group(NamedTuple):
    """Recoveries that one line or panel is of."""

    label: str
    cells: list[str]


def recoveries_with(rows: pd.DataFrame, metric: str) -> list[str]:
    """Recoveries that have a metric, in order of first appearance: of a black box not all can be measured."""
    return cells_with(rows, "recovery", metric)


def baselines_of(rows: pd.DataFrame, cells: list[str], kind: str, metric: str) -> list[str]:
    """Baselines of one kind of these recoveries, those that were run and have the metric."""
    return [name for name in belonging(rows, cells, "recovery_baseline", kind) if has_metric(rows, name, metric)]


def factor_of(rows: pd.DataFrame, cell: str) -> str:
    """Expansion factor of a recovery as it is written, or why there is none."""
    if not has_metric(rows, cell, "expansion_factor"):
        return "unknown"
    factors = value_matrix(rows, cell, "expansion_factor").round(2).to_numpy()
    return f"{factors.flat[0]:g}" if (factors == factors.flat[0]).all() else "searched"


def grouped_by_factor(rows: pd.DataFrame, cells: list[str]) -> dict[str, list[str]]:
    """Cells by expansion factor and, so that values can be pooled, by seeds; numbers first, in rising order."""
    keys = [(factor_of(rows, cell), tuple(_seeds(rows, cell))) for cell in cells]
    groups: dict[tuple, list[str]] = {}
    for cell, key in sorted(zip(cells, keys, strict=True), key=lambda pair: (_rising(pair[1][0]), pair[1][1])):
        groups.setdefault(key, []).append(cell)
    factors = [factor for factor, _ in groups]
    names = [f"{factor}, seeds {list(seeds)}" if factors.count(factor) > 1 else factor for factor, seeds in groups]
    return dict(zip(names, groups.values(), strict=True))


def swept(rows: pd.DataFrame, cells: list[str]) -> list[str]:
    """Cells that share their group with another: a grid over problems and expansion factors, whose teachers may be pooled."""
    groups = [about(rows, cell, "group") for cell in cells]
    return [cell for cell, group in zip(cells, groups, strict=True) if groups.count(group) > 1 and isinstance(group, str)]


def grouped(rows: pd.DataFrame, cells: list[str], most: int) -> list[Group]:
    """Each cell alone if they are at most `most`, else those that are `swept` pooled by expansion factor."""
    pooled = swept(rows, cells) if len(cells) > most else []
    groups = [Group(factor_label(factor), group) for factor, group in grouped_by_factor(rows, pooled).items()]
    return groups + [Group(label_of(rows, cell), [cell]) for cell in cells if cell not in pooled]


def factor_label(factor: str) -> str:
    """Such as "ρ = 4"."""
    return f"ρ = {factor}" if factor[0].isdigit() else f"ρ {factor}"


def values_interval(values: np.ndarray, metric: str) -> Interval:
    """The interval of a metric's values [seed, teacher], of whichever teachers."""
    return sample_interval(Sample(values), metrics_of("recovery")[metric])._replace(n=describe_n(values, noun="teacher"))


def ratio_of(rows: pd.DataFrame, cells: list[str], metric: str, over: str) -> np.ndarray:
    """One metric over another of the same teacher and seed, [seed, teacher]."""
    return (value_matrix(rows, cells, metric) / value_matrix(rows, cells, over)).to_numpy()


def geometric_interval(values: np.ndarray) -> Interval:
    """Geometric mean of values [seed, teacher], its interval that of the mean logarithm; values end at machine epsilon.

    Of fewer than FEW_TEACHERS teachers, whose errors may lie ten decades apart, the range in place of an interval.
    """
    logs = np.log10(np.maximum(values, MACHINE_EPSILON))
    interval = mean_interval(logs)
    if values.shape[1] < FEW_TEACHERS:
        interval = interval._replace(low=float(logs.min()), high=float(logs.max()))
    mean, low, high = (float(10**value) for value in interval[:3])
    return Interval(mean, low, high, describe_n(values, noun="teacher"))


def describe_group(rows: pd.DataFrame, group: Group, metric: str) -> str:
    """Teachers and seeds behind a line, and how many cells are pooled."""
    pooled = f"{len(group.cells)} cells, " if len(group.cells) > 1 else ""
    return pooled + describe_n(value_matrix(rows, group.cells, metric).to_numpy(), noun="teacher")


def _seeds(rows: pd.DataFrame, cell: str) -> list[int]:
    return sorted(rows.loc[(rows["cell"] == cell) & (rows["stage"] == "recovery"), "seed"].unique().tolist())


def _rising(factor: str) -> tuple[bool, float, str]:
    """Order of expansion factors: numbers, then words."""
    return (False, float(factor), "") if factor[0].isdigit() else (True, 0.0, factor)
