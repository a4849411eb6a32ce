"""Rule plot_recovery_clusters: how neurons of students cluster."""

from weightspace.metrics import MERGES_SCHEMA, read_table
from weightspace.progress import rule_log
from weightspace.report.recovery_clusters import plot_recovery_clusters
from weightspace.report.style import write_figure

with rule_log(snakemake.log[0]):
    merges = read_table(snakemake.input.merges, MERGES_SCHEMA).to_pandas()
    write_figure(plot_recovery_clusters(merges), snakemake.output.pdf, snakemake.output.png)
