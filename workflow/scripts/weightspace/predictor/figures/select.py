"""Selections of predictors and their controls for figures: values, intervals, what stands for the same originals."""

import re
from os.path import commonprefix
from typing import NamedTuple

import numpy as np
import pandas as pd

from weightspace.errors import InputError
from weightspace.report.intervals import Interval, describe_n, mean_interval, ratio_interval
from weightspace.report.names import cell_label

KINDS = {  # of controls, as a reader sees them; their cells are named <predictor>_<kind>[_<number>]
    "noise": "original + noise",
    "truncated": "original, truncated",
    "shrunk": "original, shrunk",
    "low_pass": "original, low-pass",
    "averaged": "last epochs averaged",
    "quantized": "original, quantized",
    "pruned": "original, pruned",
    "low_rank": "original, low rank",
    "small": "small network, distilled",
}
UNITS = {"quantized": "{} bit", "pruned": "{} %", "low_rank": "{} %"}  # of the number that ends a control's name
CONTROL = re.compile(rf"(?P<predictor>.+)_(?P<kind>{'|'.join(KINDS)})(?:_(?P<number>\w+))?")
SAME = 5e-4  # accuracies of one network on two devices differ by less


class Entry(NamedTuple):
    """A predictor or a control of one, as a point of a figure."""

    cell: str
    predictor: str  # the cell itself, or the one that it is a control of
    kind: str  # of KINDS, or "predicted"
    number: str  # of bits, percent or anything that the name ends with; may be empty


class Group(NamedTuple):
    """Predictors and controls that stand for the same originals."""

    label: str
    entries: list[Entry]


def entry_of(stage: str, cell: str) -> Entry:
    """What a cell's name says; raises InputError for a control whose name does not say its kind."""
    if stage == "predictor":
        return Entry(cell, cell, "predicted", "")
    if (found := CONTROL.fullmatch(cell)) is None:
        raise InputError(f"control {cell} must be named <predictor>_<kind> or <predictor>_<kind>_<number>")
    return Entry(cell, found["predictor"], found["kind"], found["number"] or "")


def entries_with(metrics: pd.DataFrame, *names: str) -> list[Entry]:
    """Predictors, then controls, that have all these metrics, in order of first appearance."""
    entries = []
    for stage in ("predictor", "predictor_control"):
        rows = metrics[(metrics["stage"] == stage) & (metrics["split"] == "test")]
        measured = rows.groupby("cell", sort=False)["metric"].agg(set)
        entries += [entry_of(stage, cell) for cell, found in measured.items() if found.issuperset(names)]
    return entries


def groups_with(metrics: pd.DataFrame, names: tuple[str, ...], kinds: tuple[str, ...]) -> list[Group]:
    """Predictors and controls of these kinds that have all these metrics, by originals."""
    return grouped_by_originals(metrics, [entry for entry in entries_with(metrics, *names) if entry.kind in kinds])


def grouped_by_originals(metrics: pd.DataFrame, entries: list[Entry]) -> list[Group]:
    """Entries of the same originals together: predictors whose originals measure alike one by one, controls with theirs."""
    groups: list[tuple[np.ndarray, list[Entry]]] = []
    for entry in entries:
        key = _originals_of(metrics, entry)
        own = [group for _, group in groups if entry.predictor in _predictors(group)]
        alike = [group for other, group in groups if key.shape == other.shape and np.allclose(key, other, rtol=0, atol=SAME)]
        if own or alike:
            (own or alike)[0].append(entry)
        else:
            groups.append((key, [entry]))
    return [Group(shared_label(_predictors(group)), group) for _, group in groups]


def shared_label(cells: list[str]) -> str:
    """The words that all these names begin with; where there are none, the first name and how many others."""
    others = "" if (shared := _shared_words(cells)) else f" and {len(cells) - 1} more"
    return cell_label("_".join(shared or [cells[0]])) + others


