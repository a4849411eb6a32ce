"""Figure predictor_error: accuracy against error in the weights, of predictors and of what has the same error by design."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from weightspace.report.predictor_points import (
    MOST_PANELS,
    Point,
    draw_points,
    finite_points,
    gain_axis,
    label_points,
    legend_of,
    panels,
    sidestep,
)
from weightspace.report.predictors import (
    KINDS,
    Group,
    describe_group,
    entries_with,
    gain_of,
    grouped_by_originals,
    interval_of,
    short_labels,
)
from weightspace.report.style import add_note, house_style, nothing_to_draw

METRICS = ("relative_error", "accuracy_gain", "accuracy_original")
DRAWN = ("predicted", "noise", "truncated", "shrunk", "low_pass", "averaged")
NAMES = {"predicted": "predictor", **KINDS}
SIDESTEPS = {"noise": 0.97, "truncated": 0.985, "shrunk": 1.015, "low_pass": 1.03}  # all have a predictor's error
TICKS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
NOTE = (
    "Error: norm of the difference from the original's predicted weights over their norm; controls other than averages have in "
    "each layer the error of a predictor and are drawn beside it. Gain: test accuracy minus that of the own original (0), mean "
    "over originals and seeds. If zero error is best, no interval lies above 0; if a control gains as much at the same error, "
    "the gain is not the predictor's. Bars: 95 % bootstrap intervals over originals and seeds; a single original or seed stands "
    "for no variation. Both axes are linear near 0 (gains within ±1 point, errors below the first tick), logarithmic beyond. "
    "Lines join a method's points by error."
)


def plot_predictor_error(metrics: pd.DataFrame) -> Figure:
    """Accuracy gain against relative error of the weights, one panel per set of originals, methods as joined points."""
    entries = [entry for entry in entries_with(metrics, *METRICS) if entry.kind in DRAWN]
    if not entries:
        return nothing_to_draw("Accuracy and error: no predictor here has been measured for both.")
    groups = grouped_by_originals(metrics, entries)[:MOST_PANELS]
    points, notes = zip(*(finite_points(points_of(metrics, group)) for group in groups), strict=True)
    points = [[sidestep(point, SIDESTEPS.get(point.kind, 1.0)) for point in own] for own in points]
    with house_style():
        figure, grid = panels(len(groups))
        for axes, group, own, broken in zip(grid, groups, points, notes, strict=True):
            _draw_group(axes, own)
            axes.set_title(f"{group.label}: {describe_group(metrics, group, 'accuracy_gain')}{broken}")
        legend_of(figure, grid, 4)
        add_note(figure, NOTE)
        figure.draw_without_rendering()
        for axes, own in zip(grid, points, strict=True):
            label_points(axes, own, set(DRAWN))
    return figure


def points_of(metrics: pd.DataFrame, group: Group) -> list[Point]:
    """Relative error of the weights, and gain, of each predictor and control of a group."""
    short = short_labels(group)
    return [
        Point(
            interval_of(metrics, entry, "relative_error", 0.0, float("inf")),
            gain_of(metrics, entry),
            entry.kind,
            short.get(entry.cell, ""),  # of controls none: their errors are the predictors'
        )
        for entry in group.entries
    ]


def _draw_group(axes: Axes, points: list[Point]) -> None:
    draw_points(axes, points, NAMES, set(DRAWN))
    axes.plot(0, 0, "k*", markersize=7, linestyle="none", label="original")
    gain_axis(axes, [point.gain for point in points])
    errors = [point.across for point in points]
    smallest = min([error.mean for error in errors if error.mean > 0], default=TICKS[0])
    linear = max([TICKS[0], *(tick for tick in TICKS if tick <= smallest)])
    right = 1.2 * max([2 * linear, *(error.high for error in errors)])
    axes.set_xscale("symlog", linthresh=linear, linscale=0.4)
    axes.set(xlim=(-linear / 5, right), xlabel="relative error of the weights", ylabel="accuracy gain (points)")
    axes.xaxis.set_major_locator(FixedLocator([0, *(tick for tick in TICKS if linear <= tick <= right)]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")
