"""Rule plot_losses: training curves of the autoencoders."""

from weightspace.metrics import read_metrics
from weightspace.progress import rule_log
from weightspace.report.losses import plot_losses
from weightspace.report.style import write_figure

with rule_log(snakemake.log[0]):
    metrics = read_metrics(snakemake.input.metrics).to_pandas()
    write_figure(plot_losses(metrics), snakemake.output.pdf, snakemake.output.png)
