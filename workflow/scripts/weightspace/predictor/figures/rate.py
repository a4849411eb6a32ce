"""Figure predictor_rate: accuracy against bytes, of predictors and of other ways to make a network small."""

from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from weightspace.predictor.figures.points import Panel, Point, draw_points, finite_points, gain_axis, plot_points, side_by_side
from weightspace.predictor.figures.select import (
    KINDS,
    Group,
    describe_group,
    gain_of,
    groups_with,
    point_label,
    short_labels,
)
from weightspace.report.select import ratio_of, value_matrix
from weightspace.report.style import nothing_to_draw, plain_log_ticks

METRICS = ("bytes", "bytes_original", "accuracy_gain", "accuracy_original")
DRAWN = ("predicted", "quantized", "pruned", "low_rank", "small", "averaged")
NAMES = {"predicted": "predictor", **KINDS}
JOINED = {"quantized", "pruned", "low_rank", "small"}
GAP = 0.03  # in the logarithm of bytes
NOTE = (
    "Gain: test accuracy minus that of the own original (0), mean over originals and seeds; linear within ±1 point, logarithmic "
    "beyond. Bytes: of the whole file that the network is rebuilt from, over those of the original in float32; points of a "
    "method that differ by less than 3 % are drawn side by side. Bars: 95 % bootstrap intervals over originals and seeds; "
    "with a single original or seed they are too narrow. Front: the best mean gain at no more bytes, the original included; it "
    "is of means, so points may be on it by chance. Written: bits per weight, share of weights or singular values kept, or the "
    "predictor."
)


def plot_predictor_rate(rows: pd.DataFrame) -> Figure:
    """Accuracy gain against bytes, one panel per set of originals, with the Pareto front of all methods."""
    groups = groups_with(rows, METRICS, DRAWN)
    if not groups:
        return nothing_to_draw("Accuracy and bytes: no predictor here has been measured for both.")
    return plot_points([[panel_of(rows, group)] for group in groups], JOINED, NOTE)


def panel_of(rows: pd.DataFrame, group: Group) -> Panel:
    """Gain against bytes of one group; the front is that of points where they belong, not side by side."""
    points, broken = finite_points(points_of(rows, group))
    original = float(value_matrix(rows, group.entries[0].cell, "bytes_original").to_numpy().mean())
    num = f"{describe_group(rows, group, 'accuracy_gain')}{broken}"
    return Panel(group.label, num, side_by_side(points, GAP), partial(_draw_panel, front=front_of(points), original=original))


def points_of(rows: pd.DataFrame, group: Group) -> list[Point]:
    """Share of the original's bytes, and gain, of each predictor and control of a group."""
    short = short_labels(rows, group)
    return [
        Point(ratio_of(rows, entry.cell, "bytes", "bytes_original"), gain_of(rows, entry), entry.kind, point_label(entry, short))
        for entry in group.entries
    ]


def front_of(points: list[Point]) -> np.ndarray:
    """Points [place, (share of bytes, gain)] by means that no other one beats in both, and the original, by rising bytes."""
    places = sorted([(1.0, 0.0), *((point.across.mean, point.gain.mean) for point in points)], key=lambda x: (x[0], -x[1]))
    front: list[tuple[float, float]] = []
    for place in places:
        if not front or place[1] > front[-1][1]:
            front.append(place)
    return np.array(front)


def _draw_panel(axes: Axes, points: list[Point], front: np.ndarray, original: float) -> None:
    right = 1.25 * max([1.0, *(point.across.high for point in points)])
    left = min([1.0, *(point.across.low for point in points)]) / 1.25
    last = [(right, front[-1, 1])]
    axes.plot(*np.vstack([front, last]).T, drawstyle="steps-post", color="#c3cad1", linewidth=3, zorder=0.9,
              label="Pareto front of means")  # fmt: skip
    draw_points(axes, points, NAMES, JOINED)
    axes.plot(1, 0, "k*", markersize=7, linestyle="none", label="original, float32")
    gain_axis(axes, [point.gain for point in points])
    axes.set(xscale="log", ylabel="accuracy gain (points)", xlim=(left, right), xlabel="bytes / original's bytes (%)")
    top = axes.secondary_xaxis("top", functions=(lambda share: share * original / 1000, lambda size: size * 1000 / original))
    top.set_xlabel("file (kB)")
    plain_log_ticks(axes.xaxis, factor=100.0)
    plain_log_ticks(top.xaxis)
