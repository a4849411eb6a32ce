"""Rule plot_predictor_error: accuracy against error in the weights, beside controls of the same error."""

from weightspace.predictor.figures.error import plot_predictor_error
from weightspace.progress import rule_log
from weightspace.report.style import write_figure
from weightspace.table import read_metrics

with rule_log(snakemake.log[0]):
    metrics = read_metrics(snakemake.input.metrics).to_pandas()
    write_figure(plot_predictor_error(metrics), snakemake.output.pdf, snakemake.output.png)
