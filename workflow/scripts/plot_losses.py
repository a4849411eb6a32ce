"""Rule plot_losses: training curves of the autoencoders."""

from weightspace.autoencoder.figures.losses import plot_losses
from weightspace.progress import rule_log
from weightspace.report.style import write_figure
from weightspace.table import read_metrics

with rule_log(snakemake.log[0]):
    metrics = read_metrics(snakemake.input.metrics).to_pandas()
    write_figure(plot_losses(metrics), snakemake.output.pdf, snakemake.output.png)
