"""Rule plot_collapse: reconstructions beside the controls that a prototype fails."""

from weightspace.autoencoder.figures.collapse import plot_collapse
from weightspace.progress import rule_log
from weightspace.report.style import write_figure
from weightspace.table import read_metrics

with rule_log(snakemake.log[0]):
    metrics = read_metrics(snakemake.input.metrics).to_pandas()
    write_figure(plot_collapse(metrics), snakemake.output.pdf, snakemake.output.png)
