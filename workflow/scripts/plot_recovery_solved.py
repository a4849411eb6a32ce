"""Rule plot_recovery_solved: which teachers were recovered exactly."""

from weightspace.progress import rule_log
from weightspace.recovery.figures.solved import plot_recovery_solved
from weightspace.report.style import write_figure
from weightspace.table import read_metrics

with rule_log(snakemake.log[0]):
    metrics = read_metrics(snakemake.input.metrics).to_pandas()
    write_figure(plot_recovery_solved(metrics), snakemake.output.pdf, snakemake.output.png)
