"""Rule plot_predictor_rate: accuracy against bytes, beside other ways to make a network small."""

from weightspace.predictor.figures.rate import plot_predictor_rate
from weightspace.progress import rule_log
from weightspace.report.style import write_figure
from weightspace.table import read_metrics

with rule_log(snakemake.log[0]):
    metrics = read_metrics(snakemake.input.metrics).to_pandas()
    write_figure(plot_predictor_rate(metrics), snakemake.output.pdf, snakemake.output.png)
