"""Figure probes: what a linear probe reads from an autoencoder's codes, and from what needs none."""

from math import ceil
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from weightspace.autoencoder.probed import FEATURES, TARGETS
from weightspace.report.names import words
from weightspace.report.select import cells_of, describe, has_metric, interval_of, label_of
from weightspace.report.style import (
    INTERVALS_NOTE,
    LOOKS,
    MAX_COLUMNS,
    WIDTH_INCHES,
    add_note,
    draw_intervals,
    house_style,
    name_rows,
    nothing_to_draw,
)

TITLE = "What can a line read off a network?"
SCORES = {"r2": "R²", "tau": "Kendall's τ"}
NAMES = {"random_sequence": "untrained sequence", "pca_embedding": "PCA, as embedding", "pca_sequence": "PCA, as sequence"}
LOWEST = -0.3  # that is drawn; what is below is written
LINE_INCHES = 0.15
NOTE = (
    "Linear probes on test models, fitted on the training models; 0 is what predicting the mean gives, or no order. "
    "An R² of less than what is drawn is written at the edge. "
    "Embedding: the mean of a network's codes. Sequence: all of them. PCA: linear codes of as many numbers. "
    "Weight statistics have 14 numbers per layer."
)


class Line(NamedTuple):
    """One line of the figure: an autoencoder's name, or one of the features that its probes read."""

    cell: str
    features: str | None  # None: the name


def plot_probes(rows: pd.DataFrame) -> Figure:
    """R² and Kendall's tau of each property, one panel each, from each set of features of each autoencoder, one line each."""
    targets, lines = probe_targets(rows), lines_of(rows)
    if not targets:
        return nothing_to_draw("No probes: of no zoo all checkpoints have a property that differs between them.")
    columns = min(len(targets), MAX_COLUMNS)
    panels = ceil(len(targets) / columns)
    with house_style():
        figure = Figure(figsize=(WIDTH_INCHES, 0.3 + panels * (0.6 + LINE_INCHES * len(lines))), layout="constrained")
        grid = figure.subplots(panels, columns, sharey=True, squeeze=False)
        for axes, target in zip(grid.flat, targets, strict=False):
            _draw_target(axes, rows, lines, target)
            axes.set_title(words(target))
        for spare in grid.flat[len(targets) :]:
            spare.remove()
        for axes in grid[:, 0]:
            _name_lines(axes, rows, lines)
        handles = {label: handle for axes in figure.axes for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
        figure.legend(
            handles.values(), handles.keys(), loc="outside upper left", ncols=len(SCORES), title=TITLE, alignment="left"
        )
        add_note(figure, f"{INTERVALS_NOTE} {NOTE}")
    return figure


def probe_targets(rows: pd.DataFrame) -> list[str]:
    """Properties that any probe of the table predicts."""
    measured = set(rows["metric"])
    return [target for target in TARGETS if f"probe_deviation_{target}" in measured]


def lines_of(rows: pd.DataFrame) -> list[Line]:
    """The lines of the figure: each autoencoder, then what its probes read."""
    lines = []
    for cell in cells_of(rows, "autoencoder"):
        measured = set(rows.loc[rows["cell"] == cell, "metric"])
        read = [name for name in FEATURES if any(f"probe_error_{target}_{name}" in measured for target in TARGETS)]
        lines += [Line(cell, None), *(Line(cell, name) for name in read)]
    return lines


def _name_lines(axes: Axes, rows: pd.DataFrame, lines: list[Line]) -> None:
    """Features beside the axes; autoencoders over all panels of a row, where their lines hold nothing else."""
    name_rows(axes, [NAMES.get(line.features, words(line.features)) if line.features else "" for line in lines])
    for place, line in enumerate(lines):
        if line.features is None:
            name = f"{label_of(rows, line.cell)}  {describe(rows, line.cell, 'weights_l2')}"
            text = axes.text(0.02, place, name, transform=axes.get_yaxis_transform(), va="center", fontweight="bold")
            text.set_in_layout(False)  # nor does it make its panel wider
    axes.set_zorder(1)  # names lie over the panels beside it
    axes.patch.set_visible(False)


def _draw_target(axes: Axes, rows: pd.DataFrame, lines: list[Line], target: str) -> None:
    axes.axvline(0, color="#999999", linewidth=0.6)
    apart = 0.14 * any(rows["metric"].str.startswith(f"probe_tau_{target}_"))
    for score, look, offset in zip(SCORES, LOOKS, (-apart, apart), strict=False):
        found = [(n, line, f"probe_{score}_{target}_{line.features}") for n, line in enumerate(lines) if line.features]
        found = [(n, line.cell, metric) for n, line, metric in found if _measured(rows, line.cell, metric)]
        intervals = {n: interval_of(rows, cell, metric) for n, cell, metric in found}
        drawn = {n: interval for n, interval in intervals.items() if interval.mean >= LOWEST}
        if drawn:
            draw_intervals(
                axes, np.array([*drawn]) + offset, [*drawn.values()], look._replace(filled=score == "r2"), SCORES[score]
            )
        for n in intervals.keys() - drawn.keys():
            axes.text(LOWEST + 0.02, n + offset, f"◂ {intervals[n].mean:.1f}", fontsize=6, va="center", color=look.color)
    axes.set_xlim(LOWEST, 1.05)
    axes.tick_params(axis="y", length=0, labelsize=7)
    axes.grid(axis="y", visible=False)


def _measured(rows: pd.DataFrame, cell: str, metric: str) -> bool:
    return not metric.startswith("probe_tau_init") and has_metric(rows, cell, metric)
