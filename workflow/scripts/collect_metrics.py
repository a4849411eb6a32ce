"""Rule collect_metrics: all metrics of a scenario in one table, and what some figures need besides."""

from weightspace.jobs import job_of
from weightspace.progress import rule_log
from weightspace.report.collect import collect_metrics, collect_tables
from weightspace.report.registry import SIDE_TABLES, schema_of
from weightspace.table import write_table

with rule_log(snakemake.log[0]):
    job = job_of(snakemake)
    table = collect_metrics(snakemake.input.metrics)
    write_table(snakemake.output.metrics, table, job)
    for name in SIDE_TABLES:
        write_table(snakemake.output[name], collect_tables(snakemake.input[name], schema_of(name)), job)
    print(f"{len(table)} rows from {len(snakemake.input.metrics)} tables")
