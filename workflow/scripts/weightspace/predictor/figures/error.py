"""Figure predictor_error: accuracy against error in the weights, of predictors and of what has the same error by design."""

from functools import partial

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from weightspace.predictor.figures.points import (
    MOST_LABELS,
    OTHER,
    Panel,
    Point,
    columns_of,
    draw_points,
    finite_points,
    gain_axis,
    plot_points,
    sidestep,
)
from weightspace.predictor.figures.select import (
    KINDS,
    Entry,
    Group,
    describe_group,
    gain_of,
    groups_with,
    short_labels,
)
from weightspace.report.intervals import Interval, mean_interval
from weightspace.report.select import clipped, has_metric, interval_of, value_matrix
from weightspace.report.style import nothing_to_draw

METRICS = ("relative_error", "accuracy_gain", "accuracy_original")
DRAWN = ("predicted", "noise", "truncated", "shrunk", "low_pass", "averaged")
NAMES = {"predicted": "predictor", OTHER: "other predictors", **KINDS}
SIDESTEPS = {"noise": 0.97, "truncated": 0.985, "shrunk": 1.015, "low_pass": 1.03}  # all have a predictor's error
NEAR = 1.15  # ratio of errors below which many predictors crowd
TICKS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
RECALIBRATED = "_recalibrated"  # ends the metrics of networks with the batch-norm statistics of train images
VERSIONS = {"": "", RECALIBRATED: ", batch norm recalibrated"}
MOST_TICKS = 16  # in a row of panels
NOTE = (
    "Error: norm of the difference from the original's predicted weights over their norm; controls other than averages have in "
    "each layer the error of a predictor and are drawn beside it. Gain: test accuracy minus that of the own original (0), mean "
    "over originals and seeds. If zero error is best, no interval lies above 0; if a control gains as much at the same error, "
    "the gain is not the predictor's. Bars: 95 % bootstrap intervals over originals and seeds; with a single original or seed "
    "they are too narrow. Both axes are linear near 0 (gains within ±1 point, errors below the first tick), logarithmic beyond. "
    "Lines join a method's points by error."
)
NOTE_OTHER = (
    "Other predictors: without a control, and with nearly the error of another one; the figure of accuracy over bytes names them."
)
NOTE_RECALIBRATED = (
    "Batch norm recalibrated: the networks of all methods have their batch-norm statistics measured anew on train images; 0 is "
    "still the original as it was trained, and the open star the original with its statistics measured anew. Averages "
    "have them anew in either panel."
)


def plot_predictor_error(rows: pd.DataFrame) -> Figure:
    """Accuracy gain against relative error of the weights, methods as joined points.

    One panel per set of originals, and beside it one with batch norms recalibrated where that was measured.
    """
    groups = groups_with(rows, METRICS, DRAWN)
    if not groups:
        return nothing_to_draw("Accuracy and error: no predictor here has been measured for both.")
    panels = [panels_of(rows, group) for group in groups]
    crowded = any(point.kind == OTHER for pair in panels for panel in pair for point in panel.points)
    notes = [NOTE, *([NOTE_OTHER] if crowded else []), *([NOTE_RECALIBRATED] if max(map(len, panels)) > 1 else [])]
    return plot_points(panels, set(DRAWN), " ".join(notes))


def panels_of(rows: pd.DataFrame, group: Group) -> list[Panel]:
    """A group as it is, then what of it was measured with batch norms recalibrated, if any; both with the same axis of gains."""
    again = [entry for entry in group.entries if has_metric(rows, entry.cell, f"accuracy_gain{RECALIBRATED}")]
    parts = {"": group} | ({RECALIBRATED: group._replace(entries=again)} if again else {})
    found = {suffix: finite_points(points_of(rows, own, suffix)) for suffix, own in parts.items()}
    originals = {suffix: original_gain(rows, own.entries[0], suffix) for suffix, own in parts.items()}
    gains = [*originals.values(), *(point.gain for points, _ in found.values() for point in points)]
    return [
        Panel(
            f"{group.label}{VERSIONS[suffix]}",
            f"{describe_group(rows, parts[suffix], f'accuracy_gain{suffix}')}{broken}",
            points,
            partial(_draw_panel, gains=gains, original=originals[suffix], suffix=suffix),
        )
        for suffix, (points, broken) in found.items()
    ]


def points_of(rows: pd.DataFrame, group: Group, suffix: str) -> list[Point]:
    """Relative error of the weights, and gain, of each predictor and control of a group; controls beside their predictor."""
    errors = {entry: interval_of(rows, entry.cell, "relative_error") for entry in group.entries}
    short, others = short_labels(rows, group), crowded_predictors(errors)
    points = [
        Point(error, gain_of(rows, entry, suffix), OTHER, "")
        if entry in others
        else Point(error, gain_of(rows, entry, suffix), entry.kind, short.get(entry.cell, ""))
        for entry, error in errors.items()
    ]  # controls have no label: their errors are the predictors'
    points.sort(key=lambda point: point.kind != OTHER)  # those are drawn below all else
    return [sidestep(point, SIDESTEPS.get(point.kind, 1.0)) for point in points]


def crowded_predictors(errors: dict[Entry, Interval]) -> set[Entry]:
    """Of more predictors than can be named those without a control whose error another one nearly has."""
    predictors = [entry for entry in errors if entry.kind == "predicted"]
    compared = {entry.predictor for entry in errors if entry.kind in SIDESTEPS}
    if len(predictors) <= MOST_LABELS:
        return set()

    def is_near(one: Entry, other: Entry) -> bool:
        low, high = sorted([errors[one].mean, errors[other].mean])
        return high < NEAR * low

    return {
        one for one in predictors if one.cell not in compared and any(is_near(one, other) for other in predictors if other != one)
    }


def original_gain(rows: pd.DataFrame, entry: Entry, suffix: str) -> Interval:
    """What the originals themselves gain over themselves as they are; it is the same for every seed of an entry."""
    gains = value_matrix(rows, entry.cell, f"accuracy_original{suffix}") - value_matrix(rows, entry.cell, "accuracy_original")
    return clipped(mean_interval(gains.to_numpy()[:1]), -1.0, 1.0)


def _draw_panel(axes: Axes, points: list[Point], gains: list[Interval], original: Interval, suffix: str) -> None:
    draw_points(axes, points, NAMES, set(DRAWN))
    star = {"markersize": 8, "markerfacecolor": "white" if suffix else "black", "markeredgewidth": 0.8}
    axes.plot([0, 0], original[1:3], color="black", linewidth=0.9)
    axes.plot(0, original.mean, "k*", **star, label=f"original{VERSIONS[suffix]}")
    gain_axis(axes, gains)
    errors = [point.across for point in points]
    smallest = min([error.mean for error in errors if error.mean > 0], default=TICKS[0])
    linear = max([TICKS[0], *(tick for tick in TICKS if tick <= smallest)])
    right = 1.2 * max([2 * linear, *(error.high for error in errors)])
    axes.set_xscale("symlog", linthresh=linear, linscale=0.4)
    axes.set(xlim=(-linear / 5, right), xlabel="relative error of the weights", ylabel="accuracy gain (points)")
    ticks = [0, *(tick for tick in TICKS if linear <= tick <= right)]
    axes.xaxis.set_major_locator(FixedLocator(ticks, nbins=MOST_TICKS // columns_of(axes)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")
