"""Figure probes: what a linear probe reads from an embedding, and from the controls."""

import re

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from weightspace.errors import InputError
from weightspace.report.names import cell_label, losses_note, words
from weightspace.report.style import INTERVALS_NOTE, LOOKS, WIDTH_INCHES, add_note, draw_intervals, house_style, name_rows
from weightspace.report.tables import cell_interval, cells_of, describe_cell, has_metric

FEATURES = ("embedding", "random_encoder", "weight_statistics")
NAME = re.compile(rf"probe_error_([a-z_]+)_({'|'.join(FEATURES)})")
NOTE = (
    "R² on test models of a linear probe fitted on the training models; "
    "0 is what predicting the mean gives. "
    "Controls: the same encoder untrained, and plain statistics of the weights. "
    "Embeddings have few numbers, weight statistics 14 per layer."
)


def plot_probes(metrics: pd.DataFrame) -> Figure:
    """R² of each property from each set of features, one panel per property."""
    cells, targets = cells_of(metrics, "autoencoder"), probe_targets(metrics)
    with house_style():
        figure = Figure(figsize=(WIDTH_INCHES, 1.1 + 0.42 * len(cells)), layout="constrained")
        grid = figure.subplots(1, len(targets), sharey=True, squeeze=False)[0]
        for axes, target in zip(grid, targets, strict=True):
            _draw_target(axes, metrics, cells, target)
            axes.set(title=words(target), xlabel="R² on test models")
        name_rows(grid[0], [f"{cell_label(cell, 24)}\n{describe_cell(metrics, cell)}" for cell in cells])
        figure.legend(*grid[0].get_legend_handles_labels(), loc="outside upper left", ncols=len(FEATURES))
        add_note(figure, f"{INTERVALS_NOTE} {losses_note(cells)} {NOTE}")
    return figure


def probe_targets(metrics: pd.DataFrame) -> list[str]:
    """Properties that any probe of the table predicts, in order of first appearance; raises InputError if there is none."""
    matches = (NAME.fullmatch(name) for name in metrics["metric"].unique())
    targets = list(dict.fromkeys(match[1] for match in matches if match))
    if not targets:
        raise InputError("the metrics table has no probes")
    return targets


def _draw_target(axes: Axes, metrics: pd.DataFrame, cells: list[str], target: str) -> None:
    offsets = np.linspace(-0.22, 0.22, len(FEATURES))
    for look, offset, features in zip(LOOKS, offsets, FEATURES, strict=False):
        metric = f"probe_r2_{target}_{features}"
        rows = [row for row, cell in enumerate(cells) if has_metric(metrics, cell, metric)]
        if rows:
            intervals = [cell_interval(metrics, cells[row], metric) for row in rows]
            draw_intervals(axes, np.array(rows) + offset, intervals, look, words(features))
