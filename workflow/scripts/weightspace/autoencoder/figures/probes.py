"""Figure probes: what a linear probe reads from an embedding, and from the controls."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from weightspace.autoencoder.metrics import FEATURES, TARGETS
from weightspace.report.names import words, wrapped
from weightspace.report.select import cells_of, describe, has_metric, interval_of, label_of
from weightspace.report.style import (
    INTERVALS_NOTE,
    LOOKS,
    WIDTH_INCHES,
    add_note,
    draw_intervals,
    house_style,
    name_rows,
    nothing_to_draw,
)

NOTE = (
    "R² on test models of a linear probe fitted on the training models; "
    "0 is what predicting the mean gives. "
    "Controls: the same encoder untrained, and plain statistics of the weights. "
    "Embeddings have few numbers, weight statistics 14 per layer."
)


def plot_probes(rows: pd.DataFrame) -> Figure:
    """R² of each property from each set of features, one panel per property."""
    cells, targets = cells_of(rows, "autoencoder"), probe_targets(rows)
    if not targets:
        return nothing_to_draw("No probes: of no zoo all checkpoints have a property that differs between them.")
    with house_style():
        figure = Figure(figsize=(WIDTH_INCHES, 1.1 + 0.42 * len(cells)), layout="constrained")
        grid = figure.subplots(1, len(targets), sharey=True, squeeze=False)[0]
        for axes, target in zip(grid, targets, strict=True):
            _draw_target(axes, rows, cells, target)
            axes.set(title=words(target), xlabel="R² on test models")
        names = [f"{wrapped(label_of(rows, cell), 24)}\n{describe(rows, cell, 'weights_l2')}" for cell in cells]
        name_rows(grid[0], names)
        figure.legend(*grid[0].get_legend_handles_labels(), loc="outside upper left", ncols=len(FEATURES))
        add_note(figure, f"{INTERVALS_NOTE} {NOTE}")
    return figure


def probe_targets(rows: pd.DataFrame) -> list[str]:
    """Properties that any probe of the table predicts."""
    measured = set(rows["metric"])
    return [target for target in TARGETS if f"probe_deviation_{target}" in measured]


def _draw_target(axes: Axes, rows: pd.DataFrame, cells: list[str], target: str) -> None:
    offsets = np.linspace(-0.22, 0.22, len(FEATURES))
    for look, offset, features in zip(LOOKS, offsets, FEATURES, strict=False):
        metric = f"probe_r2_{target}_{features}"
        places = [place for place, cell in enumerate(cells) if has_metric(rows, cell, metric)]
        if places:
            intervals = [interval_of(rows, cells[place], metric) for place in places]
            draw_intervals(axes, np.array(places) + offset, intervals, look, words(features))
