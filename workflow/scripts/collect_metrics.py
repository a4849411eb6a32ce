"""Rule collect_metrics: all metrics of a scenario in one table."""

from weightspace.metrics import write_table
from weightspace.progress import rule_log
from weightspace.report.collect import collect_metrics

with rule_log(snakemake.log[0]):
    table = collect_metrics(snakemake.input)
    write_table(snakemake.output.metrics, table)
    print(f"{len(table)} rows from {len(snakemake.input)} tables")
