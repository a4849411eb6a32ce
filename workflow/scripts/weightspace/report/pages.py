"""Tables as Markdown and as self-contained HTML pages."""

from html import escape
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from weightspace.report.claims import Verdicts
from weightspace.report.names import number_with_interval
from weightspace.stages import STAGES

CSS = (
    "body{font:14px sans-serif;margin:1.5em;max-width:80em}table{border-collapse:collapse}"
    "th,td{border:1px solid #ccc;padding:.35em .6em;text-align:left;vertical-align:top}th{background:#f2f2f2}"
)


READING = "too few vary: a reading"


class Page(NamedTuple):
    """A title, a sentence, a table, and notes."""

    title: str
    lead: str
    header: list[str]
    rows: list[list[str]]
    notes: list[str]


def claims_page(verdicts: Verdicts, scenario: str) -> Page:
    """Claims beside what this scenario measures."""
    claims = verdicts.judged.to_pandas()
    header = ["claim", "paper", "published", "measured here, mean [95 % interval]", "n", "kind", "verdict"]
    rows = [
        [
            row.claim, f"{row.paper}, {row.source}", row.published, measured(row), row.n, f"{row.kind}, on {scenario}",
            judged(row, verdicts.needed.get(row.id)),
        ]
        for row in claims.itertuples()
    ]  # fmt: skip
    counts = ", ".join(f"{count} {name}" for name, count in claims["verdict"].value_counts(sort=False).items()) or "none"
    notes = [
        "Measured: the difference where a claim compares two. Intervals: bootstrap over models, or teachers, and seeds; of "
        "shares of successes, Clopper and Pearson's, teachers as clusters. A verdict is given by the whole interval: inside the "
        "region that the claim names, outside it, or neither. An interval without width, where nothing varied, decides nothing. "
        f"An interval of one seed, or of one model, does not hold what another would change ({READING}): the verdict is "
        f"inconclusive. Recoveries are sampled by their teachers: with {STAGES['recovery'].least_models} or more, one seed has a "
        "verdict. Baselines of autoencoders and controls of predictors are computed, not trained, and need no seeds.",
        "What would decide an open claim: seeds, or models, with which 4 of 5 runs would, if the mean is what was measured here; "
        "from this run's variances over seeds and models (weightspace/report/power.py). The order of magnitude, no more: three "
        "seeds tell their own spread badly.",
        "In kind: an order or a gap at this scenario's sizes. The published number itself is not aimed at.",
    ]
    if verdicts.left_out:
        notes.append(f"Left out, since this scenario lacks their cells: {', '.join(verdicts.left_out)}.")
    return Page(f"Claims, scenario {scenario}", f"Of {len(rows)} claims: {counts}.", header, rows, notes)


def timings_page(timings: pd.DataFrame, scenario: str) -> Page:
    """Time and memory per rule."""
    header = ["rule", "jobs", "seconds, all jobs", "seconds, longest job", "longest job", "largest memory, MB"]
    rows = [
        [row.rule, str(row.jobs), f"{row.seconds:.1f}", f"{row.longest_seconds:.1f}", row.longest_job, f"{row.max_rss_mb:.0f}"]
        for row in timings.itertuples()
    ]
    lead = f"{timings['jobs'].sum()} jobs, {timings['seconds'].sum():.0f} s in all; jobs run side by side where there are cores."
    notes = [
        "From Snakemake's benchmark files, the latest run of each job. Memory is sampled: jobs of less than about 2 s report too "
        "little. nan: not measured."
    ]
    return Page(f"Timings, scenario {scenario}", lead, header, rows, notes)


def measured(row: tuple) -> str:
    """Mean and interval of a judged claim."""
    return number_with_interval(row.ours, row.low, row.high)


def judged(row: tuple, needed: str | None = None) -> str:
    """Verdict on a claim, and what would decide an open one."""
    verdict = f"{row.verdict} ({READING})" if row.reading else row.verdict
    return f"{verdict}; would decide it: {needed}" if needed else verdict


def to_markdown(page: Page) -> str:
    """The page as Markdown with a pipe table."""
    table = [_line(page.header), _line(["---"] * len(page.header)), *map(_line, page.rows)]
    return "\n\n".join([f"# {page.title}", page.lead, "\n".join(table), *page.notes]) + "\n"


def to_html(page: Page) -> str:
    """The page as one HTML file that needs no other."""
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(page.title)}</title><style>{CSS}</style>"
    table = _cells("th", page.header) + "".join(_cells("td", row) for row in page.rows)
    notes = "".join(f"<p>{escape(note)}</p>" for note in page.notes)
    return f"{head}<h1>{escape(page.title)}</h1><p>{escape(page.lead)}</p><table>{table}</table>{notes}</html>\n"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _cells(tag: str, cells: list[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"


def write_page(page: Page, markdown: str | Path, html: str | Path) -> None:
    """Write a page as Markdown and as HTML."""
    write_text(markdown, to_markdown(page))
    write_text(html, to_html(page))


def write_text(path: str | Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    partial.replace(path)
