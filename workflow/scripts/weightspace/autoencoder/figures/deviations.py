"""Figure deviations: what each setting by which an autoencoder differs from another does by itself."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from weightspace.report.names import wrapped
from weightspace.report.select import Side, about, cells_of, describe, has_metric, label_of, paired_interval
from weightspace.report.style import (
    LOOKS,
    WIDTH_INCHES,
    add_note,
    draw_intervals,
    house_style,
    name_rows,
    nothing_to_draw,
)

NOTE = (
    "A row is an autoencoder minus the one that it differs from by what the row says ({reference}, if no other is named), on the "
    "same test models, from the same seeds; {n}. Bars: 95 % intervals over models and seeds, paired (of retrieval, unpaired). "
    "Filled: the interval does not hold 0; of so many intervals one in twenty does not by chance alone. Where images differ, "
    "originals do too. Diversity: mean share of test images that two reconstructions answer unlike. Probe: R² of a linear probe "
    "for test accuracy from the embedding. Axes: linear to 1 point, or 0.01, logarithmic beyond."
)


LINEAR = 0.01  # up to this axes are linear: 1 point
POWERS = (0.01, 0.1, 1.0, 10.0, 100.0)  # one of which is marked on each side of 0


class Panel(NamedTuple):
    """What one panel shows."""

    title: str
    metric: str
    unit: str


PANELS = (
    Panel("Test accuracy of\nreconstructions", "accuracy_reconstruction", "points"),
    Panel("Agreement with\nthe own original", "agreement_own", "points"),
    Panel("Retrieval\nby weights", "retrieval_weights", "points"),
    Panel("Diversity of\nanswers", "diversity_outputs_reconstruction", "points"),
    Panel("Probe of test\naccuracy", "probe_r2_test_accuracy_embedding", "R²"),
)


class Pair(NamedTuple):
    """An autoencoder, and the one that it differs from."""

    cell: str
    reference: str


def plot_deviations(rows: pd.DataFrame) -> Figure:
    """Differences of accuracy, agreement, retrieval, diversity and probes: a row per autoencoder that names another."""
    pairs = pairs_of(rows)
    if not pairs:
        return nothing_to_draw("Deviations: no autoencoder here names another, `against: NAME`, that is shown too.")
    usual = pairs[0].reference
    with house_style():
        figure = Figure(figsize=(WIDTH_INCHES, 0.9 + 0.3 * len(pairs)), layout="constrained")
        grid = figure.subplots(1, len(PANELS), sharey=True)
        for axes, panel in zip(grid, PANELS, strict=True):
            _draw_panel(axes, rows, pairs, panel)
        name_rows(grid[0], [wrapped(_name(rows, pair, usual), 36) for pair in pairs])
        add_note(figure, NOTE.format(reference=label_of(rows, usual), n=describe(rows, usual, "weights_l2")))
    return figure


def pairs_of(rows: pd.DataFrame) -> list[Pair]:
    """Autoencoders that name another whose rows are there too, in order."""
    cells = cells_of(rows, "autoencoder")
    named = {cell: about(rows, cell, "against") for cell in cells} if "against" in rows else {}
    return [Pair(cell, other) for cell, other in named.items() if other in cells]


def _name(rows: pd.DataFrame, pair: Pair, usual: str) -> str:
    other = f" (minus {label_of(rows, pair.reference)})" if pair.reference != usual else ""
    return label_of(rows, pair.cell) + other


def _draw_panel(axes: Axes, rows: pd.DataFrame, pairs: list[Pair], panel: Panel) -> None:
    """Differences that are not measured of both are left away."""
    axes.axvline(0, color="#555555", linewidth=0.9, zorder=0.5)
    found = {
        place: paired_interval(rows, Side(pair.cell, panel.metric), Side(pair.reference, panel.metric), same_seeds=True)
        for place, pair in enumerate(pairs)
        if has_metric(rows, pair.cell, panel.metric) and has_metric(rows, pair.reference, panel.metric)
    }
    for away in (True, False):
        own = {place: each for place, each in found.items() if (each.low > 0 or each.high < 0) == away}
        if own:
            draw_intervals(axes, np.array(list(own)), list(own.values()), LOOKS[0]._replace(filled=away), "")
    axes.set_title(panel.title, fontsize=7)
    axes.set_xlabel(panel.unit)
    largest = max((max(abs(each.low), abs(each.high)) for each in found.values()), default=LINEAR)
    _scale(axes, largest, points=panel.unit == "points")


def _scale(axes: Axes, largest: float, points: bool) -> None:
    """One setting's effect may be a hundred times another's: linear about 0, logarithmic beyond."""
    reach = 1.4 * max(largest, LINEAR)
    axes.set_xscale("symlog", linthresh=LINEAR, linscale=0.5)
    axes.set_xlim(-reach, reach)
    largest = max(power for power in POWERS if power <= reach)
    axes.set_xticks([-largest, 0, largest], [f"{each * (100 if points else 1):g}" for each in (-largest, 0, largest)])
    axes.xaxis.set_minor_locator(NullLocator())
