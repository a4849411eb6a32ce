"""Figure claims: the table of claims as a page of a paper."""

from itertools import accumulate
from textwrap import wrap

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from weightspace.report.names import number_and_interval
from weightspace.report.pages import READING
from weightspace.report.style import WIDTH_INCHES, house_style

LINE_INCHES = 0.118
COLUMNS = (  # heading, left edge, letters in a line
    ("claim", 0.0, 62),
    ("published", 0.445, 24),
    ("measured here\n[95 % interval]", 0.63, 18),
    ("n", 0.765, 11),
    ("verdict", 0.865, 18),
)
SIGNS = {"reproduced": ("●", "#12355b"), "not reproduced": ("✕", "#9c2f4f"), "inconclusive": ("○", "#555555")}
SMALL_GRAY = {"fontsize": 6.5, "color": "#333333"}
RULE = {"color": "#bbbbbb", "linewidth": 0.5}
NOTE = (
    "Measured: the difference where a claim compares two. Intervals: 95 % over models and seeds.\n"
    "A verdict is given by the whole interval; where too few models, teachers or seeds vary it is inconclusive.\n"
    "In kind: an order or a gap at this scenario's sizes, not the published number."
)


def plot_claims(claims: pd.DataFrame) -> Figure:
    """Each claim with its published value, ours with its interval, n, and the verdict."""
    blocks = [_cells_of(row) for row in claims.itertuples()]
    bottoms = list(accumulate((max(map(len, block)) + 0.8 for block in blocks), initial=4.0))
    with house_style():
        axes = _page(num_lines=bottoms[-1] + 4.2)
        axes.text(0, 1.2, f"{len(blocks) or 'no'} published claims judged", weight="bold", va="center")
        for heading, left, _ in COLUMNS:
            axes.text(left, 3.6, heading, va="bottom", **SMALL_GRAY)
        for block, top in zip(blocks, bottoms[:-1], strict=True):
            _draw_block(axes, block, top)
        axes.axhline(bottoms[-1], **RULE)
        axes.text(0, bottoms[-1] + 0.6, NOTE, va="top", **SMALL_GRAY)
    return axes.figure


def _page(num_lines: float) -> Axes:
    """Axes over the whole figure whose y counts lines of text from the top."""
    figure = Figure(figsize=(WIDTH_INCHES, num_lines * LINE_INCHES))
    axes = figure.add_axes((0.01, 0, 0.98, 1))
    axes.set(xlim=(0, 1), ylim=(num_lines, 0))
    axes.axis("off")
    return axes


def _draw_block(axes: Axes, block: list[list[str]], top: float) -> None:
    axes.axhline(top, **RULE)
    for lines, (_, left, _) in zip(block, COLUMNS, strict=True):
        axes.text(left, top + 0.4, "\n".join(lines), fontsize=6.5, va="top", linespacing=1.2, color=_color(lines))


def _cells_of(row: tuple) -> list[list[str]]:
    mean, interval = number_and_interval(row.ours, row.low, row.high)
    verdict = f"{SIGNS[row.verdict][0]} {row.verdict}"
    claim, published, interval_column, n, verdict_column = (width for _, _, width in COLUMNS)
    return [
        wrap(row.claim, claim) + wrap(f"({row.paper}, {row.source})", claim),
        [line for part in row.published.split("; ") for line in wrap(part, published)],
        [mean, *wrap(interval, interval_column)],
        wrap(row.n, n),
        [*wrap(verdict, verdict_column), *wrap(READING if row.reading else "", verdict_column), row.kind],
    ]


def _color(text: list[str]) -> str:
    return next((color for sign, color in SIGNS.values() if text[0].startswith(sign)), "black")
