"""Figures and pages again, from tables that are already there."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from weightspace.errors import InputError
from weightspace.report.claims import Verdicts, judge_claims, read_claims
from weightspace.report.draw import draw, write_drawn
from weightspace.report.pages import claims_page, write_page
from weightspace.report.registry import CLAIMS, figures_of
from weightspace.table import read, write_table


class Shown(NamedTuple):
    """What the scenario says of one figure."""

    cells: Sequence[str] | None = None  # in this order; None: all
    note: bool = True


def table_to_draw(table: str | Path, reference: str | Path, scenario: str) -> Path:
    """The run's own metrics table, else the committed one; raises InputError saying how to make it if there is neither."""
    for path in (Path(table), Path(reference)):
        if path.is_file():
            return path
    raise InputError(
        f"{table} is missing, and so is the reference {reference}; "
        f"make the first with `snakemake --cores 2 --config scenario={scenario}`"
    )


def regenerate(table: Path, claims: str | Path, folder: str | Path, shown: Mapping[str, Shown], only: Sequence[str] = ()) -> str:
    """Write figures, all or `only` these, and the claims' pages into `folder`; says what was drawn from which table.

    Drawn from the metrics in `table`, and from the tables beside it where a figure needs one of them. Raises InputError for a
    figure that is not there.
    """
    folder, metrics = Path(folder), read(table)
    figures = figures_of(metrics["stage"].unique(), metrics.columns) | {CLAIMS.name: CLAIMS}
    if strange := [name for name in only if name not in figures]:
        raise InputError(f"figures: there is no figure {strange[0]!r} of this scenario, only {', '.join(figures)}")
    tables = {"metrics": metrics}
    if CLAIMS.name in (only or figures):
        verdicts = judge_claims(metrics, read_claims(claims))
        write_claims(verdicts, folder, str(metrics["scenario"].iloc[0]))
        tables["claims"] = verdicts.judged.to_pandas()
    for name in only or figures:
        figure = figures[name]
        rows = _rows(figure.table, table, tables)
        write_drawn(figure, draw(figure, rows, *shown.get(name, Shown())), folder / "figures")
    judged = f" and {len(tables['claims'])} claims" if "claims" in tables else ""
    return f"{len(only or figures)} figures{judged} in {folder}, drawn from {table}"


def write_claims(verdicts: Verdicts, folder: str | Path, scenario: str) -> None:
    """Write judged claims as `claims.parquet` and as two pages."""
    folder = Path(folder)
    write_table(folder / "claims.parquet", verdicts.judged)
    write_page(claims_page(verdicts, scenario), folder / "claims.md", folder / "claims.html")


def _rows(name: str, table: Path, tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Rows of a table, each read once."""
    if name not in tables:
        tables[name] = read(table.with_name(f"{name}.parquet"))
    return tables[name]
