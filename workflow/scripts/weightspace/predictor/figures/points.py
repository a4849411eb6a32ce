"""Networks as points in a plane of accuracy: how each method looks, the axis of gains, labels that do not meet."""

from collections.abc import Callable
from itertools import accumulate
from math import ceil
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import Container
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from weightspace.report.intervals import Interval
from weightspace.report.style import LOOKS, WIDTH_INCHES, Look, add_note, draw_crossed_intervals, house_style

MOST_PANELS = 8
MOST_LABELS = 10  # in a panel that shares its row with another
LINEAR = 0.01  # gains up to a point are on a linear scale, beyond it on a logarithmic one
DECADES = (1, 0.3, 0.1, 0.03, 0.01, 0.005)
GAIN_TICKS = (*(-tick for tick in DECADES), 0, *DECADES[::-1])
LEAST_GAIN = 0.012  # to be seen on either side of 0
MARKER_POINTS = 3.0  # half of it
DISTANCES = np.array([4, 8, 13, 19, 26, 34, 44, 56])  # points from a marker to its label
ANGLES = np.pi * np.array([0, 1, 0.25, 1.75, 0.75, 1.25, 0.5, 1.5])
DIRECTIONS = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)
PIECES = 40  # of a line between two points
HALO = withStroke(linewidth=1.5, foreground="white")
LABEL = {"fontsize": 6, "ha": "center", "va": "center", "path_effects": [HALO]}
LEADER = {"linewidth": 0.4, "color": "#555555", "zorder": 3, "gid": "leader"}
LEADER_PIECES = 8
LEAST_LEADER = 7  # points from the marker to the label; nearer labels need no line
FARTHER = 0.6  # square points of overlap that a label may have to be a point nearer
OTHER = "other"  # kind of a predictor that is drawn without a name
LOOK_OF = {
    "predicted": LOOKS[0],
    OTHER: Look("#9fb0c6", ".", True, "-"),
    "quantized": LOOKS[1],
    "pruned": LOOKS[2],
    "low_rank": LOOKS[3],
    "small": LOOKS[4],
    "noise": LOOKS[1],
    "truncated": LOOKS[2],
    "shrunk": LOOKS[3],
    "low_pass": LOOKS[4],
    "averaged": Look("#000000", "P", False, (0, (1, 3))),
}


class Point(NamedTuple):
    """One network of a figure, its interval on both axes."""

    across: Interval
    gain: Interval
    kind: str
    label: str  # written beside it; may be empty


class Panel(NamedTuple):
    """Points of one set of originals, and what draws them with all else that is in their axes."""

    title: str
    n: str  # originals and seeds
    points: list[Point]
    draw: Callable[[Axes, list[Point]], None]


class Place(NamedTuple):
    """Where a label may be, in pixels."""

    box: np.ndarray
    end: np.ndarray  # of the line from the marker to the label
    leader: np.ndarray  # boxes along that line


def plot_points(groups: list[list[Panel]], joined: set[str], note: str) -> Figure:
    """Panels of each set of originals, one legend above and the note below; it says how many sets found no room.

    Two panels share a row where none has many points that have a label or are too near others for one; pairs come first then,
    so that each has a row.
    """
    labels = [sum(bool(point.label) or point.kind == OTHER for point in panel.points) for group in groups for panel in group]
    columns = 1 if max(labels) > MOST_LABELS else min(len(labels), 2)
    groups = sorted(groups, key=len, reverse=True) if columns > 1 else groups
    shown = [group for group, taken in zip(groups, accumulate(map(len, groups)), strict=True) if taken <= MOST_PANELS]
    with house_style():
        figure, grid = _grid(sum(map(len, shown)), columns)
        drawn = list(zip(grid, sum(shown, []), strict=True))
        space = "\n" if columns > 1 else " "
        for axes, panel in drawn:
            panel.draw(axes, panel.points)
            axes.set_title(f"{panel.title}:{space}{panel.n}")
        legend_of(figure, grid, 4)
        add_note(figure, f"{note} {_left_out(len(groups) - len(shown), len(groups))}")
        figure.draw_without_rendering()
        for axes, panel in drawn:
            label_points(axes, panel.points, joined)
    return figure


