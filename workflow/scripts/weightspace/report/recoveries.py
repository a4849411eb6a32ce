"""Selections of recoveries for figures: groups of cells, pooled shares, means of logarithms."""

import re
from typing import NamedTuple

import numpy as np
import pandas as pd

from weightspace.report.intervals import Interval, Sample, describe_n, mean_interval
from weightspace.report.names import cell_label
from weightspace.report.tables import FEW_TEACHERS, has_metric, pooled_matrix, sample_interval, value_matrix

BASELINES = ("single", "pruned", "distilled")  # kinds; their cells are named <recovery>_<kind>
MACHINE_EPSILON = 1e-16  # errors below it are rounding
SWEPT = re.compile(r"_rho\d+$")  # ends the name of a cell that may be pooled with others of its expansion factor


class Group(NamedTuple):
    """Recoveries that one line or panel is of."""

    label: str
    cells: list[str]


def recoveries_with(metrics: pd.DataFrame, metric: str) -> list[str]:
    """Recoveries that have a metric, in order of first appearance: of a black box not all can be measured."""
    rows = metrics[(metrics["stage"] == "recovery") & (metrics["metric"] == metric) & (metrics["split"] == "test")]
    return list(rows["cell"].unique())


def baselines_of(metrics: pd.DataFrame, cells: list[str], kind: str, metric: str) -> list[str]:
    """Baselines of one kind of these recoveries, those that were run and have the metric."""
    return [name for cell in cells if has_metric(metrics, name := f"{cell}_{kind}", metric)]


def factor_of(metrics: pd.DataFrame, cell: str) -> str:
    """Expansion factor of a recovery as it is written, or why there is none."""
    if not has_metric(metrics, cell, "expansion_factor"):
        return "unknown"
    factors = value_matrix(metrics, cell, "expansion_factor").round(2).to_numpy()
    return f"{factors.flat[0]:g}" if (factors == factors.flat[0]).all() else "searched"


def grouped_by_factor(metrics: pd.DataFrame, cells: list[str]) -> dict[str, list[str]]:
    """Cells by expansion factor and, so that values can be pooled, by seeds; numbers first, in rising order."""
    keys = [(factor_of(metrics, cell), tuple(_seeds(metrics, cell))) for cell in cells]
    groups: dict[tuple, list[str]] = {}
    for cell, key in sorted(zip(cells, keys, strict=True), key=lambda pair: (_rising(pair[1][0]), pair[1][1])):
        groups.setdefault(key, []).append(cell)
    factors = [factor for factor, _ in groups]
    names = [f"{factor}, seeds {list(seeds)}" if factors.count(factor) > 1 else factor for factor, seeds in groups]
    return dict(zip(names, groups.values(), strict=True))


def swept(cells: list[str]) -> list[str]:
    """Cells whose names say that they differ in problem and expansion factor alone."""
    return [cell for cell in cells if SWEPT.search(cell)]


def grouped(metrics: pd.DataFrame, cells: list[str], most: int) -> list[Group]:
    """Each cell alone if they are at most `most`, else those that are `swept` pooled by expansion factor."""
    pooled = swept(cells) if len(cells) > most else []
    groups = [Group(factor_label(factor), group) for factor, group in grouped_by_factor(metrics, pooled).items()]
    return groups + [Group(cell_label(cell), [cell]) for cell in cells if cell not in pooled]


def factor_label(factor: str) -> str:
    """Such as "ρ = 4"."""
    return f"ρ = {factor}" if factor[0].isdigit() else f"ρ {factor}"


def pooled_interval(metrics: pd.DataFrame, cells: list[str], metric: str) -> Interval:
    """Mean of a metric over the teachers and seeds of all cells."""
    return clipped_interval(pooled_matrix(metrics, cells, metric).to_numpy(), metric)


def clipped_interval(values: np.ndarray, metric: str) -> Interval:
    """Mean of values [seed, teacher] with the metric's interval."""
    return sample_interval(Sample(values), metric)._replace(n=describe_n(values, noun="teacher"))


def ratio_of(metrics: pd.DataFrame, cells: list[str], metric: str, over: str) -> np.ndarray:
    """One metric over another of the same teacher and seed, [seed, teacher]."""
    return (pooled_matrix(metrics, cells, metric) / pooled_matrix(metrics, cells, over)).to_numpy()


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


def describe_group(metrics: pd.DataFrame, group: Group, metric: str) -> str:
    """Teachers and seeds behind a line, and how many cells are pooled."""
    pooled = f"{len(group.cells)} cells, " if len(group.cells) > 1 else ""
    return pooled + describe_n(pooled_matrix(metrics, group.cells, metric).to_numpy(), noun="teacher")


def _seeds(metrics: pd.DataFrame, cell: str) -> list[int]:
    return sorted(metrics.loc[(metrics["cell"] == cell) & (metrics["stage"] == "recovery"), "seed"].unique().tolist())


def _rising(factor: str) -> tuple[bool, float, str]:
    """Order of expansion factors: numbers, then words."""
    return (False, float(factor), "") if factor[0].isdigit() else (True, 0.0, factor)
