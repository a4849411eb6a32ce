"""Rule plot_reconstruction: accuracy before and after encoding and decoding."""

from weightspace.metrics import read_metrics
from weightspace.progress import rule_log
from weightspace.report.reconstruction import plot_reconstruction
from weightspace.report.style import write_figure

with rule_log(snakemake.log[0]):
    metrics = read_metrics(snakemake.input.metrics).to_pandas()
    write_figure(plot_reconstruction(metrics), snakemake.output.pdf, snakemake.output.png)
