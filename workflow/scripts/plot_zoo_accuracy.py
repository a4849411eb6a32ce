"""Rule plot_zoo_accuracy: how the models of each zoo learn."""

from weightspace.progress import rule_log
from weightspace.report.style import write_figure
from weightspace.table import read_metrics
from weightspace.zoo.figures import plot_zoo_accuracy

with rule_log(snakemake.log[0]):
    metrics = read_metrics(snakemake.input.metrics).to_pandas()
    write_figure(plot_zoo_accuracy(metrics), snakemake.output.pdf, snakemake.output.png)
