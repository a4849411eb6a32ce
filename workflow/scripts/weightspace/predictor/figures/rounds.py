"""Figure predictor_rounds: what progressive reconstruction does, round by round."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from weightspace.predictor.figures.points import gain_axis, legend_of
from weightspace.predictor.figures.select import (
    Entry,
    describe_entry,
    entries_with,
)
from weightspace.report.intervals import Interval
from weightspace.report.select import has_metric, interval_of, label_of, ratio_of
from weightspace.report.style import LOOKS, WIDTH_INCHES, add_note, draw_upright_intervals, house_style, nothing_to_draw

SIDESTEP = 0.06  # of one cell from the next, in rounds
NOTE = (
    "Each round fits a new predictor, from new initial weights, to what the one before put out; round 1 fits the original. All "
    "is against the own original (black line), for each original and seed. Stable rank: squared norm over squared largest "
    "singular value. High-frequency share: energy of the grid of kernels, in the predictor's order, above half the Nyquist "
    "frequency. Both are means over layers, and ratios of means. Bars: 95 % bootstrap intervals over originals and seeds, "
    "paired; with a single original or seed they are too narrow. Gains: linear within ±1 point, logarithmic beyond."
)


class Panel(NamedTuple):
    """One measurement of a round: its metric, and how it stands to the original's."""

    metric: str
    original: str | None  # metric that it is divided by
    label: str
    reference: float  # value of the original itself


PANELS = (
    Panel("accuracy_gain", None, "Accuracy gain (points)", 0.0),
    Panel("relative_error", None, "Relative error of the weights", 0.0),
    Panel("stable_rank_predicted", "stable_rank_original", "Stable rank / original's", 1.0),
    Panel(
        "high_frequency_share_ordered_predicted",
        "high_frequency_share_ordered_original",
        "High-frequency share / original's",
        1.0,
    ),
)


def plot_predictor_rounds(rows: pd.DataFrame) -> Figure:
    """Gain, error and smoothness after each round, one line per predictor cell of more than one round."""
    cells = {entry: rounds_of(rows, entry) for entry in entries_with(rows) if entry.kind == "predicted"}
    cells = {entry: rounds for entry, rounds in cells.items() if len(rounds) > 1}
    if not cells:
        return nothing_to_draw("Rounds: no predictor here has more than one.")
    shown = dict(list(cells.items())[: len(LOOKS)])
    measured = [panel for panel in PANELS if any(_has(rows, entry, panel, rounds) for entry, rounds in shown.items())]
    with house_style():
        lines = -(-len(measured) // 2)
        figure = Figure(figsize=(WIDTH_INCHES, 0.5 + 2.1 * lines), layout="constrained")
        grid = list(figure.subplots(lines, 2, squeeze=False).ravel())
        for axes, panel in zip(grid, measured, strict=False):
            _draw_panel(axes, rows, panel, shown)
        for spare in grid[len(measured) :]:
            spare.remove()
        legend_of(figure, grid[: len(measured)], 2)
        add_note(figure, f"{NOTE} {_left_out(len(cells) - len(shown))}")
    return figure


def rounds_of(rows: pd.DataFrame, entry: Entry) -> list[int]:
    """Rounds whose gain was measured, in order."""
    own = rows[(rows["cell"] == entry.cell) & (rows["stage"] == "predictor") & (rows["metric"] == "accuracy_gain")]
    return sorted(own["at"].dropna().astype(int).unique().tolist())


def interval_at(rows: pd.DataFrame, entry: Entry, panel: Panel, round_: int) -> Interval:
    """A panel's measurement after one round."""
    if panel.original is None:
        return interval_of(rows, entry.cell, panel.metric, round_)
    return ratio_of(rows, entry.cell, panel.metric, panel.original, round_)


def _draw_panel(axes: Axes, rows: pd.DataFrame, panel: Panel, cells: dict[Entry, list[int]]) -> None:
    drawn: list[Interval] = []
    for number, (entry, rounds) in enumerate(cells.items()):
        if not _has(rows, entry, panel, rounds):
            continue
        places = np.array(rounds) + SIDESTEP * (number - (len(cells) - 1) / 2)
        intervals = [interval_at(rows, entry, panel, round_) for round_ in rounds]
        drawn += intervals
        label = f"{label_of(rows, entry.cell)}: {describe_entry(rows, entry, 'accuracy_gain', rounds[0])}"
        draw_upright_intervals(axes, places, intervals, LOOKS[number], label)
    axes.axhline(panel.reference, color="black", linewidth=0.8, zorder=1)
    last = max(rounds[-1] for rounds in cells.values())
    axes.set(xlim=(0.5, last + 0.5), xlabel="round")
    axes.set_title(panel.label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if panel.metric == "accuracy_gain":
        gain_axis(axes, drawn)
    elif panel.original is None:
        axes.set_ylim(bottom=0)


def _has(rows: pd.DataFrame, entry: Entry, panel: Panel, rounds: list[int]) -> bool:
    """Whether a cell has a panel's measurement of every round, and of the original."""
    measured = all(has_metric(rows, entry.cell, panel.metric, round_) for round_ in rounds)
    return measured and (panel.original is None or has_metric(rows, entry.cell, panel.original))


def _left_out(number: int) -> str:
    return f"The first {len(LOOKS)} of {len(LOOKS) + number} cells." if number else ""
