"""Rule plot_recovery_sizes: size against error, beside students and baselines."""

from weightspace.progress import rule_log
from weightspace.recovery.figures.sizes import plot_recovery_sizes
from weightspace.report.style import write_figure
from weightspace.table import read_metrics

with rule_log(snakemake.log[0]):
    metrics = read_metrics(snakemake.input.metrics).to_pandas()
    write_figure(plot_recovery_sizes(metrics), snakemake.output.pdf, snakemake.output.png)
