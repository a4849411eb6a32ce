"""Figure zoo_accuracy: how the models of each zoo learn."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from weightspace.report.intervals import mean_interval
from weightspace.report.names import percent, percent_with_interval
from weightspace.report.select import cells_of, label_of
from weightspace.report.style import (
    LOOKS,
    add_note,
    house_style,
    legend_above,
    nothing_to_draw,
    percent_axis,
    small_multiples,
)

NOTE = (
    "Bands: 5 % to 95 % and 25 % to 75 % of the models' test accuracies. Mean of the last epoch with a 95 % bootstrap "
    "interval over models; the highest is the best of all models on the test images. Models with a value that is not "
    "finite are counted as diverged; accuracies that are not finite are in no band."
)


def plot_zoo_accuracy(rows: pd.DataFrame) -> Figure:
    """Median and spread over models of test accuracy against epoch, one panel per zoo."""
    measured = set(rows.loc[(rows["stage"] == "zoo") & (rows["metric"] == "test_accuracy"), "cell"])
    zoos = [zoo for zoo in cells_of(rows, "zoo") if zoo in measured]
    if not zoos:
        return nothing_to_draw("No accuracy of any zoo's models is known.")
    with house_style():
        figure, grid = small_multiples(len(zoos), 2.9)
        for axes, zoo in zip(grid, zoos, strict=True):
            _draw_zoo(axes, label_of(rows, zoo), rows[(rows["stage"] == "zoo") & (rows["cell"] == zoo)])
        add_note(figure, NOTE)
    return figure


def accuracy_by_epoch(rows: pd.DataFrame, images: str) -> pd.DataFrame:
    """Accuracies [epoch, model] of one zoo on its train, val or test images."""
    return rows[rows["metric"] == f"{images}_accuracy"].pivot(index="at", columns="subject", values="value")


def num_diverged(rows: pd.DataFrame) -> int:
    """Models of one zoo with a value that is not finite, or marked as diverged."""
    not_finite = ~np.isfinite(rows["value"].to_numpy())
    marked = ((rows["metric"] == "diverged") & (rows["value"] == 1)).to_numpy()
    return rows.loc[not_finite | marked, "subject"].nunique()


def _draw_zoo(axes: Axes, label: str, rows: pd.DataFrame) -> None:
    test, train = accuracy_by_epoch(rows, "test"), accuracy_by_epoch(rows, "train")
    test_look, train_look = LOOKS[0], LOOKS[1]
    for low, high, alpha in ((0.05, 0.95, 0.15), (0.25, 0.75, 0.3)):
        bounds = test.quantile([low, high], axis=1)
        axes.fill_between(test.index, *bounds.to_numpy(), color=test_look.color, alpha=alpha, linewidth=0)
    for values, look, images in ((test, test_look, "test images"), (train, train_look, "training images")):
        if values.empty:  # of an imported zoo not all is known
            continue
        axes.plot(values.index, values.median(axis=1), look.line, color=look.color, marker=look.marker, label=f"median, {images}")
    axes.set(xlabel="epoch", ylabel="accuracy (%)", ylim=(0, 1))
    percent_axis(axes, "y")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_above(axes, f"zoo {label}")
    axes.text(0.98, 0.04, _summary(test, num_diverged(rows)), transform=axes.transAxes, ha="right", va="bottom", fontsize=7)


def _summary(test: pd.DataFrame, diverged: int) -> str:
    last = test.loc[test.index.max()]
    finite = last[np.isfinite(last)]
    mean = percent_with_interval(mean_interval(finite.to_numpy()[None])) if len(finite) else "none"
    of = "" if len(finite) == len(last) else f" of {len(finite)} finite"
    measured = f"epoch {last.name:g}, test images:\nmean{of} {mean}\nhighest {percent(last.max())}"
    return f"{len(last)} models, {diverged} diverged\n{measured}"
