"""Rule plot_collapse: reconstructions beside the controls that a prototype fails."""

from weightspace.metrics import read_metrics
from weightspace.progress import rule_log
from weightspace.report.collapse import plot_collapse
from weightspace.report.style import write_figure

with rule_log(snakemake.log[0]):
    metrics = read_metrics(snakemake.input.metrics).to_pandas()
    write_figure(plot_collapse(metrics), snakemake.output.pdf, snakemake.output.png)
