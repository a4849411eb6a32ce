"""Figure generation_plane: are generated networks better than noise, or soups, that are as new as they are?"""

from math import ceil

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from weightspace.generation.frontier import OF_NOISE, pareto
from weightspace.generation.over_runs import Measured, interval_over_runs, weighted_mean
from weightspace.generation.verdict import VERDICTS, Judged, judged_from
from weightspace.report.intervals import Interval
from weightspace.report.select import cells_of, label_of
from weightspace.report.style import (
    LOOKS,
    WIDTH_INCHES,
    Look,
    add_note,
    draw_crossed_intervals,
    house_style,
    legend_above,
    percent_axis,
)

SAMPLES, SOUPS, HELD_OUT, LINES, OTHERS = LOOKS
GROUPS = {  # of rivals that are no noise, by kind
    "soup": (SOUPS, "soups"),
    "line": (LINES, "lines between two"),
    "gaussian": (OTHERS, "normal draws, flow"),
    "pca_gaussian": (OTHERS, "normal draws, flow"),
    "flow": (OTHERS, "normal draws, flow"),
}
NOTE = (
    "Across: similarity of mistakes with the train network where it is largest, images that both get wrong over images that one "
    "of them does; farther left is newer. Up: accuracy on test images, before fine-tuning. Large markers: means of a set of "
    "networks with 95 % intervals over runs. Points: single networks. Line: the front of anchors under noise of growing size; "
    "a set on or below it is no more than noise at equal similarity. Similarity depends on accuracy: compare at equal height."
)


def plot_generation_plane(rows: pd.DataFrame) -> Figure:
    """Accuracy over similarity of mistakes: generated networks, rivals, held-out networks, the noise front; a panel per cell."""
    cells = cells_of(rows, "generation")
    with house_style():
        columns, lines = min(2, len(cells)), ceil(len(cells) / 2)
        figure = Figure(figsize=(WIDTH_INCHES, 3.6 * lines), layout="constrained")
        panels = list(figure.subplots(lines, columns, squeeze=False).ravel())
        for spare in panels[len(cells) :]:
            spare.remove()
        for axes, cell in zip(panels, cells, strict=False):
            judged = judged_from(rows, cell)
            _draw(axes, judged, cell)
            word = VERDICTS[judged.verdict(cell).number]
            legend_above(axes, f"{label_of(rows, cell)}: better than noise that is as new?\n{word}", 2)
        add_note(figure, NOTE)
    return figure


def _draw(axes: Axes, judged: Judged, cell: str) -> None:
    for own, look in ((judged.held_out, HELD_OUT), (judged.sets[cell], SAMPLES)):
        axes.plot(own.similarity, own.accuracy, look.marker, color=look.color, markersize=2, alpha=0.3, markeredgewidth=0)
    noise = [own for name, own in judged.sets.items() if judged.kinds[name] in OF_NOISE]
    if noise:
        points = np.array([(own.similarity.mean(), own.accuracy.mean()) for own in noise])
        axes.plot(*pareto(*points.T), HELD_OUT.line, color="black", marker=".", label="front of noise")
    named = set()
    for name, own in judged.sets.items():
        if (group := GROUPS.get(judged.kinds[name])) is not None:
            look, label = group
            _draw_mean(axes, own, look, "_" if label in named else label)
            named.add(label)
    _draw_mean(axes, judged.held_out, HELD_OUT, "held-out networks")
    _draw_mean(axes, judged.sets[cell], SAMPLES, "generated networks")
    axes.set(xlabel="similarity of mistakes (%)", ylabel="accuracy on test images (%)", ylim=(0, 1), xlim=(0, 1.02))
    for which in "xy":
        percent_axis(axes, which)


def _draw_mean(axes: Axes, own: Measured, look: Look, label: str) -> None:
    draw_crossed_intervals(axes, mean_over_runs(own.similarity, own.runs), mean_over_runs(own.accuracy, own.runs), look, label)


def mean_over_runs(values: np.ndarray, runs: np.ndarray) -> Interval:
    """A mean with its interval over runs; of one run it has none."""
    interval = interval_over_runs(lambda counts: weighted_mean(values, counts), [runs])
    return interval if np.isfinite(interval.low) else interval._replace(low=interval.mean, high=interval.mean)
