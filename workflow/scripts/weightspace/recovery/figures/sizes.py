"""Figure recovery_sizes: size against error, for a recovery, its students and its baselines."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from weightspace.recovery.figures.select import (
    BASELINES,
    Group,
    baselines_of,
    describe_group,
    geometric_interval,
    grouped,
    ratio_of,
    recoveries_with,
    values_interval,
)
from weightspace.report.intervals import Interval
from weightspace.report.style import LOOKS, Look, add_note, draw_crossed_intervals, house_style, nothing_to_draw, small_multiples

MOST_PANELS = 6
LABELS = {
    "recovered": "recovered",
    "students": "best student",
    "single": "own size, trained",
    "pruned": "student, pruned",
    "distilled": "own size, all compute",
}
SIDESTEPS = {"single": -0.07, "pruned": 0.0, "distilled": 0.07}  # in log2 of the size: all have the teacher's
NOTE = (
    "Error: RMSE on held-out inputs over the standard deviation of the teacher's outputs there, geometric mean over teachers "
    "and seeds. Size: hidden units, mean. Bars: 95 % bootstrap intervals over teachers and seeds, of the error in its "
    "logarithm; of fewer than five teachers, their range. Students: the best of each teacher. Baselines have the "
    "teacher's size and are drawn side by side: the best of as many networks trained at that "
    "size, the best student pruned to it and trained on, "
    "and one network of that size with the compute of all students. Errors below 1e-16 are drawn there."
)
Point = tuple[Interval, Interval]  # size over the teacher's, error over the deviation of outputs


def plot_recovery_sizes(rows: pd.DataFrame) -> Figure:
    """Error against size, both relative to the teacher's, one panel per recovery or per expansion factor."""
    cells = [cell for cell in recoveries_with(rows, "size_true") if cell in recoveries_with(rows, "size_recovered")]
    if not cells:
        return nothing_to_draw("Size and error: no recovery here has a teacher of known size.")
    groups = grouped(rows, cells, MOST_PANELS)
    with house_style():
        figure, grid = small_multiples(len(groups), 2.5)
        for axes, group in zip(grid, groups, strict=True):
            _draw_group(axes, rows, group)
        _share_limits(grid)
        grid[0].set_ylabel("held-out RMSE / deviation of outputs")
        handles = {label: handle for axes in grid for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
        figure.legend(handles.values(), handles.keys(), loc="outside upper left", ncols=len(LOOKS))
        add_note(figure, NOTE)
    return figure


def points_of(rows: pd.DataFrame, cells: list[str]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Relative size and relative error [seed, teacher] by series; what was not run is left away."""
    series = {
        "recovered": (
            ratio_of(rows, cells, "size_recovered", "size_true"),
            ratio_of(rows, cells, "rmse_held_out", "output_deviation"),
        ),
        "students": (
            ratio_of(rows, cells, "size_student", "size_true"),
            ratio_of(rows, cells, "rmse_student_best", "output_deviation"),
        ),
    }
    for kind in BASELINES:
        if found := baselines_of(rows, cells, kind, "rmse_held_out"):
            sizes = ratio_of(rows, found, "size_recovered", "size_true")
            series[kind] = sizes, ratio_of(rows, found, "rmse_held_out", "output_deviation")
    return series


def _draw_group(axes: Axes, rows: pd.DataFrame, group: Group) -> None:
    points = points_of(rows, group.cells)
    for look, (name, (sizes, errors)) in zip(_looks(points), points.items(), strict=True):
        size = values_interval(sizes, "size_recovered")
        step = 2 ** SIDESTEPS.get(name, 0.0)
        moved = Interval(size.mean * step, size.low * step, size.high * step, size.n)
        draw_crossed_intervals(axes, moved, geometric_interval(errors), look, LABELS[name])
    broken = sum(int((~np.isfinite(errors)).sum()) for _, errors in points.values())
    finite = f", {broken} errors not finite" if broken else ""
    axes.set_title(f"{group.label}\n{describe_group(rows, group, 'size_true')}{finite}", fontsize=7, linespacing=1.35)
    axes.set(xscale="log", yscale="log", xlabel="size / teacher's size")


def _looks(names: dict[str, object]) -> list[Look]:
    """A series looks alike in every panel."""
    order = ("recovered", "students", *BASELINES)
    return [LOOKS[order.index(name)] for name in names]


def _share_limits(grid: list[Axes]) -> None:
    """The same limits in all panels, with sizes at powers of two; an error that nothing else varies gets a decade of room."""
    left, right = min(axes.get_xlim()[0] for axes in grid), max(axes.get_xlim()[1] for axes in grid)
    low, high = min(axes.get_ylim()[0] for axes in grid), max(axes.get_ylim()[1] for axes in grid)
    left, right = min(left, 2**-0.3), max(right, 2**0.3)
    ticks = 2.0 ** np.arange(np.ceil(np.log2(left)), np.floor(np.log2(right)) + 1)
    for axes in grid:
        axes.set(xlim=(left, right), ylim=(low / 2, high * 2))
        axes.xaxis.set_major_locator(FixedLocator(ticks[:: 1 + len(ticks) // 7]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter("{x:g}")
