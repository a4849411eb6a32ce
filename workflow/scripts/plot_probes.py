"""Rule plot_probes: what a linear probe reads from an embedding, and from the controls."""

from weightspace.metrics import read_metrics
from weightspace.progress import rule_log
from weightspace.report.probes import plot_probes
from weightspace.report.style import write_figure

with rule_log(snakemake.log[0]):
    metrics = read_metrics(snakemake.input.metrics).to_pandas()
    write_figure(plot_probes(metrics), snakemake.output.pdf, snakemake.output.png)
