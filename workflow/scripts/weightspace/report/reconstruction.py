"""Figure reconstruction: what a network's accuracy is after encoding and decoding."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from weightspace.report.names import cell_label, losses_note, number, percent, percent_with_interval
from weightspace.report.style import LOOKS, add_note, house_style, percent_axis, small_multiples
from weightspace.report.tables import (
    cell_interval,
    describe_cell,
    has_metric,
    is_baseline,
    num_not_finite,
    reconstructing_cells,
    value_matrix,
)

NOTE = (
    "One point per test model and seed, one marker per seed; the line marks equal accuracy. Written: mean accuracy of originals "
    "→ of reconstructions with its 95 % bootstrap interval over models and seeds. Weights R²: against the mean of the training "
    "checkpoints; within init: against the mean of those of the same init, where a zoo shares inits. "
    "Baselines are computed, not trained: they have no seeds."
)


def plot_reconstruction(metrics: pd.DataFrame) -> Figure:
    """Accuracy of each original against its reconstruction's, one panel per autoencoder and per baseline."""
    cells = reconstructing_cells(metrics)
    with house_style():
        figure, grid = small_multiples(len(cells), 2.75)
        limits = _limits(metrics, cells)
        for axes, cell in zip(grid, cells, strict=True):
            _draw_cell(axes, metrics, cell)
            axes.plot(limits, limits, color="#555555", linewidth=0.8, zorder=1)
            axes.set(xlim=limits, ylim=limits, aspect="equal", xlabel="accuracy of the original (%)")
        grid[0].set_ylabel("accuracy of the reconstruction (%)")
        add_note(figure, f"{NOTE} {losses_note(cells)}")
    return figure


def _draw_cell(axes: Axes, metrics: pd.DataFrame, cell: str) -> None:
    original = value_matrix(metrics, cell, "accuracy_original")
    reconstruction = value_matrix(metrics, cell, "accuracy_reconstruction")
    for row, seed in enumerate(original.index):
        look = LOOKS[row % len(LOOKS)]
        points = original.loc[seed], reconstruction.loc[seed]
        axes.scatter(*points, s=9, marker=look.marker, color=look.color, alpha=0.55, linewidth=0)
    percent_axis(axes, "x")
    percent_axis(axes, "y")
    name = f"baseline: {cell_label(cell)}" if is_baseline(metrics, cell) else cell_label(cell, 32)
    axes.set_title(f"{name}\n{_summary(metrics, cell)}", fontsize=7, linespacing=1.35)


def _summary(metrics: pd.DataFrame, cell: str) -> str:
    original = cell_interval(metrics, cell, "accuracy_original")
    reconstruction = cell_interval(metrics, cell, "accuracy_reconstruction")
    broken = num_not_finite(metrics, cell, "weights_r2")
    return (
        f"{describe_cell(metrics, cell)}{f', {broken} not finite' if broken else ''}\n"
        f"{_weights_r2(metrics, cell)}\n"
        f"accuracy {percent(original.mean)} → {percent_with_interval(reconstruction)}"
    )


def _weights_r2(metrics: pd.DataFrame, cell: str) -> str:
    text = f"weights R² {number(cell_interval(metrics, cell, 'weights_r2').mean)}"
    if has_metric(metrics, cell, "weights_r2_within_init"):
        text += f", within init {number(cell_interval(metrics, cell, 'weights_r2_within_init').mean)}"
    return text


def _limits(metrics: pd.DataFrame, cells: list[str]) -> tuple[float, float]:
    """From just below the lowest accuracy, original or reconstructed, to 1."""
    shown = metrics[metrics["cell"].isin(cells) & metrics["metric"].isin(["accuracy_original", "accuracy_reconstruction"])]
    return max(0.0, float(shown["value"].min()) - 0.03), 1.005
