"""Figure rate: at how many bytes a network is still itself, of codes and of plainer ways to make it small."""

from collections.abc import Mapping
from math import inf
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from weightspace.cells import plain_label
from weightspace.report.intervals import Interval
from weightspace.report.names import wrapped
from weightspace.report.select import about, cells_of, describe, has_metric, interval_of, label_of, value_matrix
from weightspace.report.style import (
    INTERVALS_NOTE,
    LOOKS,
    WIDTH_INCHES,
    Look,
    add_note,
    draw_upright_intervals,
    house_style,
    nothing_to_draw,
    percent_axis,
    plain_log_ticks,
)

ROWS = {"agreement_own": "agreement with original", "accuracy_reconstruction": "test accuracy"}
PLAIN = {  # kinds as in the figure of predictors
    "quantized": LOOKS[1],
    "pruned": LOOKS[2],
    "low_rank": LOOKS[3],
    "identity": Look("#000000", "P", True, (0, (1, 1))),
}
COLORS = {"autoencoder": LOOKS[0], "baseline": LOOKS[4]}  # of what has a code
MARKERS = "ov<^s>"  # of each color filled, then open
TITLE = "At how many bytes is a network still itself?"
FINEST = 0.005  # of answers
TICKS = (0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 1)
MANY = 1000.0  # networks that a decoder may be shared by
NOTE = (
    "Bytes: mean length of the string that a network is rebuilt from, and its share of what the receiver needs for all of them: "
    "the decoder and the grid in float32; names and shapes of networks that are made small one by one. Lines join what differs "
    "in bits or in the share that is kept; upward the scale is finer. Images that statistics of batch norms are measured on are "
    "not counted. Dashed: the originals."
)


class Point(NamedTuple):
    """One cell, at so many bits of its code where it has one."""

    cell: str
    at: int | None


class Line(NamedTuple):
    """Points of one method."""

    name: str
    look: Look | None  # of more lines than there are looks
    points: list[Point]


class Curve(NamedTuple):
    """What a line shows, point by point."""

    label: str
    look: Look
    code: np.ndarray  # bytes of each network
    shared: np.ndarray  # bytes of all together
    intervals: dict[str, list[Interval]]  # by metric


