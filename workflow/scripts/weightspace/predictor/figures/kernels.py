"""Figure predictor_kernels: kernels of the original, the predicted ones, and their difference, as images."""

from itertools import groupby
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from weightspace.report.style import WIDTH_INCHES, add_note, house_style, nothing_to_draw

MOST_CELLS = 4
MOST_KERNELS = 14
COLORS = "RdBu_r"
PALE, DARK = -0.2, -0.55  # weights below the first have a dash, below the second a white one
FEW_LAYERS = 5  # whose names fit side by side
ROWS = ("original", "predicted", "difference")
NOTE = (
    "One original, the first, and one seed of each cell (n = 1), so no intervals. Kernels are spread evenly over those of the "
    "table. Difference: predicted minus original. All three are over the largest weight of the kernels shown of a layer, "
    "original or predicted, and have one scale of colors; darker is larger, and a dash marks weights below -0.2. "
    "Differences beyond ±1 are drawn as ±1."
)


class Strip(NamedTuple):
    """Kernels side by side, in three rows, and where each layer's begin and end."""

    image: np.ndarray  # nan between kernels
    layers: list[tuple[str, float, float]]  # name, first and last column
    rows: list[float]  # middle of each of ROWS
    num_kernels: int


def plot_predictor_kernels(rows: pd.DataFrame) -> Figure:
    """Up to fourteen kernels of up to four cells: original, predicted, difference."""
    cells = shown_cells(rows)
    if not cells:
        return nothing_to_draw("Kernels: no predictor of this scenario has left any.")
    with house_style():
        figure = Figure(figsize=(WIDTH_INCHES, 0.2 + 1.75 * len(cells)), layout="constrained")
        grid = figure.subplots(len(cells), squeeze=False)[:, 0]
        for axes, own in zip(grid, cells, strict=True):
            strip = strip_of(spread_kernels(own))
            _draw_strip(axes, strip)
            axes.set_title(f"{own['label'].iloc[0]}: {strip.num_kernels} of {len(own)} kernels of the table")
        scale = ScalarMappable(Normalize(-1, 1), COLORS)
        figure.colorbar(scale, ax=grid, label="weight / largest", ticks=[-1, 0, 1], pad=0.01, aspect=18 * len(cells))
        add_note(figure, NOTE)
    return figure


def shown_cells(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """Rows of the first seed of each of the first cells."""
    return [own[own["seed"] == own["seed"].iloc[0]] for _, own in rows.groupby("cell", sort=False)][:MOST_CELLS]


def spread_kernels(rows: pd.DataFrame) -> list[dict]:
    """Kernels spread evenly over those of one cell, in the table's order, the first and the last included."""
    places = np.linspace(0, len(rows) - 1, min(MOST_KERNELS, len(rows))).round().astype(int)
    return rows.iloc[places].to_dict("records")


def scaled_kernels(rows: list[dict]) -> list[np.ndarray]:
    """Original, predicted and difference [row, side, side] of kernels of one layer, over their largest weight."""
    pairs = [np.array([row["original"], row["predicted"]], float).reshape(2, row["side"], row["side"]) for row in rows]
    largest = max(np.abs(pair).max() for pair in pairs) or 1.0
    return [np.concatenate([pair, pair[1:] - pair[:1]]) / largest for pair in pairs]


def strip_of(kernels: list[dict]) -> Strip:
    """All kernels in one image, layer by layer; smaller kernels are in the middle of the place that the largest need."""
    side = max(kernel["side"] for kernel in kernels)
    columns, layers, begin = [], [], 0
    for layer, rows in groupby(kernels, key=lambda kernel: kernel["layer"]):
        found = [_framed(triple, side) for triple in scaled_kernels(list(rows))]
        width = len(found) * (side + 1)
        columns += [*found, np.full((3, side + 1, 1), np.nan)]
        layers.append((layer, begin, begin + width - 1))
        begin += width + 1
    image = np.concatenate(columns, axis=2).reshape(-1, begin)
    room = MOST_KERNELS * (side + 1) + min(MOST_KERNELS, len(layers)) - begin  # so that few kernels are no larger than many
    image = np.pad(image, ((0, 0), (0, max(0, room))), constant_values=np.nan)
    return Strip(image, layers, [(side - 1) / 2 + place * (side + 1) for place in range(3)], len(kernels))


def _framed(triple: np.ndarray, side: int) -> np.ndarray:
    """A blank row and column below and right of each kernel, and around one that is smaller than `side`."""
    before = (side - triple.shape[-1]) // 2
    after = side - triple.shape[-1] - before + 1
    return np.pad(triple, ((0, 0), (before, after), (before, after)), constant_values=np.nan)


def _draw_strip(axes: Axes, strip: Strip) -> None:
    axes.imshow(strip.image, cmap=COLORS, vmin=-1, vmax=1, interpolation="nearest")
    for least, most, color in ((-np.inf, DARK, "white"), (DARK, PALE, "black")):
        rows, columns = np.nonzero((strip.image >= least) & (strip.image < most))
        axes.plot(columns, rows, linestyle="none", marker="_", markersize=2.5, markeredgewidth=0.5, color=color)
    axes.set_yticks(strip.rows, ROWS)
    axes.set_xticks(
        [(first + last - 1) / 2 for _, first, last in strip.layers], [name.removesuffix(".weight") for name, _, _ in strip.layers]
    )
    if len(strip.layers) > FEW_LAYERS:
        axes.tick_params("x", labelrotation=40)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
