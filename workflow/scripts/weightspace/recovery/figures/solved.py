"""Figure recovery_solved: which teachers are recovered exactly, by expansion factor and by how identifiable they are."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from weightspace.recovery.figures.select import (
    Group,
    baselines_of,
    describe_group,
    grouped,
    grouped_by_factor,
    recoveries_with,
    swept,
    values_interval,
)
from weightspace.report.intervals import Interval
from weightspace.report.select import interval_of, label_of, value_matrix
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

ROUNDING = -15.0  # log10; below it the smallest singular value is 0: some direction is in no query
PER_BIN = 5  # teachers, at least
MOST_BINS = 6
ROW_INCHES = 0.19
NOTE = (
    "Solved: every unit of the teacher is matched within a cosine distance of 1e-3, one to one, and there is no other unit. "
    "Bars: 95 % intervals for proportions, teachers as clusters (Clopper and Pearson). "
    "Own size: the best of as many networks trained at the teacher's size. Right: teachers "
    "in bins of equal count by ease of identification, the smallest over the largest singular value of what the teacher's "
    "outputs tell of its weights; easier to the right, of at most five recoveries. Not measurable where queries leave some "
    "direction of the weights unseen: there is no panel then."
)


def plot_recovery_solved(rows: pd.DataFrame) -> Figure:
    """Share of teachers solved against expansion factor (of a single factor: per recovery), and against ease."""
    cells = recoveries_with(rows, "solved")
    if not cells:
        return nothing_to_draw("Teachers solved: no recovery here has a teacher whose weights are known.")
    groups = grouped(rows, cells, 0)
    by_factor = len(groups) > 1 and swept(rows, cells) == cells
    with house_style():
        figure = Figure(
            figsize=(WIDTH_INCHES, 3.0 if by_factor else max(3.0, 1.0 + ROW_INCHES * len(cells))), layout="constrained"
        )
        easy = _with_ease(rows, groups)
        left, *right = figure.subplots(1, 2 if easy else 1, squeeze=False).flat
        if by_factor:
            _draw_factors(left, rows, [Group(factor, own) for factor, own in grouped_by_factor(rows, cells).items()])
        else:
            _draw_cells(left, rows, cells)
        for axes in right:
            _draw_ease(axes, rows, easy)
        add_note(figure, NOTE)
    return figure


def bins_by_ease(ease: np.ndarray, solved: np.ndarray) -> list[tuple[float, Interval]]:
    """Mean ease and share solved of bins of equal count, of values [seed, teacher]; a teacher's ease is its mean over seeds."""
    order = np.argsort(ease.mean(axis=0), kind="stable")
    num_bins = int(np.clip(len(order) // PER_BIN, 1, MOST_BINS))
    bins = np.array_split(order, num_bins)
    return [(float(ease[:, teachers].mean()), values_interval(solved[:, teachers], "solved")) for teachers in bins]


def _draw_factors(axes: Axes, rows: pd.DataFrame, groups: list[Group]) -> None:
    """Groups by expansion factor, whose label this is. Places are evenly spaced: a searched or unknown factor has no number."""
    recovered = [interval_of(rows, group.cells, "solved") for group in groups]
    draw_upright_intervals(axes, np.arange(len(groups)), recovered, LOOKS[0], "recovered")
    singles = [baselines_of(rows, group.cells, "single", "solved") for group in groups]
    places = [place for place, found in enumerate(singles) if found]
    if places:
        intervals = [interval_of(rows, singles[place], "solved") for place in places]
        draw_upright_intervals(axes, np.array(places) + 0.08, intervals, LOOKS[1], "own size, best of as many")
    labels = [f"{group.label}\n{_short_n(rows, group)}" for group in groups]
    axes.set_xticks(range(len(groups)), labels)
    axes.set(xlim=(-0.5, len(groups) - 0.5), ylim=(-0.04, 1.04), ylabel="teachers solved (%)")
    axes.set_xlabel("expansion factor ρ: students' width / teacher's width")
    percent_axis(axes, "y")
    legend_above(axes, "Solved, by width of the students")


def _draw_cells(axes: Axes, rows: pd.DataFrame, cells: list[str]) -> None:
    intervals = [interval_of(rows, [cell], "solved") for cell in cells]
    draw_intervals(axes, np.arange(len(cells)) - 0.1, intervals, LOOKS[0], "recovered")
    singles = {place: baselines_of(rows, [cell], "single", "solved") for place, cell in enumerate(cells)}
    places = [place for place, found in singles.items() if found]
    if places:
        intervals = [interval_of(rows, singles[place], "solved") for place in places]
        draw_intervals(axes, np.array(places) + 0.2, intervals, LOOKS[1], "own size, best of as many")
    name_rows(axes, [f"{label_of(rows, cell)}, {_short_n(rows, Group('', [cell]))}" for cell in cells])
    axes.set(xlim=(-0.04, 1.04), xlabel="teachers solved (%)")
    percent_axis(axes, "x")
    legend_above(axes, "Solved, by recovery (teachers × seeds)")


def _with_ease(rows: pd.DataFrame, groups: list[Group]) -> list[Group]:
    """Groups whose teachers' ease can be measured, those with most teachers first."""
    measured = {
        cell
        for cell in recoveries_with(rows, "identifiability")
        if value_matrix(rows, [cell], "identifiability").to_numpy().min() > ROUNDING
    }
    known = [group._replace(cells=[cell for cell in group.cells if cell in measured]) for group in groups]
    return sorted((group for group in known if group.cells), key=lambda group: -value_matrix(rows, group.cells, "solved").size)


def _draw_ease(axes: Axes, rows: pd.DataFrame, groups: list[Group]) -> None:
    for group, look in zip(groups, LOOKS, strict=False):
        ease, solved = (value_matrix(rows, group.cells, name).to_numpy() for name in ("identifiability", "solved"))
        places, intervals = zip(*bins_by_ease(ease, solved), strict=True)
        label = f"{group.label}: {describe_group(rows, group, 'solved')}"
        draw_upright_intervals(axes, np.array(places), list(intervals), look, label)
    axes.set(ylim=(-0.04, 1.04), ylabel="teachers solved (%)", xlabel="ease of identification (log10 of a ratio)")
    axes.locator_params(axis="x", nbins=5)
    percent_axis(axes, "y")
    legend_above(axes, "Solved, by ease of identification", columns=1)


def _short_n(rows: pd.DataFrame, group: Group) -> str:
    """Teachers × seeds."""
    seeds, teachers = value_matrix(rows, group.cells, "solved").shape
    return f"n = {teachers} × {seeds}"
