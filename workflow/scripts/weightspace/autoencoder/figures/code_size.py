"""Figure code_size: how many numbers a network takes to come back as itself, and what learns or chooses them."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from weightspace.cells import plain_label
from weightspace.report.names import wrapped
from weightspace.report.select import about, cells_of, describe, has_metric, interval_of, label_of, value_matrix
from weightspace.report.style import (
    INTERVALS_NOTE,
    LOOKS,
    WIDTH_INCHES,
    add_note,
    draw_upright_intervals,
    house_style,
    nothing_to_draw,
    percent_axis,
)

NOTE = (
    "One marker per autoencoder or linear code; lines join those of one group. Dashed: what originals have. A reconstruction "
    "that is its original agrees with it fully. Refined: the code of each network is moved by gradient steps of its own, for its "
    "weights and its answers to train images."
)


MOST = 2 * len(LOOKS)  # lines that can be told apart: markers filled, then open


class Panel(NamedTuple):
    """What one panel shows."""

    title: str
    metric: str
    reference: str  # a metric of the originals, as a line
    line: str  # what it is


PANELS = (
    Panel("Agreement with the own original", "agreement_own", "agreement_originals", "two originals"),
    Panel("The same on blends of two images", "agreement_own_mixed", "agreement_originals_mixed", "two originals"),
    Panel("Test accuracy", "accuracy_reconstruction", "accuracy_original", "originals"),
)


def plot_code_size(rows: pd.DataFrame) -> Figure:
    """Agreement and accuracy of reconstructions against the numbers of the code: a row per zoo, a line per group of cells."""
    measured = ("code_numbers", *(metric for panel in PANELS for metric in (panel.metric, panel.reference)))
    cells = [
        cell for cell in cells_of(rows, "autoencoder", "baseline") if all(has_metric(rows, cell, metric) for metric in measured)
    ]
    if not cells:
        return nothing_to_draw("Size of the code: nothing here has a code and was measured on images.")
    groups: dict[str, list[str]] = {}
    for cell in cells:
        group = about(rows, cell, "group")
        groups.setdefault(label_of(rows, cell) if pd.isna(group) else group, []).append(cell)
    left_out = sum(len(own) for own in list(groups.values())[MOST:])
    groups = dict(list(groups.items())[:MOST])
    zoos = list(dict.fromkeys(_zoo_of(rows, cell) for own in groups.values() for cell in own))
    with house_style():
        figure = Figure(figsize=(WIDTH_INCHES, 2.4 * len(zoos) + 0.2 + 0.16 * len(groups)), layout="constrained")
        grid = figure.subplots(len(zoos), len(PANELS), squeeze=False)
        for line, zoo in zip(grid, zoos, strict=True):
            own = {name: [cell for cell in named if _zoo_of(rows, cell) == zoo] for name, named in groups.items()}
            for axes, panel in zip(line, PANELS, strict=True):
                _draw_panel(axes, rows, own, panel)
            line[0].set_ylabel("(%)" if len(zoos) == 1 else f"{plain_label(zoo)} (%)")
        named = {label: handle for axes in grid[:, 0] for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
        figure.legend(named.values(), named.keys(), loc="outside upper left", ncols=2)
        more = f" Left out: {left_out} more; `figures: code_size: cells:` says which are shown." if left_out else ""
        add_note(figure, f"{INTERVALS_NOTE} {NOTE}{more}")
    return figure


def _zoo_of(rows: pd.DataFrame, cell: str) -> str:
    """Name of a cell's zoo; empty where the table does not say."""
    zoo = about(rows, cell, "of")
    return "" if pd.isna(zoo) else str(zoo)


def _draw_panel(axes: Axes, rows: pd.DataFrame, groups: dict[str, list[str]], panel: Panel) -> None:
    """Lines of one zoo; a group without a cell there has its look all the same."""
    spread = np.geomspace(0.94, 1 / 0.94, len(groups)) if len(groups) > 1 else [1.0]
    sizes = {cell: float(value_matrix(rows, cell, "code_numbers").to_numpy().mean()) for own in groups.values() for cell in own}
    for place, (name, own) in enumerate(groups.items()):
        if not own:
            continue
        ordered = sorted(own, key=sizes.__getitem__)
        places = np.array([sizes[cell] for cell in ordered]) * spread[place]
        intervals = [interval_of(rows, cell, panel.metric) for cell in ordered]
        look = LOOKS[place % len(LOOKS)]._replace(filled=place < len(LOOKS))
        label = f"{name} ({describe(rows, ordered[0], panel.metric)})"
        draw_upright_intervals(axes, places, intervals, look, wrapped(label, 60))
    level = interval_of(rows, next(iter(sizes)), panel.reference).mean
    axes.axhline(level, color="#555555", linewidth=0.9, linestyle="--", zorder=0.5)
    axes.annotate(
        panel.line, (1, level), (0, 2), ("axes fraction", "data"), "offset points", ha="right", fontsize=6.5, color="#555555"
    )
    axes.set(xscale="log", xlabel="numbers per network", title=panel.title)
    axes.set_xticks(sorted(set(sizes.values())), [f"{size:g}" for size in sorted(set(sizes.values()))])
    axes.xaxis.set_minor_locator(NullLocator())
    percent_axis(axes, "y")
