"""Figure rate: at how many bytes a network is still itself, of codes and of plainer ways to make it small."""

from collections.abc import Mapping
from math import inf
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from weightspace.cells import plain_label
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
MANY = 1000  # networks that a decoder may be shared by
NOTE = (
    "Bytes: mean length of the string that a network is rebuilt from, and its share of what the receiver needs for all of them: "
    "the decoder and the grid in float32; names and shapes of networks that are made small one by one. Lines join what differs "
    "in bits or in the share that is kept; upward the scale is finer. Images that statistics of batch norms are measured on are "
    "not counted."
)


class Point(NamedTuple):
    """One cell, at so many bits of its code where it has one."""

    cell: str
    at: int | None


class Line(NamedTuple):
    """Points of one method."""

    name: str
    look: Look
    points: list[Point]


def plot_rate(rows: pd.DataFrame) -> Figure:
    """Agreement and accuracy of networks against their bytes, by how many share a decoder: two rows of panels per zoo."""
    lines = lines_of(rows)
    if not lines:
        return nothing_to_draw("Rate: nothing here was rebuilt from bytes and measured on images.")
    zoos = list(dict.fromkeys(_zoo_of(rows, point) for line in lines for point in line.points))
    with house_style():
        figure = Figure(figsize=(WIDTH_INCHES, 4.2 * len(zoos) + 0.3 + 0.08 * len(lines)), layout="constrained")
        grid = figure.subplots(len(ROWS) * len(zoos), 3, squeeze=False, sharex="col", sharey="row")
        for zoo, panels in zip(zoos, np.split(grid, len(zoos)), strict=True):
            own = [line._replace(points=[p for p in line.points if _zoo_of(rows, p) == zoo]) for line in lines]
            own = [line for line in own if line.points]
            models = value_matrix(rows, own[0].points[0].cell, "bytes_code", own[0].points[0].at).shape[1]
            for (metric, said), line_of_panels in zip(ROWS.items(), panels, strict=True):
                for axes, share in zip(line_of_panels, shares(models), strict=True):
                    _draw_panel(axes, rows, own, metric, share)
                    axes.set_title(_title(share) if metric == next(iter(ROWS)) else "")
                line_of_panels[0].set_ylabel(f"{said} (%)" if len(zoos) == 1 else f"{plain_label(zoo)}, {said} (%)")
        for axes in grid[-1]:
            axes.set_xlabel("bytes per network")
        named = {label: handle for axes in grid[:, 0] for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
        figure.legend(named.values(), named.keys(), loc="outside upper left", ncols=2, title=TITLE, alignment="left")
        add_note(figure, f"{INTERVALS_NOTE} {NOTE}")
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
    return [Line(name, look, named[name]) for name, look in looks_of(rows, {n: p[0].cell for n, p in named.items()}).items()]


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
    return [inf, MANY, models]


def bytes_of(rows: pd.DataFrame, point: Point, share: float) -> float:
    """Mean bytes of a network, if so many share what can be shared."""
    code, shared = (value_matrix(rows, point.cell, name, point.at).to_numpy().mean() for name in ("bytes_code", "bytes_shared"))
    return float(code + shared / share)


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


def _draw_panel(axes: Axes, rows: pd.DataFrame, lines: list[Line], metric: str, share: float) -> None:
    for line in lines:
        places = np.array([bytes_of(rows, point, share) for point in line.points])
        order = np.argsort(places, kind="stable")
        points = [line.points[place] for place in order]
        intervals = [interval_of(rows, point.cell, metric, point.at) for point in points]
        label = f"{line.name} ({describe(rows, points[0].cell, metric, points[0].at)})"
        draw_upright_intervals(axes, places[order], intervals, line.look, wrapped(label, 60))
    if metric == "accuracy_reconstruction":
        level = interval_of(rows, lines[0].points[0].cell, "accuracy_original").mean
        axes.axhline(level, color="#555555", linewidth=0.9, linestyle="--", zorder=0.5)
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
