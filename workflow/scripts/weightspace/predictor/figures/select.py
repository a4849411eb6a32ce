"""Selections of predictors and their controls for figures: what stands for the same originals, gains, labels."""

from os.path import commonprefix
from typing import NamedTuple

import numpy as np
import pandas as pd

from weightspace.report.intervals import Interval, describe_n, describe_seeds
from weightspace.report.select import about, cells_with, interval_of, label_of, value_matrix

KINDS = {  # of controls, as a reader sees them
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


class Entry(NamedTuple):
    """A predictor or a control of one, as a point of a figure."""

    cell: str
    predictor: str  # the cell itself, or the one that it is a control of
    kind: str  # of KINDS, or "predicted"
    number: str  # bits, or percent kept; may be empty


class Group(NamedTuple):
    """Predictors and controls that stand for the same originals."""

    label: str
    entries: list[Entry]


def entry_of(rows: pd.DataFrame, cell: str) -> Entry:
    """What a cell of the stages predictor and predictor_control is."""
    if about(rows, cell, "stage") == "predictor":
        return Entry(cell, cell, "predicted", "")
    bits, share = (about(rows, cell, name) if name in rows else np.nan for name in ("bits", "kept_share"))
    number = f"{bits:g} bit" if bits == bits else f"{100 * share:g} %" if share == share else ""
    return Entry(cell, about(rows, cell, "of"), about(rows, cell, "kind"), number)


def entries_with(rows: pd.DataFrame, *metrics: str) -> list[Entry]:
    """Predictors, then controls, that have all these metrics, in order of first appearance."""
    return [entry_of(rows, cell) for stage in ("predictor", "predictor_control") for cell in cells_with(rows, stage, *metrics)]


def groups_with(rows: pd.DataFrame, metrics: tuple[str, ...], kinds: tuple[str, ...]) -> list[Group]:
    """Predictors and controls of these kinds that have all these metrics, by originals."""
    return grouped_by_originals(rows, [entry for entry in entries_with(rows, *metrics) if entry.kind in kinds])


def grouped_by_originals(rows: pd.DataFrame, entries: list[Entry]) -> list[Group]:
    """Entries of the same originals together."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(about(rows, entry.predictor, "of"), []).append(entry)
    return [Group(shared_label(labels_of(rows, group)), group) for group in groups.values()]


def labels_of(rows: pd.DataFrame, entries: list[Entry]) -> list[str]:
    """Labels of the predictors that entries are or stand against, each once."""
    return [label_of(rows, cell) for cell in dict.fromkeys(entry.predictor for entry in entries)]


def shared_label(labels: list[str]) -> str:
    """The words that all these labels begin with; where there are none, the first label and how many others."""
    others = "" if (shared := _shared_words(labels)) else f" and {len(labels) - 1} more"
    return " ".join(shared or [labels[0]]) + others


def short_labels(rows: pd.DataFrame, group: Group) -> dict[str, str]:
    """Predictors of a group by what tells them apart: the words after those that all their labels begin with."""
    labels = dict(zip(dict.fromkeys(entry.predictor for entry in group.entries), labels_of(rows, group.entries), strict=True))
    shared = len(_shared_words(list(labels.values())))
    return {cell: " ".join(label.split()[shared:]) or "plain" for cell, label in labels.items()} if len(labels) > 1 else {}


def point_label(entry: Entry, short: dict[str, str]) -> str:
    """What is written at a point: a control's number, or the predictor that was predicted with."""
    return short.get(entry.predictor, "") if entry.kind == "predicted" else entry.number


def gain_of(rows: pd.DataFrame, entry: Entry, suffix: str = "", at: int | None = None) -> Interval:
    """Test accuracy minus that of the own original, paired for each original and seed."""
    return interval_of(rows, entry.cell, f"accuracy_gain{suffix}", at)


def describe_entry(rows: pd.DataFrame, entry: Entry, metric: str, at: int | None = None) -> str:
    """Originals and seeds behind a point, such as "5 originals × 3 seeds"."""
    return describe_n(value_matrix(rows, entry.cell, metric, at).to_numpy(), noun="original")


def describe_group(rows: pd.DataFrame, group: Group, metric: str) -> str:
    """Originals and seeds of a group's predictors, and of its controls where those differ."""
    kinds = [[entry for entry in group.entries if (entry.kind == "predicted") == own] for own in (True, False)]
    own, others = ([value_matrix(rows, entry.cell, metric).to_numpy() for entry in entries] for entries in kinds)
    told = describe_n(*(own or others), noun="original")
    if own and others and describe_seeds(*own) != describe_seeds(*others):
        return f"{told}, controls {describe_seeds(*others)}"
    return told


def _shared_words(labels: list[str]) -> list[str]:
    return commonprefix([label.split() for label in labels])
