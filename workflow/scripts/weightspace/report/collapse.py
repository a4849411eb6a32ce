"""Figure collapse: is a reconstruction its own original, or a prototype that resembles them all?"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from weightspace.report.intervals import Interval
from weightspace.report.names import LOSSES_NOTE, cell_label
from weightspace.report.style import (
    INTERVALS_NOTE,
    LOOKS,
    WIDTH_INCHES,
    add_note,
    draw_intervals,
    house_style,
    legend_above,
    name_rows,
    percent_axis,
)
from weightspace.report.tables import cell_interval, cells_of, describe_cell, has_metric, share_interval

Series = tuple[str, str, str]  # label, metric, and the metric it is a share of, or nothing
AGREEMENT = (
    ("own original", "agreement_own", ""),
    ("other originals", "agreement_other", ""),
    ("two originals", "agreement_originals", ""),
)
MIXED = tuple((label, f"{metric}_mixed", "") for label, metric, _ in AGREEMENT)
PANELS: tuple[tuple[str, str, tuple[Series, ...]], ...] = (
    ("Agreement on test images with", "equal answers (%)", AGREEMENT),
    ("Agreement on mixed images with", "equal answers (%)", MIXED),
    (
        "Retrieval of the own original by",
        "reconstructions nearest to their own original (%)",
        (
            ("weights", "retrieval_weights", ""),
            ("outputs", "retrieval_outputs", ""),
            ("outputs, mixed images", "retrieval_outputs_mixed", ""),
        ),
    ),
    (
        "Diversity left between reconstructions in",
        "share of the originals' diversity (%)",
        (
            ("weights", "diversity_reconstruction", "diversity_original"),
            ("outputs", "diversity_outputs_reconstruction", "diversity_outputs_original"),
        ),
    ),
)
NOTE = (
    f"{INTERVALS_NOTE} {LOSSES_NOTE} A faithful reconstruction agrees with its own original more than with others, is "
    "retrieved, and keeps diversity near 100 %. A prototype agrees with all alike, is retrieved as rarely as by chance "
    "(1 / number of models), and has little diversity. Mixed images: blends of two test images of different classes. "
    "What is averaged over other models takes those as given."
)


def plot_collapse(metrics: pd.DataFrame) -> Figure:
    """Agreement, retrieval and diversity of the reconstructions of each autoencoder, each beside its control."""
    cells = cells_of(metrics, "autoencoder")
    with house_style():
        figure = Figure(figsize=(WIDTH_INCHES, 2 * (0.8 + 0.42 * len(cells))), layout="constrained")
        grid = figure.subplots(2, 2, sharey=True).ravel()
        for axes, (title, unit, series) in zip(grid, PANELS, strict=True):
            _draw_panel(axes, metrics, cells, series)
            legend_above(axes, title)
            axes.set_xlabel(unit)
            percent_axis(axes, "x")
        name_rows(grid[0], [f"{cell_label(cell, 24)}\n{describe_cell(metrics, cell)}" for cell in cells])
        add_note(figure, NOTE)
    return figure


def _draw_panel(axes: Axes, metrics: pd.DataFrame, cells: list[str], series: tuple[Series, ...]) -> None:
    """Series that no cell has are left away: a scenario may measure fewer query sets."""
    offsets = np.linspace(-0.22, 0.22, len(series))
    for look, offset, (label, metric, over) in zip(LOOKS, offsets, series, strict=False):
        rows = [row for row, cell in enumerate(cells) if has_metric(metrics, cell, metric)]
        intervals = [_interval(metrics, cells[row], metric, over) for row in rows]
        if intervals:
            draw_intervals(axes, np.array(rows) + offset, intervals, look, label)
    axes.margins(x=0.08)


def _interval(metrics: pd.DataFrame, cell: str, metric: str, over: str) -> Interval:
    return share_interval(metrics, cell, metric, over) if over else cell_interval(metrics, cell, metric)
