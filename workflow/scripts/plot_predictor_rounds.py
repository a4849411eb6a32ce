"""Rule plot_predictor_rounds: what each round of progressive reconstruction does."""

from weightspace.predictor.figures.rounds import plot_predictor_rounds
from weightspace.progress import rule_log
from weightspace.report.style import write_figure
from weightspace.table import read_metrics

with rule_log(snakemake.log[0]):
    metrics = read_metrics(snakemake.input.metrics).to_pandas()
    write_figure(plot_predictor_rounds(metrics), snakemake.output.pdf, snakemake.output.png)
