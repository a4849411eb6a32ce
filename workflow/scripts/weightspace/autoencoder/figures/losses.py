"""Figure losses: the training curves of each autoencoder."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from weightspace.report.names import cell_label
from weightspace.report.style import LOOKS, Look, add_note, house_style, small_multiples
from weightspace.report.tables import cells_of

PARTS = ("total", "contrast", "structure", "behavior")
NOTE = (
    "One line per seed. Parts are unscaled, the total is weighted as trained; the unit is that of each loss. "
    "Mean since the previous point; parts that are 0 throughout are not drawn."
)


def plot_losses(metrics: pd.DataFrame) -> Figure:
    """Training loss and its parts against steps, one panel per autoencoder, one line per seed."""
    cells = cells_of(metrics, "autoencoder")
    curves = loss_curves(metrics)
    with house_style():
        figure, grid = small_multiples(len(cells), 2.2)
        for axes, cell in zip(grid, cells, strict=True):
            _draw_cell(axes, curves[curves["cell"] == cell], cell)
            axes.set(xlabel="training step", yscale="log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter(NullFormatter())
        grid[0].set_ylabel("training loss")
        handles = [Line2D([], [], color=look.color, linestyle=look.line) for look in LOOKS[: len(PARTS)]]
        figure.legend(handles, PARTS, loc="outside upper left", ncols=len(PARTS))
        add_note(figure, NOTE)
    return figure


def loss_curves(metrics: pd.DataFrame) -> pd.DataFrame:
    """Columns cell, seed, part, step, value: every point of every training curve, steps in order."""
    named = metrics["metric"].str.extract(r"^loss_([a-z]+)_step_(\d+)$")
    kept = named[0].notna() & (metrics["stage"] == "autoencoder")
    curves = metrics.loc[kept, ["cell", "seed", "value"]].assign(part=named.loc[kept, 0], step=named.loc[kept, 1].astype(int))
    return curves.sort_values("step", kind="stable")


def _draw_cell(axes: Axes, curves: pd.DataFrame, cell: str) -> None:
    for look, part in zip(LOOKS, PARTS, strict=False):
        _draw_part(axes, curves[curves["part"] == part], look)
    broken = int((~np.isfinite(curves["value"])).sum())
    seeds = curves["seed"].nunique()
    title = f"{seeds} seed{'s' * (seeds != 1)}{f', {broken} losses not finite' if broken else ''}"
    axes.set_title(f"{cell_label(cell, 32)}\n{title}", fontsize=7, linespacing=1.35)


def _draw_part(axes: Axes, curves: pd.DataFrame, look: Look) -> None:
    if curves["value"].eq(0).all():
        return
    for _, curve in curves.groupby("seed"):
        axes.plot(curve["step"], curve["value"], linestyle=look.line, color=look.color, linewidth=0.9, alpha=0.8)