def _left_out(number: int, total: int) -> str:
    return f"{number} of {total} sets of originals are not drawn: there is no room." if number else ""


def _grid(num: int, columns: int) -> tuple[Figure, list[Axes]]:
    """A figure with so many panels in a row."""
    rows = ceil(num / columns)
    figure = Figure(figsize=(WIDTH_INCHES, (3.6 if columns == 1 else 3.2) * rows), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.08)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for spare in grid[num:]:
        spare.remove()
    return figure, list(grid[:num])


def side_by_side(points: list[Point], gap: float) -> list[Point]:
    """Points of a kind nearer than `gap` to the next, in the logarithm of their place, moved apart by it about their middle."""
    kinds = list(dict.fromkeys(point.kind for point in points))
    places = np.array([(kinds.index(point.kind), np.log(point.across.mean)) for point in points]).reshape(-1, 2)
    order = np.lexsort((places[:, 1], places[:, 0]))
    far = (np.diff(places[order], axis=0) >= (1, gap)).any(axis=1)
    moved = places[:, 1].copy()
    for cluster in np.split(order, np.flatnonzero(far) + 1):
        if len(cluster) > 1:
            moved[cluster] = places[cluster, 1].mean() + gap * (np.arange(len(cluster)) - (len(cluster) - 1) / 2)
    return [sidestep(point, factor) for point, factor in zip(points, np.exp(moved - places[:, 1]).tolist(), strict=True)]


def sidestep(point: Point, factor: float) -> Point:
    """A point and its bar at another place."""
    mean, low, high = (factor * value for value in point.across[:3])
    return point._replace(across=Interval(mean, low, high, point.across.n))


def columns_of(axes: Axes) -> int:
    """Panels in a row of the figure that the axes are in."""
    return axes.get_subplotspec().get_gridspec().ncols


def draw_points(axes: Axes, points: list[Point], names: dict[str, str], joined: set[str]) -> None:
    """Points with their intervals; those of a kind that is `joined` by a line, from left to right."""
    for kind in dict.fromkeys(point.kind for point in points):
        own = sorted((point for point in points if point.kind == kind), key=lambda point: point.across.mean)
        look = LOOK_OF[kind]
        if kind in joined:
            line = {"color": look.color, "linestyle": look.line, "linewidth": 0.8}
            axes.plot([point.across.mean for point in own], [point.gain.mean for point in own], **line)
        for point in own:
            draw_crossed_intervals(axes, point.across, point.gain, look, names[kind])


