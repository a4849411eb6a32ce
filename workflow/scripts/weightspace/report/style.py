"""How all figures look, and how they are written."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from textwrap import fill
from typing import NamedTuple

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.container import Container
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, PercentFormatter

from weightspace.report.intervals import Interval

STYLE = Path(__file__).with_name("weightspace.mplstyle")
WIDTH_INCHES = 7.0
MAX_COLUMNS = 3
NOTE = "note"  # marks the small print
INTERVALS_NOTE = "Bars: 95 % intervals over models and seeds."


class Look(NamedTuple):
    """Color, marker and fill of one series; lightness and shape both differ, so gray print keeps them apart."""

    color: str
    marker: str
    filled: bool
    line: str | tuple[int, tuple[int, ...]]


LOOKS = (
    Look("#12355b", "o", True, "-"),
    Look("#d9822b", "s", True, "--"),
    Look("#7d8790", "D", False, ":"),
    Look("#5b8e3e", "^", False, "-."),
    Look("#9c2f4f", "v", True, (0, (5, 1, 1, 1, 1, 1))),
)


@contextmanager
def house_style() -> Iterator[None]:
    """Matplotlib's defaults, then ours; a user's matplotlibrc is ignored."""
    with matplotlib.style.context(["default", STYLE]):
        yield


def small_multiples(num: int, height_inches: float) -> tuple[Figure, list[Axes]]:
    """A figure with `num` axes, three in a row, each row `height_inches` high."""
    columns = min(num, MAX_COLUMNS)
    rows = ceil(num / columns)
    figure = Figure(figsize=(WIDTH_INCHES, rows * height_inches), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.08)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for spare in grid[num:]:
        spare.remove()
    return figure, list(grid[:num])


def add_note(figure: Figure, text: str) -> None:
    """Small print below everything else; the figure grows by its height."""
    wrapped = fill(text, 150)
    old, extra = figure.get_figheight(), _note_inches(wrapped)
    figure.set_figheight(old + extra)
    share = extra / (old + extra)
    figure.get_layout_engine().set(rect=(0, share, 1, 1 - share))
    figure.text(0.01, 0.06 / (old + extra), wrapped, fontsize=6.5, color="#333333", va="bottom", gid=NOTE)


def remove_note(figure: Figure) -> None:
    """Take the small print away again, and its height."""
    for note in [text for text in figure.texts if text.get_gid() == NOTE]:
        figure.set_figheight(figure.get_figheight() - _note_inches(note.get_text()))
        figure.get_layout_engine().set(rect=(0, 0, 1, 1))
        note.remove()


def _note_inches(wrapped: str) -> float:
    return 0.13 * len(wrapped.splitlines()) + 0.08


def nothing_to_draw(text: str) -> Figure:
    """A figure that says why it is empty."""
    with house_style():
        figure = Figure(figsize=(WIDTH_INCHES, 0.6))
        figure.text(0.01, 0.5, text, va="center")
    return figure


def legend_above(axes: Axes, title: str, columns: int = 2) -> None:
    """Legend and title over the axes, where no data is; series with intervals come before lines."""
    named = list(zip(*axes.get_legend_handles_labels(), strict=True))
    handles, labels = zip(*sorted(named, key=lambda pair: not isinstance(pair[0], Container)), strict=True)
    axes.set_title(title, pad=4 + 12 * ceil(len(labels) / columns))
    legend = axes.legend(handles, labels, loc="lower left", bbox_to_anchor=(-0.02, 1), ncols=columns, borderpad=0.2)
    legend.set_in_layout(False)  # its room is the title's padding


def percent_axis(axes: Axes, which: str) -> None:
    """Fractions shown as percent on the axis `which`: x or y."""
    getattr(axes, f"{which}axis").set_major_formatter(PercentFormatter(1, symbol=""))


def plain_log_ticks(axis: Axis, at: Sequence[int] = (1, 2, 5), factor: float = 1.0) -> None:
    """Ticks at these numbers of every decade as plain numbers, times a factor."""
    axis.set_major_locator(LogLocator(subs=at))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _: f"{factor * value:g}")


def draw_intervals(axes: Axes, heights: np.ndarray, intervals: list[Interval], look: Look, label: str) -> None:
    """Means as markers with their intervals as bars, one at each height."""
    means, reach = _reach(intervals)
    axes.errorbar(means, heights, xerr=reach, **_bars(look), linestyle="none", label=label)


def draw_upright_intervals(axes: Axes, places: np.ndarray, intervals: list[Interval], look: Look, label: str) -> None:
    """The same, one at each place on the x axis, joined by the look's line."""
    means, reach = _reach(intervals)
    axes.errorbar(places, means, yerr=reach, **_bars(look), linestyle=look.line, label=label)


def draw_crossed_intervals(axes: Axes, across: Interval, up: Interval, look: Look, label: str) -> None:
    """One marker with an interval on both axes."""
    (x, across_reach), (y, up_reach) = _reach([across]), _reach([up])
    axes.errorbar(x, y, xerr=across_reach, yerr=up_reach, **_bars(look), linestyle="none", label=label)


def _reach(intervals: list[Interval]) -> tuple[np.ndarray, np.ndarray]:
    """Means, and how far their intervals reach down and up; a mean may lie an ulp outside the quantiles of its draws."""
    means, lows, highs = np.array([interval[:3] for interval in intervals]).T
    return means, np.maximum(0, [means - lows, highs - means])


def _bars(look: Look) -> dict[str, object]:
    face = look.color if look.filled else "white"
    return {"capsize": 2, "elinewidth": 0.9, "marker": look.marker, "color": look.color, "markerfacecolor": face}


def name_rows(axes: Axes, labels: list[str]) -> None:
    """One labelled row per entry, the first on top."""
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)


def write_figure(figure: Figure, pdf: str | Path, png: str | Path) -> None:
    """Write a figure as PDF and as PNG; the same figure gives the same bytes."""
    for path, format_, metadata in ((pdf, "pdf", {"CreationDate": None}), (png, "png", {"Software": None})):
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        with house_style():
            figure.savefig(partial, format=format_, metadata=metadata)
        partial.replace(path)
