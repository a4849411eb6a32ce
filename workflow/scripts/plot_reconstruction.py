"""Rule plot_reconstruction: accuracy before and after encoding and decoding."""

from weightspace.autoencoder.figures.reconstruction import plot_reconstruction
from weightspace.progress import rule_log
from weightspace.report.style import write_figure
from weightspace.table import read_metrics

with rule_log(snakemake.log[0]):
    metrics = read_metrics(snakemake.input.metrics).to_pandas()
    write_figure(plot_reconstruction(metrics), snakemake.output.pdf, snakemake.output.png)
