"""Figure zoo_alignment: are models of a zoo one network up to the order of their units?"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from weightspace.report.intervals import Interval
from weightspace.report.names import number_with_interval
from weightspace.report.select import cells_of, interval_of, is_reading, label_of, value_matrix
from weightspace.report.style import (
    LOOKS,
    WIDTH_INCHES,
    add_note,
    draw_upright_intervals,
    house_style,
    legend_above,
    percent_axis,
)

ALIGNED, NAIVE, MODELS = LOOKS[:3]
SIDESTEP = 0.07  # of aligned and naive soups, in places on the axis
NOTE = (
    "Left: accuracy on the straight line of weights between two models, as they are and with the units of the second "
    "permuted to match the first's. Bands: 95 % intervals of the mean over pairs; no model is in two. Mean of both ends: "
    "what there would be without a barrier. Barrier: how far the loss lies above the line between both ends' losses on test "
    "images, where it does so most on val images. Right: networks whose weights are the mean of several models', as they "
    "are and with all aligned to the first, beside the mean accuracy of these models. Bars: 95 % intervals over soups. One "
    "pair or soup has no interval. Where there are batch norms, networks between models have their statistics measured anew "
    "on train images."
)


def plot_zoo_alignment(rows: pd.DataFrame) -> Figure:
    """Accuracy along lines between pairs and of soups, naive and aligned; one row of panels per cell."""
    cells = cells_of(rows, "alignment")
    with house_style():
        figure = Figure(figsize=(WIDTH_INCHES, 2.75 * len(cells)), layout="constrained")
        figure.get_layout_engine().set(h_pad=0.08)
        grid = figure.subplots(len(cells), 2, squeeze=False, width_ratios=(5, 4))
        for (line, soups), cell in zip(grid, cells, strict=True):
            own = rows[(rows["stage"] == "alignment") & (rows["cell"] == cell)]
            _draw_line(line, own, cell)
            _draw_soups(soups, own, cell)
        add_note(figure, NOTE)
    return figure


def _draw_line(axes: Axes, rows: pd.DataFrame, cell: str) -> None:
    percents = sorted(rows.loc[rows["metric"] == "line_accuracy_naive", "at"].astype(int).unique().tolist())
    for look, way in ((ALIGNED, "aligned"), (NAIVE, "naive")):
        intervals = [interval_of(rows, cell, f"line_accuracy_{way}", percent) for percent in percents]
        mean, low, high = np.array([interval[:3] for interval in intervals]).T
        axes.fill_between(percents, low, high, color=look.color, alpha=0.2, linewidth=0)
        axes.plot(percents, mean, look.line, color=look.color, marker=look.marker, label=way)
    ends = [interval_of(rows, cell, "line_accuracy_naive", percent).mean for percent in (0, 100)]
    axes.plot([0, 100], ends, MODELS.line, color=MODELS.color, label="mean of both ends")
    axes.set(xlabel="way from one model to the other (%)", ylabel="accuracy on test images (%)", ylim=(0, 1))
    percent_axis(axes, "y")
    legend_above(axes, f"{label_of(rows, cell)}: is there a barrier between two models?", 3)
    axes.text(0.02, 0.04, _summary(rows, cell), transform=axes.transAxes, va="bottom", fontsize=7)


def _draw_soups(axes: Axes, rows: pd.DataFrame, cell: str) -> None:
    sizes = sorted(rows.loc[rows["metric"] == "soup_accuracy_naive", "at"].astype(int).unique().tolist())
    places = np.arange(len(sizes))
    for sidestep, look, way in ((0, MODELS, "models"), (-SIDESTEP, ALIGNED, "aligned"), (SIDESTEP, NAIVE, "naive")):
        intervals = [interval_of(rows, cell, f"soup_accuracy_{way}", size) for size in sizes]
        if intervals:
            label = "mean of the models" if way == "models" else way
            draw_upright_intervals(axes, places + sidestep, intervals, look, label)
    counts = [value_matrix(rows, cell, "soup_accuracy_naive", size).shape[1] for size in sizes]
    labels = [f"{size}\n{num} soup{'s' * (num != 1)}" for size, num in zip(sizes, counts, strict=True)]
    axes.set_xticks(places, labels)
    axes.set(xlabel="models in a soup", ylim=(0, 1), xlim=(-0.4, max(1, len(sizes)) - 0.6))
    percent_axis(axes, "y")
    if sizes:
        legend_above(axes, "is their mean a good network?", 3)


def _summary(rows: pd.DataFrame, cell: str) -> str:
    barriers = [f"{way} {_told(interval_of(rows, cell, f'barrier_{way}'))}" for way in ("naive", "aligned")]
    reading = ", a reading" if is_reading(rows, cell, "barrier_naive") else ""
    n = interval_of(rows, cell, "barrier_naive").n
    return "\n".join([f"{n}{reading}", "barrier of the loss:", *barriers])


def _told(interval: Interval) -> str:
    return number_with_interval(*interval[:3])
