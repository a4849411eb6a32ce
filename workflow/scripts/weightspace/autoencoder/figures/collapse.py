"""Figure collapse: is a reconstruction its own original, a prototype of its init, or one of them all?"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from weightspace.report.intervals import Interval
from weightspace.report.names import wrapped
from weightspace.report.select import about, cells_of, describe, has_metric, interval_of, label_of, ratio_of
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

Series = tuple[str, str, str]  # label, metric, and the metric it is a share of, or nothing


class Panel(NamedTuple):
    """What one panel shows: series with intervals, and a line of means that they are read against."""

    title: str
    unit: str
    series: tuple[Series, ...]
    reference: Series
    line: str


def _agreement(images: str, queries: str) -> Panel:
    metrics = {"own original": "own", "others, same init": "same_init", "all others": "other"}
    series = tuple((label, f"agreement_{name}{queries}", "") for label, name in metrics.items())
    two_originals = ("two originals", f"agreement_originals{queries}", "")
    return Panel(f"Agreement on {images} with", "equal answers (%)", series, two_originals, "--")


PANELS = (
    _agreement("test images", ""),
    _agreement("mixed images", "_mixed"),
    Panel(
        "Retrieval of the own original by",
        "reconstructions nearest to their own original (%)",
        (
            ("weights", "retrieval_weights", ""),
            ("outputs", "retrieval_outputs", ""),
            ("outputs, mixed images", "retrieval_outputs_mixed", ""),
        ),
        ("chance given the init", "retrieval_chance", ""),
        ":",
    ),
    Panel(
        "Diversity left between reconstructions in",
        "share of the originals' diversity (%)",
        (
            ("weights", "diversity_reconstruction", "diversity_original"),
            ("outputs", "diversity_outputs_reconstruction", "diversity_outputs_original"),
        ),
        ("originals", "diversity_original", "diversity_original"),
        "-",
    ),
)
NOTE = (
    "Lines: mean agreement of two originals (dashed); retrieval by a code that knows the init and nothing else, 1 / number of "
    "originals of that init (dotted); the originals' diversity (solid). A faithful reconstruction agrees with its own original "
    "more than with others, is retrieved, and keeps diversity near 100 %. A prototype of all agrees with all alike, is retrieved "
    "as rarely as by chance (1 / number of models), and has little diversity. A prototype of the init agrees with its own "
    "original no more than with others of the same init, and is retrieved no more often than by chance given the init. Mixed "
    "images: blends of two test images of different classes. What is averaged over other models takes those as given. "
    "Baselines, below a rule, are computed and not trained."
)


def plot_collapse(rows: pd.DataFrame) -> Figure:
    """Agreement, retrieval and diversity of the reconstructions of each autoencoder and baseline, each beside its control."""
    cells = cells_of(rows, "autoencoder", "baseline")
    first_baseline = [place for place, cell in enumerate(cells) if about(rows, cell, "stage") == "baseline"][:1]
    with house_style():
        figure = Figure(figsize=(WIDTH_INCHES, 2 * (0.9 + 0.42 * len(cells))), layout="constrained")
        grid = figure.subplots(2, 2, sharey=True).ravel()
        for axes, panel in zip(grid, PANELS, strict=True):
            _draw_panel(axes, rows, cells, panel)
            for place in first_baseline:
                axes.axhline(place - 0.5, color="#555555", linewidth=0.6)
            if axes.get_legend_handles_labels()[0]:
                legend_above(axes, panel.title)
            else:
                axes.set_title(f"{panel.title}\n(not measured without images)")
            axes.set_xlabel(panel.unit)
            percent_axis(axes, "x")
        names = [f"{wrapped(label_of(rows, cell), 24)}\n{describe(rows, cell, 'weights_l2')}" for cell in cells]
        name_rows(grid[0], names)
        add_note(figure, f"{INTERVALS_NOTE} {NOTE}")
    return figure


def _draw_panel(axes: Axes, rows: pd.DataFrame, cells: list[str], panel: Panel) -> None:
    """Series that no cell has are left away: a scenario may measure fewer query sets, a zoo may share no inits."""
    offsets = np.linspace(-0.22, 0.22, len(panel.series))
    for look, offset, series in zip(LOOKS, offsets, panel.series, strict=False):
        places = [place for place, cell in enumerate(cells) if has_metric(rows, cell, series[1])]
        intervals = [_interval(rows, cells[place], series) for place in places]
        if intervals:
            draw_intervals(axes, np.array(places) + offset, intervals, look, series[0])
    _draw_reference(axes, rows, cells, panel)
    axes.margins(x=0.08)


def _draw_reference(axes: Axes, rows: pd.DataFrame, cells: list[str], panel: Panel) -> None:
    """One line from row to row; a cell of another zoo moves it."""
    places = [place for place, cell in enumerate(cells) if has_metric(rows, cell, panel.reference[1])]
    means = [_interval(rows, cells[place], panel.reference).mean for place in places]
    if places:
        look = {"color": "#555555", "linewidth": 0.9, "linestyle": panel.line, "zorder": 1}
        axes.plot(np.repeat(means, 2), np.add.outer(places, [-0.5, 0.5]).ravel(), label=panel.reference[0], **look)


def _interval(rows: pd.DataFrame, cell: str, series: Series) -> Interval:
    _, metric, over = series
    return ratio_of(rows, cell, metric, over) if over else interval_of(rows, cell, metric)