def gain_axis(axes: Axes, gains: list[Interval]) -> None:
    """Gains in points upward, linear within one point of the original and logarithmic beyond; all intervals are in it."""
    low = 1.3 * min([-LEAST_GAIN, *(gain.low for gain in gains)])
    high = 1.3 * max([LEAST_GAIN, *(gain.high for gain in gains)])
    axes.set_yscale("symlog", linthresh=LINEAR, linscale=1.0)
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(FixedLocator([tick for tick in GAIN_TICKS if low <= tick <= high]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:+g}".replace("-", "−") if value else "0"))
    axes.axhline(0, color="black", linewidth=0.8, zorder=1)


def legend_of(figure: Figure, grid: list[Axes], columns: int) -> None:
    """One legend above all panels, each method once; series with intervals come before lines."""
    handles = {label: handle for axes in grid for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    ordered = sorted(handles.items(), key=lambda item: not isinstance(item[1], Container))
    labels, artists = zip(*ordered, strict=True)
    figure.legend(artists, labels, loc="outside upper left", ncols=columns)


def finite_points(points: list[Point]) -> tuple[list[Point], str]:
    """Points that can be drawn, and how many cannot, for a title."""
    finite = [point for point in points if np.isfinite([*point.across[:3], *point.gain[:3]]).all()]
    broken = len(points) - len(finite)
    return finite, f", {broken} not finite" if broken else ""


def label_points(axes: Axes, points: list[Point], joined: set[str]) -> None:
    """Write each label where it meets no marker, bar, line or other label, or else where it meets least.

    The figure must have been drawn once, so that its layout is final.
    """
    pixels = axes.figure.dpi / 72
    taken, written = _boxes_of(axes, points, joined, pixels), np.empty((0, 4))
    for point in dict.fromkeys(point for point in points if point.label):
        place = point.across.mean, point.gain.mean
        style = {"textcoords": "offset points", "annotation_clip": False}
        text = axes.annotate(point.label, place, (0, 0), color=LOOK_OF[point.kind].color, **LABEL, **style)
        text.set_in_layout(False)
        extent = text.get_window_extent()
        center = axes.transData.transform(place)
        found = _best_place(center, np.array([extent.width, extent.height]), taken, written, axes)
        text.set_position(tuple((found.box.reshape(2, 2).mean(0) - center) / pixels))
        length = np.linalg.norm(found.end - center) / pixels
        if length > LEAST_LEADER:
            start = center + MARKER_POINTS / length * (found.end - center)
            axes.add_line(Line2D(*axes.transData.inverted().transform([start, found.end]).T, **LEADER))
        written = np.vstack([written, found.box])
        taken = np.vstack([taken, found.box, found.leader])


def _best_place(center: np.ndarray, size: np.ndarray, taken: np.ndarray, written: np.ndarray, axes: Axes) -> Place:
    """The place where a label meets least of what is taken, and its line least of what is written; near rather than far."""
    pixels = axes.figure.dpi / 72
    half = size / 2 + pixels / 2
    distances = np.repeat(DISTANCES, len(DIRECTIONS))
    centers = center + np.tile(DIRECTIONS, (len(DISTANCES), 1)) * (distances[:, None] * pixels + half * [1, 0.8])
    boxes = np.hstack([centers - half, centers + half])
    ends = np.clip(center, boxes[:, :2], boxes[:, 2:])
    leaders = _around(np.linspace(np.broadcast_to(center, ends.shape), ends, LEADER_PIECES, axis=1), pixels / 2)
    outside = 4 * half.prod() - _shared(boxes, np.array(axes.get_window_extent().extents)[None]).sum(1)
    cost = _shared(boxes, taken).sum(1) + 10 * outside
    cost += 10 * _shared(leaders.reshape(-1, 4), written).sum(1).reshape(len(boxes), -1).sum(1)
    best = int(np.argmin(cost + FARTHER * distances * pixels**2))
    return Place(boxes[best], ends[best], leaders[best])


def _shared(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Area that each box [box, (left, bottom, right, top)] shares with each of the others."""
    inner = np.minimum(boxes[:, None, 2:], others[None, :, 2:]) - np.maximum(boxes[:, None, :2], others[None, :, :2])
    return np.maximum(inner, 0).prod(axis=2)


def _boxes_of(axes: Axes, points: list[Point], joined: set[str], pixels: float) -> np.ndarray:
    """Boxes around markers, bars and pieces of the lines that join points or lie at 0, in pixels."""
    boxes = [np.empty((0, 4))]
    for x, y, *_ in points:
        center, ends = [(x.mean, y.mean)], [(x.low, y.mean), (x.high, y.mean), (x.mean, y.low), (x.mean, y.high)]
        boxes.append(_around(axes.transData.transform(center), MARKER_POINTS * pixels))
        bars = axes.transData.transform(ends)
        boxes.append(np.hstack([bars[::2], bars[1::2]]) + [-pixels, -pixels, pixels, pixels])
    for line in _lines_of(axes, points, joined):
        corners = axes.transData.transform(line)
        pieces = np.linspace(corners[:-1], corners[1:], PIECES).reshape(-1, 2)
        boxes.append(_around(pieces, pixels))
    return np.vstack(boxes)


def _lines_of(axes: Axes, points: list[Point], joined: set[str]) -> list[np.ndarray]:
    """Corners of the line at 0 and of those that join points of a kind."""
    lines = [np.array([(x, 0.0) for x in axes.get_xlim()])]
    for kind in sorted(joined):
        own = sorted((point for point in points if point.kind == kind), key=lambda point: point.across.mean)
        lines += [np.array([(point.across.mean, point.gain.mean) for point in own])] if len(own) > 1 else []
    return lines


def _around(centers: np.ndarray, half: float) -> np.ndarray:
    """A square box [..., (left, bottom, right, top)] around each center."""
    return np.concatenate([centers - half, centers + half], axis=-1)
