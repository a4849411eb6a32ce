"""Figure generation_fine_tuning: is a generated network more than its anchors, and do plainer ways get as far?"""

from collections.abc import Sequence
from math import ceil

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from weightspace.cells import plain_label
from weightspace.report.names import wrapped
from weightspace.report.select import about, cells_of, describe, interval_of, label_of
from weightspace.report.style import LOOKS, WIDTH_INCHES, Look, add_note, house_style, percent_axis

COLUMNS = 2
SAMPLES = "generated"  # what samples are called in the legend
SHIFT = 0.025  # between lines that would lie on each other, in epochs' places
QUESTION = "Is a generated network more than its anchors, and do plainer ways get as far?"
NOTE = (
    "Lines: means over networks and seeds, with bands of 95 % intervals. Epoch 0 is before fine-tuning; all networks of a panel "
    "are trained on the same images in the same order. Of a kind of rival that is there with several numbers (noise, soups), the "
    "one is shown whose accuracy on val images is the highest before fine-tuning; the panel says which."
)


def plot_fine_tuning(rows: pd.DataFrame) -> Figure:
    """Test accuracy of generated networks and of their rivals over epochs of fine-tuning, one panel per cell."""
    cells = cells_of(rows, "generation")
    lines = {cell: _lines(rows, cell) for cell in cells}
    looks = _looks(list(dict.fromkeys(kind for shown in lines.values() for kind in shown)))
    columns = min(COLUMNS, len(cells))
    with house_style():
        height = 2.5 * ceil(len(cells) / columns) + 0.3 + 0.2 * ceil(len(looks) / 5)
        figure = Figure(figsize=(WIDTH_INCHES, height), layout="constrained")
        grid = figure.subplots(ceil(len(cells) / columns), columns, squeeze=False, sharey=True).ravel()
        for axes, cell in zip(grid, cells, strict=False):
            _draw_cell(axes, rows, cell, lines[cell], looks)
        for spare in grid[len(cells) :]:
            spare.remove()
        for axes in grid[::columns]:
            axes.set_ylabel("test accuracy (%)")
        handles = dict(zip(looks, (_handle(grid[0], kind, look) for kind, look in looks.items()), strict=True))
        names = [plain_label(kind) for kind in handles]
        figure.legend(handles.values(), names, loc="outside upper left", ncols=5, title=QUESTION, alignment="left")
        add_note(figure, NOTE)
    return figure


def _lines(rows: pd.DataFrame, cell: str) -> dict[str, str]:
    """The cells of one panel by what the legend calls them: the samples, and of each kind of rival the best by val images."""
    rivals = rows[(rows["stage"] == "generation_rival") & (rows["of"] == cell)]
    start = rivals[(rivals["metric"] == "val_accuracy") & (rivals["at"] == 0)]
    means = start.groupby(["kind", "cell"], sort=False)["value"].mean()
    best = {kind: own.idxmax()[1] for kind, own in means.groupby("kind", sort=False)}
    return {SAMPLES: cell} | best


def _looks(kinds: Sequence[str]) -> dict[str, Look]:
    """A look for each kind, the same in every panel; markers of further ones are open."""
    return {kind: LOOKS[n % len(LOOKS)]._replace(filled=n < len(LOOKS)) for n, kind in enumerate(kinds)}


def _draw_cell(axes: Axes, rows: pd.DataFrame, cell: str, lines: dict[str, str], looks: dict[str, Look]) -> None:
    epochs = sorted(rows.loc[(rows["cell"] == cell) & (rows["metric"] == "accuracy"), "at"].unique())
    told = []
    for n, (kind, name) in enumerate(reversed(lines.items())):  # the samples last, above the others
        places, look = np.arange(len(epochs)) + SHIFT * (n - len(lines) / 2), looks[kind]
        intervals = [interval_of(rows, name, "accuracy", int(epoch)) for epoch in epochs]
        axes.fill_between(
            places, [each.low for each in intervals], [each.high for each in intervals], color=look.color, alpha=0.2, linewidth=0
        )
        style = _style(look) | {"linewidth": 2.0 if kind == SAMPLES else 1.0}
        axes.plot(places, [each.mean for each in intervals], **style)
        if number := _number(rows, name):
            told.insert(0, f"{plain_label(kind)} {number}")
    title = f"{label_of(rows, cell)} ({describe(rows, cell, 'accuracy', 0)})"
    axes.set_title("\n".join([wrapped(title, 60), *([", ".join(told)] if told else [])]))
    axes.set_xticks(range(len(epochs)), [f"{epoch:g}" for epoch in epochs])
    axes.set_xlabel("epochs of fine-tuning")
    percent_axis(axes, "y")


def _number(rows: pd.DataFrame, cell: str) -> str:
    """The number by which a rival is told from others of its kind."""
    found = [about(rows, cell, key) for key in ("size", "members") if key in rows.columns]
    return "".join(f"{value:g}" for value in found if pd.notna(value))


def _style(look: Look) -> dict[str, object]:
    face = look.color if look.filled else "white"
    return {"color": look.color, "linestyle": look.line, "marker": look.marker, "markerfacecolor": face}


def _handle(axes: Axes, kind: str, look: Look) -> object:
    return axes.plot([], [], **_style(look), linewidth=2.0 if kind == SAMPLES else 1.0)[0]
