"""Rule plot_recovery_coverage: share of recovered units against how exactly."""

from weightspace.progress import rule_log
from weightspace.recovery.figures.coverage import plot_recovery_coverage
from weightspace.report.style import write_figure
from weightspace.table import read_metrics

with rule_log(snakemake.log[0]):
    metrics = read_metrics(snakemake.input.metrics).to_pandas()
    write_figure(plot_recovery_coverage(metrics), snakemake.output.pdf, snakemake.output.png)
