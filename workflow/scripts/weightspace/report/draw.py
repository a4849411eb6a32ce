"""Figures and pages from tables: the one way in which a rule, a command and a notebook draw them."""

from base64 import b64encode
from collections.abc import Sequence
from html import escape
from importlib import import_module
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from weightspace.report.pages import write_text
from weightspace.report.registry import Figure as Entry
from weightspace.report.select import choose
from weightspace.report.style import remove_note, write_figure

PAGE = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>"
    "<style>body{{font:14px sans-serif;margin:1em;max-width:75em}}img{{max-width:100%}}</style>"
    "<img alt='{title}' src='data:image/png;base64,{image}'></html>\n"
)


def draw(entry: Entry, rows: pd.DataFrame, cells: Sequence[str] | None = None, note: bool = True) -> Figure:
    """A figure of the registry from rows as `weightspace.table.read` gives them, of these cells in this order or of all."""
    module, _, function = entry.function.partition(":")
    shown = rows if entry.table == "claims" else choose(rows, cells)
    figure = getattr(import_module(f"weightspace.{module}"), function)(shown)
    if not note:
        remove_note(figure)
    return figure


def write_drawn(entry: Entry, figure: Figure, folder: str | Path) -> None:
    """Write `<name>.pdf`, `.png` and `.html` into `folder`: the page shows the picture whole, however tall it is."""
    path = Path(folder, entry.name)
    write_figure(figure, path.with_suffix(".pdf"), path.with_suffix(".png"))
    image = b64encode(path.with_suffix(".png").read_bytes()).decode()
    page = PAGE.format(title=escape(entry.item), image=image)
    write_text(path.with_suffix(".html"), page)
