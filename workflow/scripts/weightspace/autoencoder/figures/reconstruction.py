"""Figure reconstruction: what a network's accuracy is after encoding and decoding."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from weightspace.report.names import number, percent, percent_with_interval, wrapped
from weightspace.report.select import (
    about,
    cells_of,
    describe,
    has_metric,
    interval_of,
    label_of,
    num_not_finite,
    of_models,
    value_matrix,
)
from weightspace.report.style import LOOKS, add_note, house_style, percent_axis, small_multiples

NOTE = (
    "One point per test model and seed, one marker per seed; small and gray, where they are measured, as many train models; "
    "the line marks equal accuracy. Written: mean accuracy of originals → of reconstructions with its 95 % bootstrap "
    "interval over models and seeds. Weights R²: against the mean of the training checkpoints; within init: against the mean "
    "of those of the same init, where a zoo shares inits. Baselines are computed, not trained: they have no seeds."
)


def plot_reconstruction(rows: pd.DataFrame) -> Figure:
    """Accuracy of each original against its reconstruction's, one panel per autoencoder and per baseline."""
    cells = cells_of(rows, "autoencoder", "baseline")
    with house_style():
        figure, grid = small_multiples(len(cells), 2.75)
        limits = _limits(rows, cells)
        for axes, cell in zip(grid, cells, strict=True):
            _draw_cell(axes, rows, cell)
            axes.plot(limits, limits, color="#555555", linewidth=0.8, zorder=1)
            axes.set(xlim=limits, ylim=limits, aspect="equal", xlabel="accuracy of the original (%)")
        grid[0].set_ylabel("accuracy of the reconstruction (%)")
        add_note(figure, NOTE)
    return figure


def _draw_cell(axes: Axes, rows: pd.DataFrame, cell: str) -> None:
    if has_metric(rows, cell, "accuracy_original"):
        _draw_learned(axes, of_models(rows, "train"), cell)
        _draw_models(axes, rows, cell)
    else:
        axes.text(0.05, 0.9, "not measured without images", transform=axes.transAxes)
    percent_axis(axes, "x")
    percent_axis(axes, "y")
    baseline = "baseline: " if about(rows, cell, "stage") == "baseline" else ""
    name = wrapped(baseline + label_of(rows, cell), 32)
    axes.set_title(f"{name}\n{_summary(rows, cell)}", fontsize=7, linespacing=1.35)


def _draw_models(axes: Axes, rows: pd.DataFrame, cell: str) -> None:
    original = value_matrix(rows, cell, "accuracy_original")
    reconstruction = value_matrix(rows, cell, "accuracy_reconstruction")
    for place, seed in enumerate(original.index):
        look = LOOKS[place % len(LOOKS)]
        points = original.loc[seed], reconstruction.loc[seed]
        axes.scatter(*points, s=9, marker=look.marker, color=look.color, alpha=0.55, linewidth=0)


def _draw_learned(axes: Axes, rows: pd.DataFrame, cell: str) -> None:
    """Train models, beneath; tables of older runs have none."""
    if has_metric(rows, cell, "accuracy_original"):
        points = (value_matrix(rows, cell, f"accuracy_{which}").to_numpy() for which in ("original", "reconstruction"))
        axes.scatter(*points, s=3, marker=".", color="#b5b5b5", linewidth=0, zorder=0.8)


def _summary(rows: pd.DataFrame, cell: str) -> str:
    broken = num_not_finite(rows, cell, "weights_l2")
    n = f"{describe(rows, cell, 'weights_l2')}{f', {broken} not finite' if broken else ''}"
    if not has_metric(rows, cell, "accuracy_original"):
        return f"{n}\n{_weights_r2(rows, cell)}"
    original = interval_of(rows, cell, "accuracy_original")
    reconstruction = interval_of(rows, cell, "accuracy_reconstruction")
    text = f"{n}\n{_weights_r2(rows, cell)}\n{percent(original.mean)} → {percent_with_interval(reconstruction)}"
    learned = of_models(rows, "train")
    if has_metric(learned, cell, "accuracy_original"):
        means = (interval_of(learned, cell, f"accuracy_{which}").mean for which in ("original", "reconstruction"))
        text += "\ntrain models " + " → ".join(map(percent, means))
    return text


def _weights_r2(rows: pd.DataFrame, cell: str) -> str:
    text = f"weights R² {number(interval_of(rows, cell, 'weights_r2').mean)}"
    if has_metric(rows, cell, "weights_r2_within_init"):
        text += f", within init {number(interval_of(rows, cell, 'weights_r2_within_init').mean)}"
    return text


def _limits(rows: pd.DataFrame, cells: list[str]) -> tuple[float, float]:
    """From just below the lowest accuracy, original or reconstructed, to 1; from 0 where none is measured."""
    shown = rows[rows["cell"].isin(cells) & rows["metric"].isin(["accuracy_original", "accuracy_reconstruction"])]
    return max(0.0, float(shown["value"].min()) - 0.03) if len(shown) else 0.0, 1.005