def short_labels(group: Group) -> dict[str, str]:
    """Predictors of a group by what tells them apart: the words after those that all of them begin with."""
    cells = _predictors(group.entries)
    shared = len(_shared_words(cells))
    return {cell: cell_label("_".join(cell.split("_")[shared:])) or "plain" for cell in cells} if len(cells) > 1 else {}


def point_label(entry: Entry, short: dict[str, str]) -> str:
    """What is written at a point: a control's number, or the predictor that was predicted with."""
    if entry.kind in UNITS:
        return UNITS[entry.kind].format(entry.number) if entry.number else ""
    return short.get(entry.predictor, "") if entry.kind == "predicted" else ""


def has_metric(metrics: pd.DataFrame, entry: Entry, metric: str) -> bool:
    """Whether a cell has values of `metric`."""
    return not _rows_of(metrics, entry, metric).empty


def values_of(metrics: pd.DataFrame, entry: Entry, metric: str) -> np.ndarray:
    """Values [seed, original] of a cell; raises InputError where one is missing."""
    rows = _rows_of(metrics, entry, metric)
    matrix = rows.pivot(index="seed", columns="subject", values="value")
    if rows.empty or matrix.size != len(rows):
        raise InputError(f"cell {entry.cell}: not every seed has {metric} of the same originals")
    return matrix[sorted(matrix.columns, key=int)].to_numpy()


def interval_of(metrics: pd.DataFrame, entry: Entry, metric: str, lowest: float, highest: float) -> Interval:
    """Mean of a metric over originals and seeds, its interval within the values that the metric can have."""
    return clipped(mean_interval(values_of(metrics, entry, metric)), lowest, highest)


def ratio_of(metrics: pd.DataFrame, entry: Entry, metric: str, over: str) -> Interval:
    """Mean of `metric` over mean of `over`, originals and seeds resampled together; both are not negative."""
    return clipped(ratio_interval(values_of(metrics, entry, metric), values_of(metrics, entry, over)), 0.0, np.inf)


def gain_of(metrics: pd.DataFrame, entry: Entry, suffix: str = "") -> Interval:
    """Test accuracy minus that of the own original, paired for each original and seed."""
    return interval_of(metrics, entry, f"accuracy_gain{suffix}", -1.0, 1.0)


def clipped(interval: Interval, lowest: float, highest: float) -> Interval:
    """An interval that ends where values end."""
    low, high = np.clip(interval[1:3], lowest, highest)
    return interval._replace(low=float(low), high=float(high))


def describe_entries(metrics: pd.DataFrame, entries: list[Entry], metric: str) -> str:
    """Originals and seeds behind points, such as "5 originals × 3 and 1 seeds"."""
    return describe_n(*(values_of(metrics, entry, metric) for entry in entries), noun="original")


def describe_group(metrics: pd.DataFrame, group: Group, metric: str) -> str:
    """Originals and seeds of a group's predictors, and of its controls where those differ."""
    kinds = [[entry for entry in group.entries if (entry.kind == "predicted") == own] for own in (True, False)]
    own, others = (describe_entries(metrics, entries, metric) if entries else "" for entries in kinds)
    return f"{own}, controls {others.partition(' × ')[2]}" if own and others and own != others else own or others


def _originals_of(metrics: pd.DataFrame, entry: Entry) -> np.ndarray:
    """What tells one set of originals from another: their accuracies and bytes, as far as the cell has them."""
    names = [name for name in ("accuracy_original", "bytes_original") if has_metric(metrics, entry, name)]
    return np.stack([values_of(metrics, entry, name)[0] for name in names])


def _rows_of(metrics: pd.DataFrame, entry: Entry, metric: str) -> pd.DataFrame:
    stage = "predictor" if entry.kind == "predicted" else "predictor_control"
    named = (metrics["metric"] == metric) & (metrics["cell"] == entry.cell)
    return metrics[named & (metrics["stage"] == stage) & (metrics["split"] == "test")]


def _predictors(entries: list[Entry]) -> list[str]:
    return list(dict.fromkeys(entry.predictor for entry in entries))


def _shared_words(cells: list[str]) -> list[str]:
    return commonprefix([cell.split("_") for cell in cells])
