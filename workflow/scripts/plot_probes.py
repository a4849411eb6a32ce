"""Rule plot_probes: what a linear probe reads from an embedding, and from the controls."""

from weightspace.autoencoder.figures.probes import plot_probes
from weightspace.progress import rule_log
from weightspace.report.style import write_figure
from weightspace.table import read_metrics

with rule_log(snakemake.log[0]):
    metrics = read_metrics(snakemake.input.metrics).to_pandas()
    write_figure(plot_probes(metrics), snakemake.output.pdf, snakemake.output.png)
