"""Figure predictor_spectra: singular values of layers, the original's and the predicted ones."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from weightspace.predictor.figures.points import legend_of
from weightspace.predictor.figures.select import shared_label
from weightspace.report.style import LOOKS, MAX_COLUMNS, Look, add_note, house_style, nothing_to_draw, small_multiples

MOST_PANELS = 6
MOST_ORIGINALS = 2
MOST_CELLS = 4  # over all panels
FLOOR = 1e-4  # of the largest singular value of a panel
ORIGINAL = "#b4bcc4"
NOTE = (
    "Layers as matrices of filters by channels × kernel entries, spread evenly from the first to the last that is predicted. One "
    "original, the first, and one seed of each cell (n = 1), so no intervals. Values below 1e-4 of a panel's largest are drawn "
    "there."
)


def plot_predictor_spectra(rows: pd.DataFrame) -> Figure:
    """Singular values of up to six layers, original and predicted, of the first cells."""
    panels = panels_of(rows)
    if not panels:
        return nothing_to_draw("Singular values: no predictor of this scenario has left any.")
    cells = list(dict.fromkeys(row["cell"] for panel in panels for row in panel))
    with house_style():
        figure, grid = small_multiples(len(panels), 2.0)
        for axes, panel in zip(grid, panels, strict=True):
            _draw_layer(axes, panel, dict(zip(cells, LOOKS, strict=False)))
            axes.set_title(f"{panel[0]['layer'].removesuffix('.weight')}, {shared_label([row['label'] for row in panel])}")
        for axes in grid[::MAX_COLUMNS]:
            axes.set_ylabel("singular value")
        legend_of(figure, grid, 3)
        add_note(figure, NOTE)
    return figure


def panels_of(rows: pd.DataFrame) -> list[list[dict]]:
    """Rows of one layer each, of cells that predict the same original; layers are spread over each original's."""
    originals = _by_original(rows)[:MOST_ORIGINALS]
    panels = []
    for cells in originals:
        cells = cells[: MOST_CELLS // len(originals)]
        num_layers = len(cells[0])
        places = np.linspace(0, num_layers - 1, min(MOST_PANELS // len(originals), num_layers)).round().astype(int)
        panels += [[cell[place] for cell in cells] for place in places]
    return panels


def _by_original(rows: pd.DataFrame) -> list[list[list[dict]]]:
    """Each cell's layers, of its first seed; cells of the same originals together."""
    groups: dict[str, list[list[dict]]] = {}
    for _, cell in rows.groupby("cell", sort=False):
        first = cell[cell["seed"] == cell["seed"].iloc[0]]
        groups.setdefault(first["of"].iloc[0], []).append(first.to_dict("records"))
    return list(groups.values())


def _draw_layer(axes: Axes, rows: list[dict], looks: dict[str, Look]) -> None:
    floor = FLOOR * max(max(row["original"]) for row in rows)
    original = np.maximum(rows[0]["original"], floor)
    places = np.arange(1, len(original) + 1)
    axes.plot(places, original, color=ORIGINAL, linewidth=4, marker="o", markersize=5, label="original")
    for row in rows:
        look = looks[row["cell"]]
        line = {"color": look.color, "linestyle": look.line, "marker": look.marker, "linewidth": 1.0, "markersize": 3}
        face = look.color if look.filled else "white"
        values = np.maximum(row["predicted"], floor)
        every = max(1, len(values) // 8)
        axes.plot(places, values, markevery=every, markerfacecolor=face, label=row["label"], **line)
    axes.set(yscale="log", xlabel="rank of the singular value")
    axes.xaxis.set_major_locator(FixedLocator(np.linspace(1, len(original), min(len(original), 5)).round()))
