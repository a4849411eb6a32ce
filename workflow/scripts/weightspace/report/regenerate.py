"""Every figure and page again, from tables alone."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
from matplotlib.figure import Figure

from weightspace.autoencoder.figures.collapse import plot_collapse
from weightspace.autoencoder.figures.losses import plot_losses
from weightspace.autoencoder.figures.probes import plot_probes
from weightspace.autoencoder.figures.reconstruction import plot_reconstruction
from weightspace.errors import InputError
from weightspace.predictor.figures.error import plot_predictor_error
from weightspace.predictor.figures.kernels import plot_predictor_kernels
from weightspace.predictor.figures.rate import plot_predictor_rate
from weightspace.predictor.figures.rounds import plot_predictor_rounds
from weightspace.predictor.figures.spectra import plot_predictor_spectra
from weightspace.predictor.metrics import KERNELS_SCHEMA, SPECTRA_SCHEMA
from weightspace.recovery.figures.clusters import plot_recovery_clusters
from weightspace.recovery.figures.coverage import plot_recovery_coverage
from weightspace.recovery.figures.neurons import plot_recovery_neurons
from weightspace.recovery.figures.sizes import plot_recovery_sizes
from weightspace.recovery.figures.solved import plot_recovery_solved
from weightspace.recovery.metrics import MERGES_SCHEMA, NEURONS_SCHEMA
from weightspace.report.claims import Verdicts, judge_claims, read_claims
from weightspace.report.claims_table import plot_claims
from weightspace.report.pages import Page, claims_page, to_html, to_markdown
from weightspace.report.style import write_figure
from weightspace.table import read_metrics, read_table, write_table
from weightspace.zoo.figures import plot_zoo_accuracy

TABLES: dict[str, pa.Schema] = {  # beside the metrics table, as <name>.parquet
    "recovery_merges": MERGES_SCHEMA,
    "recovery_neurons": NEURONS_SCHEMA,
    "predictor_kernels": KERNELS_SCHEMA,
    "predictor_spectra": SPECTRA_SCHEMA,
}


class Plot(NamedTuple):
    """How a figure is made."""

    stage: str  # that it needs
    function: Callable[[pd.DataFrame], Figure]
    table: str = "metrics"  # that it is drawn from


PLOTS = {
    "zoo_accuracy": Plot("zoo", plot_zoo_accuracy),
    "reconstruction": Plot("autoencoder", plot_reconstruction),
    "collapse": Plot("autoencoder", plot_collapse),
    "probes": Plot("autoencoder", plot_probes),
    "losses": Plot("autoencoder", plot_losses),
    "recovery_solved": Plot("recovery", plot_recovery_solved),
    "recovery_coverage": Plot("recovery", plot_recovery_coverage),
    "recovery_sizes": Plot("recovery", plot_recovery_sizes),
    "recovery_clusters": Plot("recovery", plot_recovery_clusters, "recovery_merges"),
    "recovery_neurons": Plot("recovery", plot_recovery_neurons, "recovery_neurons"),
    "predictor_rate": Plot("predictor", plot_predictor_rate),
    "predictor_error": Plot("predictor", plot_predictor_error),
    "predictor_rounds": Plot("predictor", plot_predictor_rounds),
    "predictor_spectra": Plot("predictor", plot_predictor_spectra, "predictor_spectra"),
    "predictor_kernels": Plot("predictor", plot_predictor_kernels, "predictor_kernels"),
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
    """Write all figures and the claims' pages into `folder`; says what was drawn from which table.

    Drawn from the metrics in `table`, and from the tables beside it where a figure of one of its stages needs them.
    """
    folder = Path(folder)
    metrics = read_metrics(table).to_pandas()
    stages = set(metrics["stage"])
    plots = {name: plot for name, plot in PLOTS.items() if plot.stage in stages}
    tables = {"metrics": metrics} | _tables_beside(table, {plot.table for plot in plots.values()})
    figures = {name: plot.function(tables[plot.table]) for name, plot in plots.items()}
    verdicts = judge_claims(metrics, read_claims(claims))
    figures["claims"] = plot_claims(verdicts.judged.to_pandas(), scenario)
    for name, figure in figures.items():
        write_figure(figure, folder / "figures" / f"{name}.pdf", folder / "figures" / f"{name}.png")
    write_claims(verdicts, folder / "claims.parquet", folder / "claims.md", folder / "claims.html", scenario)
    return f"{len(figures)} figures and {len(verdicts.judged)} claims in {folder}, drawn from {table}"


def _tables_beside(table: Path, names: set[str]) -> dict[str, pd.DataFrame]:
    """Those of TABLES that are named, from the folder of the metrics table."""
    wanted = {name: schema for name, schema in TABLES.items() if name in names}
    return {name: read_table(table.with_name(f"{name}.parquet"), schema).to_pandas() for name, schema in wanted.items()}


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
