"""Figure losses: the training curves of each autoencoder."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from weightspace.autoencoder.settings import LOSSES
from weightspace.report.names import wrapped
from weightspace.report.select import cells_of, label_of
from weightspace.report.style import LOOKS, Look, add_note, house_style, small_multiples

PARTS = ("total", *LOSSES)
NOTE = (
    "One line per seed. Parts are unscaled, the total is weighted as trained; the unit is that of each loss. "
    "Mean since the previous point; parts that are 0 throughout are not drawn."
)


def plot_losses(rows: pd.DataFrame) -> Figure:
    """Training loss and its parts against steps, one panel per autoencoder, one line per seed."""
    cells = cells_of(rows, "autoencoder")
    curves = loss_curves(rows)
    with house_style():
        figure, grid = small_multiples(len(cells), 2.2)
        for axes, cell in zip(grid, cells, strict=True):
            _draw_cell(axes, curves[curves["cell"] == cell], label_of(rows, cell))
            axes.set(xlabel="training step", yscale="log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter(NullFormatter())
        grid[0].set_ylabel("training loss")
        drawn = [part for part in PARTS if curves.loc[curves["part"] == part, "value"].ne(0).any()]
        handles = [Line2D([], [], color=look.color, linestyle=look.line) for look in map(_look_of, drawn)]
        figure.legend(handles, drawn, loc="outside upper left", ncols=len(PARTS))
        add_note(figure, NOTE)
    return figure


def loss_curves(rows: pd.DataFrame) -> pd.DataFrame:
    """Columns cell, seed, part, at (a step), value: every point of every training curve, steps in order."""
    names = {f"loss_{part}": part for part in PARTS}
    kept = rows[(rows["stage"] == "autoencoder") & rows["metric"].isin(list(names))]
    return kept.assign(part=kept["metric"].map(names)).sort_values("at", kind="stable")


def _draw_cell(axes: Axes, curves: pd.DataFrame, label: str) -> None:
    for part in PARTS:
        _draw_part(axes, curves[curves["part"] == part], _look_of(part))
    broken = int((~np.isfinite(curves["value"])).sum())
    seeds = curves["seed"].nunique()
    title = f"{seeds} seed{'s' * (seeds != 1)}{f', {broken} losses not finite' if broken else ''}"
    axes.set_title(f"{wrapped(label, 32)}\n{title}", fontsize=7, linespacing=1.35)


def _look_of(part: str) -> Look:
    """One look per part: after the last color the first one comes again, with another line."""
    rounds, place = divmod(PARTS.index(part), len(LOOKS))
    return LOOKS[place]._replace(line=LOOKS[(place + rounds) % len(LOOKS)].line)


def _draw_part(axes: Axes, curves: pd.DataFrame, look: Look) -> None:
    if curves["value"].eq(0).all():
        return
    for _, curve in curves.groupby("seed"):
        axes.plot(curve["at"], curve["value"], linestyle=look.line, color=look.color, linewidth=0.9, alpha=0.8)