def plot_rate(rows: pd.DataFrame) -> Figure:
    """Agreement and accuracy of networks against their bytes, by how many share a decoder: two rows of panels per zoo."""
    found = lines_of(rows)
    lines = [line for line in found if line.look]
    if not lines:
        return nothing_to_draw("Rate: nothing here was rebuilt from bytes and measured on images.")
    zoos = list(dict.fromkeys(_zoo_of(rows, point) for line in lines for point in line.points))
    with house_style():
        figure = Figure(figsize=(WIDTH_INCHES, 4.2 * len(zoos) + 0.3 + 0.08 * len(lines)), layout="constrained")
        grid = figure.subplots(len(ROWS) * len(zoos), 3, squeeze=False, sharex="col", sharey="row")
        for zoo, panels in zip(zoos, np.split(grid, len(zoos)), strict=True):
            own = [line._replace(points=[p for p in line.points if _zoo_of(rows, p) == zoo]) for line in lines]
            own = [line for line in own if line.points]
            curves = [curve_of(rows, line) for line in own]
            first = value_matrix(rows, own[0].points[0].cell, "accuracy_original")
            models, originals = first.shape[1], float(first.to_numpy().mean())
            for (metric, said), line_of_panels in zip(ROWS.items(), panels, strict=True):
                for axes, share in zip(line_of_panels, shares(models), strict=True):
                    _draw_panel(axes, curves, metric, share)
                    if metric == "accuracy_reconstruction":
                        axes.axhline(originals, color="#555555", linewidth=0.9, linestyle="--", zorder=0.5)
                    axes.set_title(_title(share) if metric == next(iter(ROWS)) else "")
                line_of_panels[0].set_ylabel(f"{said} (%)" if len(zoos) == 1 else f"{plain_label(zoo)}, {said} (%)")
        for axes in grid[-1]:
            axes.set_xlabel("bytes per network")
        named = {label: handle for axes in grid[:, 0] for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
        figure.legend(named.values(), named.keys(), loc="outside upper left", ncols=2, title=TITLE, alignment="left")
        left_out = len(found) - len(lines)
        more = f" Left out: {left_out} more; `figures: rate: cells:` says which are shown." if left_out else ""
        add_note(figure, f"{INTERVALS_NOTE} {NOTE}{more}")
    return figure


def lines_of(rows: pd.DataFrame) -> list[Line]:
    """Methods that were measured in bytes: a cell at several bits, or the cells of a group."""
    named: dict[str, list[Point]] = {}
    for cell in cells_of(rows, "autoencoder", "baseline"):
        for at in _at(rows, cell):
            if all(has_metric(rows, cell, metric, at) for metric in ROWS):
                group = about(rows, cell, "group")
                name = label_of(rows, cell) if at is not None or pd.isna(group) else group
                named.setdefault(name, []).append(Point(cell, at))
    looks = looks_of(rows, {name: points[0].cell for name, points in named.items()})
    return [Line(name, looks.get(name), points) for name, points in named.items()]


def looks_of(rows: pd.DataFrame, cells: Mapping[str, str]) -> dict[str, Look]:
    """Looks of lines by the cell that each begins with: a color for autoencoders, one for linear codes, the plain kinds' own."""
    codes = {stage: [look._replace(marker=marker, filled=filled) for filled in (True, False) for marker in MARKERS]
             for stage, look in COLORS.items()}  # fmt: skip
    looks = {}
    for name, cell in cells.items():
        free = codes[str(about(rows, cell, "stage"))]
        look = PLAIN.get(str(about(rows, cell, "kind"))) or (free.pop(0) if free else None)
        looks |= {name: look} if look else {}
    return looks


def shares(models: int) -> list[float]:
    """Networks that a decoder is shared by, in each column: endlessly many, MANY, and those that were measured."""
    return [inf, MANY, float(models)]


def _at(rows: pd.DataFrame, cell: str) -> list[int | None]:
    """Bits that a cell's codes were rounded to; of one string for each network, no bits."""
    found = rows.loc[(rows["cell"] == cell) & (rows["metric"] == "bytes_code"), "at"].unique()
    return [None if pd.isna(at) else int(at) for at in found]


def _zoo_of(rows: pd.DataFrame, point: Point) -> str:
    """Name of a point's zoo; empty where the table does not say."""
    zoo = about(rows, point.cell, "of")
    return "" if pd.isna(zoo) else str(zoo)


def _title(share: float) -> str:
    return "Code alone" if share == inf else f"Decoder shared by {share:,.0f} networks"


def curve_of(rows: pd.DataFrame, line: Line) -> Curve:
    """What a line's points measure, in the order of their bytes."""
    sizes = [
        [value_matrix(rows, p.cell, name, p.at).to_numpy().mean() for p in line.points] for name in ("bytes_code", "bytes_shared")
    ]
    code, shared = np.array(sizes)
    order = np.argsort(code, kind="stable")
    points = [line.points[place] for place in order]
    intervals = {metric: [interval_of(rows, point.cell, metric, point.at) for point in points] for metric in ROWS}
    described = describe(rows, points[0].cell, "bytes_code", points[0].at)
    return Curve(wrapped(f"{line.name} ({described})", 60), line.look, code[order], shared[order], intervals)


def _draw_panel(axes: Axes, curves: list[Curve], metric: str, share: float) -> None:
    for curve in curves:
        draw_upright_intervals(axes, curve.code + curve.shared / share, curve.intervals[metric], curve.look, curve.label)
    axes.set_xscale("log")
    plain_log_ticks(axes.xaxis, (1, 3))
    axes.set_yscale("function", functions=(_nearness, _share))
    axes.set_yticks([tick for tick in TICKS if tick >= axes.get_ylim()[0]])
    percent_axis(axes, "y")


def _nearness(shares: np.ndarray) -> np.ndarray:
    """What is missing to 100 %, on a logarithmic scale that ends at FINEST."""
    return -np.log10(np.maximum(1 - np.asarray(shares), 0) + FINEST)


def _share(nearness: np.ndarray) -> np.ndarray:
    return 1 + FINEST - 10.0 ** -np.asarray(nearness)
