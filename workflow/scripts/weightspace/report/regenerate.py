"""Every figure and page again, from a metrics table alone."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from weightspace.errors import InputError
from weightspace.metrics import read_metrics, write_table
from weightspace.report.claims import Verdicts, judge_claims, read_claims
from weightspace.report.claims_table import plot_claims
from weightspace.report.collapse import plot_collapse
from weightspace.report.losses import plot_losses
from weightspace.report.pages import Page, claims_page, to_html, to_markdown
from weightspace.report.probes import plot_probes
from weightspace.report.reconstruction import plot_reconstruction
from weightspace.report.style import write_figure
from weightspace.report.zoo import plot_zoo_accuracy

PLOTS: dict[str, tuple[str, Callable[[pd.DataFrame], Figure]]] = {  # name of the figure: the stage it needs, its function
    "zoo_accuracy": ("zoo", plot_zoo_accuracy),
    "reconstruction": ("autoencoder", plot_reconstruction),
    "collapse": ("autoencoder", plot_collapse),
    "probes": ("autoencoder", plot_probes),
    "losses": ("autoencoder", plot_losses),
}


def table_to_draw(table: str | Path, reference: str | Path, scenario: str) -> Path:
    """The run's own metrics table, else the committed one; raises InputError saying how to make it if there is neither."""
    for path in (Path(table), Path(reference)):
        if path.is_file():
            return path
    raise InputError(
        f"{table} is missing, and so is the reference {reference}; "
        f"make the first with `snakemake --cores 2 --config scenario={scenario}`"
    )


def regenerate(table: Path, claims: str | Path, folder: str | Path, scenario: str) -> str:
    """Write all figures and the claims' pages of `table` into `folder`; says what was drawn from which table."""
    folder = Path(folder)
    metrics = read_metrics(table).to_pandas()
    stages = set(metrics["stage"])
    figures = {name: plot(metrics) for name, (stage, plot) in PLOTS.items() if stage in stages}
    verdicts = judge_claims(metrics, read_claims(claims))
    figures["claims"] = plot_claims(verdicts.judged.to_pandas(), scenario)
    for name, figure in figures.items():
        write_figure(figure, folder / "figures" / f"{name}.pdf", folder / "figures" / f"{name}.png")
    write_claims(verdicts, folder / "claims.parquet", folder / "claims.md", folder / "claims.html", scenario)
    return f"{len(figures)} figures and {len(verdicts.judged)} claims in {folder}, drawn from {table}"


def write_claims(verdicts: Verdicts, parquet: str | Path, markdown: str | Path, html: str | Path, scenario: str) -> None:
    """Write judged claims as a table and as two pages."""
    write_table(parquet, verdicts.judged)
    write_page(claims_page(verdicts, scenario), markdown, html)


def write_page(page: Page, markdown: str | Path, html: str | Path) -> None:
    """Write a page as Markdown and as HTML."""
    for path, text in ((Path(markdown), to_markdown(page)), (Path(html), to_html(page))):
        partial = path.with_name(path.name + ".partial")
        partial.write_text(text)
        partial.replace(path)
