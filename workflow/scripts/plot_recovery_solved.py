"""Rule plot_recovery_solved: which teachers were recovered exactly."""

from weightspace.metrics import read_metrics
from weightspace.progress import rule_log
from weightspace.report.recovery_solved import plot_recovery_solved
from weightspace.report.style import write_figure

with rule_log(snakemake.log[0]):
    metrics = read_metrics(snakemake.input.metrics).to_pandas()
    write_figure(plot_recovery_solved(metrics), snakemake.output.pdf, snakemake.output.png)
