"""Figure recovery_coverage: how many units of the teachers are recovered, and how exactly."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from weightspace.recovery.figures.select import FEW_TEACHERS, Group, describe_group, grouped, recoveries_with
from weightspace.recovery.metrics import COVERAGES
from weightspace.report.select import interval_of, value_matrix
from weightspace.report.style import (
    LOOKS,
    WIDTH_INCHES,
    Look,
    add_note,
    house_style,
    legend_above,
    nothing_to_draw,
    percent_axis,
)

EXPONENTS = COVERAGES[::-1]
FIRST = f"coverage_1e-{EXPONENTS[0]}"
NOTE = (
    "A unit's cosine distance is that of its incoming weights and bias to those of the recovered unit it is matched with, one "
    "to one; signs and scales that change no output are taken out. Distance 1e-3 is an angle of 2.6°, 1e-12 one of 8e-5°. "
    "Lines: mean share over teachers and seeds. Bands: its 95 % interval for proportions, teachers as clusters "
    "(Clopper and Pearson); none of fewer than five teachers."
)


def plot_recovery_coverage(rows: pd.DataFrame) -> Figure:
    """Share of units nearer than a threshold against the threshold, one line per recovery or per expansion factor."""
    cells = recoveries_with(rows, FIRST)
    if not cells:
        return nothing_to_draw("Coverage of units: no recovery here has a teacher whose weights are known.")
    groups = grouped(rows, cells, len(LOOKS))
    panels = [groups[begin : begin + len(LOOKS)] for begin in range(0, len(groups), len(LOOKS))]
    with house_style():
        figure = Figure(figsize=(WIDTH_INCHES, 3.2 * len(panels)), layout="constrained")
        for axes, panel in zip(figure.subplots(len(panels), squeeze=False).flat, panels, strict=True):
            _draw_panel(axes, rows, panel)
        add_note(figure, NOTE)
    return figure


def _draw_panel(axes: Axes, rows: pd.DataFrame, groups: list[Group]) -> None:
    for group, look in zip(groups, LOOKS, strict=False):
        _draw_group(axes, rows, group, look)
    axes.set(xscale="log", ylim=(-0.03, 1.03), ylabel="units recovered (%)")
    axes.set_xlabel("largest cosine distance between a unit and the one it is matched with")
    axes.set_xticks([10.0**-exponent for exponent in EXPONENTS])
    axes.minorticks_off()
    percent_axis(axes, "y")
    legend_above(axes, "Units of the teacher that are recovered")


def _draw_group(axes: Axes, rows: pd.DataFrame, group: Group, look: Look) -> None:
    intervals = [interval_of(rows, group.cells, f"coverage_1e-{exponent}") for exponent in EXPONENTS]
    means, lows, highs = np.array([interval[:3] for interval in intervals]).T
    thresholds = [10.0**-exponent for exponent in EXPONENTS]
    if value_matrix(rows, group.cells, FIRST).shape[1] >= FEW_TEACHERS:
        axes.fill_between(thresholds, lows, highs, color=look.color, alpha=0.1, linewidth=0)
        for bound in (lows, highs):
            axes.plot(thresholds, bound, color=look.color, linestyle=look.line, linewidth=0.4)
    face = look.color if look.filled else "white"
    label = f"{group.label}: {describe_group(rows, group, FIRST)}"
    line = {"color": look.color, "linestyle": look.line, "marker": look.marker, "markerfacecolor": face}
    axes.plot(thresholds, means, label=label, **line)
