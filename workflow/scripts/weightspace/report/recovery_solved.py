"""Figure recovery_solved: which teachers are recovered exactly, by expansion factor and by how identifiable they are."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from weightspace.report.intervals import Interval
from weightspace.report.names import cell_label
from weightspace.report.recoveries import (
    Group,
    baselines_of,
    clipped_interval,
    describe_group,
    grouped,
    pooled_interval,
    recoveries_with,
    swept,
)
from weightspace.report.style import (
    LOOKS,
    WIDTH_INCHES,
    add_note,
    draw_intervals,
    draw_upright_intervals,
    house_style,
    legend_above,
    name_rows,
    nothing_to_draw,
    percent_axis,
)
from weightspace.report.tables import pooled_matrix

ROUNDING = -15.0  # log10; below it the smallest singular value is 0: some direction is in no query
PER_BIN = 5  # teachers, at least
MOST_BINS = 6
ROW_INCHES = 0.19
NOTE = (
    "Solved: every unit of the teacher is matched within a cosine distance of 1e-3, one to one, and there is no other unit. "
    "Bars: 95 % intervals for proportions over teachers and seeds (Clopper and Pearson), teachers as clusters. Own size: "
    "the best of as many networks trained at the teacher's size. Right: teachers in bins of equal count by ease of "
    "identification, the smallest over the largest singular value of what the teacher's outputs tell of its weights; easier "
    "to the right, of at most five recoveries. Not measurable where queries leave some direction of the weights unseen: "
    "there is no panel then."
)


def plot_recovery_solved(metrics: pd.DataFrame) -> Figure:
    """Share of teachers solved against expansion factor (of a single factor: per recovery), and against ease."""
    cells = recoveries_with(metrics, "solved")
    if not cells:
        return nothing_to_draw("Teachers solved: no recovery here has a teacher whose weights are known.")
    groups = grouped(metrics, cells, 0)
    by_factor = len(groups) > 1 and swept(cells) == cells
    with house_style():
        figure = Figure(
            figsize=(WIDTH_INCHES, 3.0 if by_factor else max(3.0, 1.0 + ROW_INCHES * len(cells))), layout="constrained"
        )
        easy = _with_ease(metrics, groups)
        left, *right = figure.subplots(1, 2 if easy else 1, squeeze=False).flat
        if by_factor:
            _draw_factors(left, metrics, groups)
        else:
            _draw_cells(left, metrics, cells)
        for axes in right:
            _draw_ease(axes, metrics, easy)
        add_note(figure, NOTE)
    return figure


def bins_by_ease(ease: np.ndarray, solved: np.ndarray) -> list[tuple[float, Interval]]:
    """Mean ease and share solved of bins of equal count, of values [seed, teacher]; a teacher's ease is its mean over seeds."""
    order = np.argsort(ease.mean(axis=0), kind="stable")
    num_bins = int(np.clip(len(order) // PER_BIN, 1, MOST_BINS))
    bins = np.array_split(order, num_bins)
    return [(float(ease[:, teachers].mean()), clipped_interval(solved[:, teachers], "solved")) for teachers in bins]


def _draw_factors(axes: Axes, metrics: pd.DataFrame, groups: list[Group]) -> None:
    """Places are evenly spaced: a searched or unknown factor has no number."""
    recovered = [pooled_interval(metrics, group.cells, "solved") for group in groups]
    draw_upright_intervals(axes, np.arange(len(groups)), recovered, LOOKS[0], "recovered")
    singles = [baselines_of(metrics, group.cells, "single", "solved") for group in groups]
    places = [place for place, found in enumerate(singles) if found]
    if places:
        intervals = [pooled_interval(metrics, singles[place], "solved") for place in places]
        draw_upright_intervals(axes, np.array(places) + 0.08, intervals, LOOKS[1], "own size, best of as many")
    labels = [f"{group.label.removeprefix('ρ ').removeprefix('= ')}\n{_short_n(metrics, group)}" for group in groups]
    axes.set_xticks(range(len(groups)), labels)
    axes.set(xlim=(-0.5, len(groups) - 0.5), ylim=(-0.04, 1.04), ylabel="teachers solved (%)")
    axes.set_xlabel("expansion factor ρ: students' width / teacher's width")
    percent_axis(axes, "y")
    legend_above(axes, "Solved, by width of the students")


def _draw_cells(axes: Axes, metrics: pd.DataFrame, cells: list[str]) -> None:
    intervals = [pooled_interval(metrics, [cell], "solved") for cell in cells]
    draw_intervals(axes, np.arange(len(cells)) - 0.1, intervals, LOOKS[0], "recovered")
    singles = {row: baselines_of(metrics, [cell], "single", "solved") for row, cell in enumerate(cells)}
    rows = [row for row, found in singles.items() if found]
    if rows:
        intervals = [pooled_interval(metrics, singles[row], "solved") for row in rows]
        draw_intervals(axes, np.array(rows) + 0.2, intervals, LOOKS[1], "own size, best of as many")
    name_rows(axes, [f"{cell_label(cell)}, {_short_n(metrics, Group('', [cell]))}" for cell in cells])
    axes.set(xlim=(-0.04, 1.04), xlabel="teachers solved (%)")
    percent_axis(axes, "x")
    legend_above(axes, "Solved, by recovery (teachers × seeds)")


def _with_ease(metrics: pd.DataFrame, groups: list[Group]) -> list[Group]:
    """Groups whose teachers' ease can be measured, those with most teachers first."""
    measured = {
        cell
        for cell in recoveries_with(metrics, "identifiability")
        if pooled_matrix(metrics, [cell], "identifiability").to_numpy().min() > ROUNDING
    }
    known = [group._replace(cells=[cell for cell in group.cells if cell in measured]) for group in groups]
    return sorted(
        (group for group in known if group.cells), key=lambda group: -pooled_matrix(metrics, group.cells, "solved").size
    )


def _draw_ease(axes: Axes, metrics: pd.DataFrame, groups: list[Group]) -> None:
    for group, look in zip(groups, LOOKS, strict=False):
        ease, solved = (pooled_matrix(metrics, group.cells, name).to_numpy() for name in ("identifiability", "solved"))
        places, intervals = zip(*bins_by_ease(ease, solved), strict=True)
        label = f"{group.label}: {describe_group(metrics, group, 'solved')}"
        draw_upright_intervals(axes, np.array(places), list(intervals), look, label)
    axes.set(ylim=(-0.04, 1.04), ylabel="teachers solved (%)", xlabel="ease of identification (log10 of a ratio)")
    axes.locator_params(axis="x", nbins=5)
    percent_axis(axes, "y")
    legend_above(axes, "Solved, by ease of identification", columns=1)


def _short_n(metrics: pd.DataFrame, group: Group) -> str:
    """Teachers × seeds."""
    seeds, teachers = pooled_matrix(metrics, group.cells, "solved").shape
    return f"n = {teachers} × {seeds}"
