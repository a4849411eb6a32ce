"""Rule plot_recovery_clusters: how neurons of students cluster."""

from weightspace.progress import rule_log
from weightspace.recovery.figures.clusters import plot_recovery_clusters
from weightspace.recovery.metrics import MERGES_SCHEMA
from weightspace.report.style import write_figure
from weightspace.table import read_table

with rule_log(snakemake.log[0]):
    merges = read_table(snakemake.input.merges, MERGES_SCHEMA).to_pandas()
    write_figure(plot_recovery_clusters(merges), snakemake.output.pdf, snakemake.output.png)
