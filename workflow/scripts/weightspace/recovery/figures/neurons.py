"""Figure recovery_neurons: incoming weights of units, the teacher's beside the recovered ones."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure

from weightspace.report.style import LOOKS, WIDTH_INCHES, add_note, house_style, nothing_to_draw

MOST_CELLS = 2
MOST_UNITS = 8
IN_A_ROW = 4
MOST_CHANNELS = 3
COLORS = "RdBu_r"
NOTE = (
    "First layer, one teacher and one seed per cell, so no intervals. Units are spread evenly from the smallest to the "
    "largest angle among the units of the table, both included. Written: angle between the teacher's and the recovered "
    "incoming weights. Weights are over the largest of the pair; signs and scales that change no output are taken out."
)
IMAGES_NOTE = "Left the teacher's, right the recovered; of several channels the first three, below one another."


class Pair(NamedTuple):
    """One unit's incoming weights over the largest of both: the teacher's, and the recovered ones if any."""

    teacher: np.ndarray
    recovered: np.ndarray | None
    angle_degrees: float


def plot_recovery_neurons(rows: pd.DataFrame) -> Figure:
    """Pairs of incoming weights of up to two cells: as images where inputs are images, else as profiles."""
    cells = shown_cells(rows)
    if not cells:
        return nothing_to_draw("Weights of units: no recovery of this scenario has a teacher whose weights are known.")
    as_images = is_image(cells[0].iloc[0]["shape"])
    pairs = [[pair_of(row) for row in spread_units(cell)] for cell in cells]
    heights = [0.5 + (1.0 if as_images else 1.15) * -(-len(units) // IN_A_ROW) for units in pairs]
    with house_style():
        figure = Figure(figsize=(WIDTH_INCHES, sum(heights)), layout="constrained")
        parts = figure.subfigures(len(cells), 1, squeeze=False, height_ratios=heights)[:, 0]
        for part, cell, units in zip(parts, cells, pairs, strict=True):
            (_draw_images if as_images else _draw_profiles)(part, units)
            part.suptitle(f"{cell.iloc[0]['label']}: {len(units)} of {len(cell)} units", x=0.01, ha="left", fontsize=8)
        add_note(figure, f"{NOTE} {IMAGES_NOTE}" if as_images else NOTE)
    return figure


def shown_cells(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """First layers of the first cells whose inputs are images; of the first cells where none has images."""
    cells = [cell[cell["layer"] == cell["layer"].min()] for _, cell in rows.groupby("cell", sort=False)]
    images = [cell for cell in cells if is_image(cell.iloc[0]["shape"])]
    return (images or cells)[:MOST_CELLS]


def is_image(shape: np.ndarray) -> bool:
    """Whether weights of this shape, channel, height and width, can be seen as an image."""
    return bool(min(shape[1:]) > 1)


def spread_units(rows: pd.DataFrame) -> list[pd.Series]:
    """Units of one layer spread evenly over the order of their angles, best and worst included; missing ones are worst."""
    ordered = rows.sort_values("angle_degrees", kind="stable", na_position="last")
    places = np.unique(np.linspace(0, len(ordered) - 1, min(MOST_UNITS, len(ordered))).round().astype(int))
    return [ordered.iloc[place] for place in places]


def pair_of(row: pd.Series) -> Pair:
    """Both weights [channel, height, width] of one unit, over the largest of them."""
    teacher = np.asarray(row["teacher"], float).reshape(row["shape"])
    found = row["recovered"] is not None and len(row["recovered"]) > 0
    recovered = np.asarray(row["recovered"], float).reshape(row["shape"]) if found else None
    largest = max([np.abs(part).max() for part in (teacher, recovered) if part is not None]) or 1.0
    return Pair(teacher / largest, recovered / largest if found else None, row["angle_degrees"])


def angle_text(pair: Pair) -> str:
    """The angle of a pair, or that there is none."""
    if pair.recovered is None:
        return "not found"
    return f"{pair.angle_degrees:.0f}°" if pair.angle_degrees >= 10 else f"{pair.angle_degrees:.2g}°"


def side_by_side(pair: Pair) -> np.ndarray:
    """The teacher's image, a gap, the recovered one; nan is blank."""
    height, width = pair.teacher[:MOST_CHANNELS].reshape(-1, pair.teacher.shape[-1]).shape
    blank = np.full((height, width), np.nan)
    right = blank if pair.recovered is None else pair.recovered[:MOST_CHANNELS].reshape(height, width)
    return np.hstack([pair.teacher[:MOST_CHANNELS].reshape(height, width), blank[:, : 1 + width // 10], right])


def _draw_images(part: SubFigure, pairs: list[Pair]) -> None:
    rows = -(-len(pairs) // IN_A_ROW)
    grid = part.subplots(rows, IN_A_ROW, squeeze=False)
    for axes in grid.ravel():
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    for pair, axes in zip(pairs, grid.ravel(), strict=False):
        axes.imshow(side_by_side(pair), cmap=COLORS, vmin=-1, vmax=1)
        axes.set_xlabel(angle_text(pair))
    scale = ScalarMappable(Normalize(-1, 1), COLORS)
    part.colorbar(scale, ax=grid, label="weight / largest of the pair", ticks=[-1, 0, 1], pad=0.01, aspect=12 * rows)


def _draw_profiles(part: SubFigure, pairs: list[Pair]) -> None:
    rows = -(-len(pairs) // IN_A_ROW)
    grid = part.subplots(rows, IN_A_ROW, squeeze=False, sharey=True)
    for axes in grid.ravel()[len(pairs) :]:
        axes.axis("off")
    for pair, axes in zip(pairs, grid.ravel(), strict=False):
        _draw_profile(axes, pair)
    grid[0, 0].set_ylabel("weight / largest")
    part.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=2)


def _draw_profile(axes: Axes, pair: Pair) -> None:
    places = np.arange(pair.teacher.size)
    axes.axhline(0, color="#bbbbbb", linewidth=0.6)
    axes.bar(places, pair.teacher.ravel(), width=0.7, color="#c5ccd3", label="teacher")
    if pair.recovered is not None:
        look = LOOKS[1]
        axes.plot(places, pair.recovered.ravel(), look.marker, color=look.color, markersize=3, label="recovered")
    axes.set(ylim=(-1.1, 1.1), xlabel=f"input entry; {angle_text(pair)}", xticks=places[:: 1 + len(places) // 8])
