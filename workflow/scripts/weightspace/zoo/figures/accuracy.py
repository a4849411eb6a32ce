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
    name_rows,
    nothing_to_draw,
    percent_axis,
    small_multiples,
)

BANDS = ((0.05, 0.95, 0.15), (0.25, 0.75, 0.3))  # quantiles of models, and how dark they are drawn
ROW_INCHES = 0.26  # of a zoo that is measured once
LEAST_MODELS = 5  # for a band and an interval; fewer are drawn one by one
NOTE = (
    "Bands: 5 % to 95 % and 25 % to 75 % of the models' test accuracies. Mean of the last epoch with a 95 % bootstrap "
    "interval over models; fewer than 5 models have neither, and each is drawn. The highest is the best of all models on the "
    "test images. Models with a value that is not finite are counted as diverged; accuracies that are not finite are in no band."
)


def plot_zoo_accuracy(rows: pd.DataFrame) -> Figure:
    """Median and spread over models of test accuracy against epoch, one panel per zoo; one for all that are measured once."""
    measured = set(rows.loc[(rows["stage"] == "zoo") & (rows["metric"] == "test_accuracy"), "cell"])
    zoos = [zoo for zoo in cells_of(rows, "zoo") if zoo in measured]
    if not zoos:
        return nothing_to_draw("No accuracy of any zoo's models is known.")
    own = {label_of(rows, zoo): rows[(rows["stage"] == "zoo") & (rows["cell"] == zoo)] for zoo in zoos}
    once = {label: zoo for label, zoo in own.items() if len(accuracy_by_epoch(zoo, "test")) == 1}
    with house_style():
        height = max(2.9, 0.8 + ROW_INCHES * len(once))
        figure, grid = small_multiples(len(own) - len(once) + bool(once), height)
        for axes, label in zip(grid, [label for label in own if label not in once], strict=False):
            _draw_zoo(axes, label, own[label])
        if once:
            _draw_once(grid[-1], once)
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


def _draw_once(axes: Axes, zoos: dict[str, pd.DataFrame]) -> None:
    """Zoos that are measured at one epoch, a row each."""
    (test_look, train_look), labels = LOOKS[:2], []
    for n, (label, rows) in enumerate(zoos.items()):
        test, train = accuracy_by_epoch(rows, "test").iloc[-1], accuracy_by_epoch(rows, "train")
        for low, high, alpha in BANDS if len(test) >= LEAST_MODELS else ():
            axes.hlines(n, test.quantile(low), test.quantile(high), color=test_look.color, alpha=alpha, linewidth=8)
        if 1 < len(test) < LEAST_MODELS:
            axes.plot(test, np.full(len(test), n), "|", color=test_look.color, markersize=8)
        for look, values in ((test_look, test), *([(train_look, train.iloc[-1])] if len(train) else [])):
            axes.plot(values.median(), n, marker=look.marker, color=look.color, linestyle="none")
        finite, diverged = test[np.isfinite(test)], num_diverged(rows)
        lost = f", {diverged} diverged" if diverged else ""
        labels.append(f"{label}, epoch {test.name:g}\n{_models(test)}{lost}: {_mean_said(finite)}")
    name_rows(axes, labels)
    for look, images in ((test_look, "test images"), (train_look, "training images")):
        axes.plot([], [], marker=look.marker, color=look.color, linestyle="none", label=f"median, {images}")
    axes.tick_params(axis="y", labelsize=6)
    axes.set(xlabel="accuracy (%)")
    percent_axis(axes, "x")
    legend_above(axes, "zoos that are measured once", 1)


def _models(values: pd.Series) -> str:
    return f"{len(values)} model{'s' * (len(values) != 1)}"


def _mean_said(finite: pd.Series) -> str:
    if len(finite) < LEAST_MODELS:
        return percent(finite.mean()) if len(finite) else "none"
    return percent_with_interval(mean_interval(finite.to_numpy()[None]))


def _draw_zoo(axes: Axes, label: str, rows: pd.DataFrame) -> None:
    test, train = accuracy_by_epoch(rows, "test"), accuracy_by_epoch(rows, "train")
    test_look, train_look = LOOKS[0], LOOKS[1]
    for low, high, alpha in BANDS if test.shape[1] >= LEAST_MODELS else ():
        bounds = test.quantile([low, high], axis=1)
        axes.fill_between(test.index, *bounds.to_numpy(), color=test_look.color, alpha=alpha, linewidth=0)
    if test.shape[1] < LEAST_MODELS:
        axes.plot(test.index, test, color=test_look.color, alpha=0.3, linewidth=0.8)
    for values, look, images in ((test, test_look, "test images"), (train, train_look, "training images")):
        if values.empty:  # of an imported zoo not all is known
            continue
        axes.plot(values.index, values.median(axis=1), look.line, color=look.color, marker=look.marker, label=f"median, {images}")
    axes.set(xlabel="epoch", ylabel="accuracy (%)", ylim=(0, 1))
    percent_axis(axes, "y")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_above(axes, f"zoo {label}", 1)
    axes.text(0.98, 0.04, _summary(test, num_diverged(rows)), transform=axes.transAxes, ha="right", va="bottom", fontsize=7)


def _summary(test: pd.DataFrame, diverged: int) -> str:
    last = test.loc[test.index.max()]
    finite = last[np.isfinite(last)]
    of = "" if len(finite) == len(last) else f" of {len(finite)} finite"
    measured = f"epoch {last.name:g}, test images:\nmean{of} {_mean_said(finite)}\nhighest {percent(last.max())}"
    return f"{_models(last)}, {diverged} diverged\n{measured}"
