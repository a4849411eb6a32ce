"""Figure predictor_spectra: singular values of layers, the original's and the predicted ones."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from weightspace.predictor.figures.points import legend_of
from weightspace.predictor.figures.select import shared_label
from weightspace.report.names import cell_label
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


def plot_predictor_spectra(spectra: pd.DataFrame) -> Figure:
    """Singular values of up to six layers, original and predicted, of the first cells."""
    panels = panels_of(spectra)
    if not panels:
        return nothing_to_draw("Singular values: no predictor of this scenario has left any.")
    cells = list(dict.fromkeys(row["cell"] for rows in panels for row in rows))
    with house_style():
        figure, grid = small_multiples(len(panels), 2.0)
        for axes, rows in zip(grid, panels, strict=True):
            _draw_layer(axes, rows, dict(zip(cells, LOOKS, strict=False)))
            axes.set_title(f"{rows[0]['layer'].removesuffix('.weight')}, {shared_label([row['cell'] for row in rows])}")
        for axes in grid[::MAX_COLUMNS]:
            axes.set_ylabel("singular value")
        legend_of(figure, grid, 3)
        add_note(figure, NOTE)
    return figure


def panels_of(spectra: pd.DataFrame) -> list[list[dict]]:
    """Rows of one layer each, of cells that predict the same original; layers are spread over each original's."""
    originals = _by_original(spectra)[:MOST_ORIGINALS]
    panels = []
    for cells in originals:
        cells = cells[: MOST_CELLS // len(originals)]
        num_layers = len(cells[0])
        places = np.linspace(0, num_layers - 1, min(MOST_PANELS // len(originals), num_layers)).round().astype(int)
        panels += [[rows[place] for rows in cells] for place in places]
    return panels


def _by_original(spectra: pd.DataFrame) -> list[list[list[dict]]]:
    """Each cell's layers, of its first seed; cells of the same original, whose spectra are the same, together."""
    groups: list[list[list[dict]]] = []
    for _, cell in spectra.groupby("cell", sort=False):
        rows = cell[cell["seed"] == cell["seed"].iloc[0]].to_dict("records")
        same = [group for group in groups if _same_original(group[0], rows)]
        (same[0] if same else groups).append(rows if same else [rows])
    return groups


def _same_original(ours: list[dict], theirs: list[dict]) -> bool:
    """Whether two cells have the same layers with the same singular values, to a device's rounding."""
    if [(row["layer"], len(row["original"])) for row in ours] != [(row["layer"], len(row["original"])) for row in theirs]:
        return False
    return all(
        np.allclose(a["original"], b["original"], rtol=0, atol=1e-3 * max(a["original"]))
        for a, b in zip(ours, theirs, strict=True)
    )


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
        axes.plot(places, values, markevery=every, markerfacecolor=face, label=cell_label(row["cell"]), **line)
    axes.set(yscale="log", xlabel="rank of the singular value")
    axes.xaxis.set_major_locator(FixedLocator(np.linspace(1, len(original), min(len(original), 5)).round()))
