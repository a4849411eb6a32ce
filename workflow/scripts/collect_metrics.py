"""Rule collect_metrics: all metrics of a scenario in one table, and what some figures need besides."""

from weightspace.predictor.metrics import KERNELS_SCHEMA, SPECTRA_SCHEMA
from weightspace.progress import rule_log
from weightspace.recovery.metrics import MERGES_SCHEMA, NEURONS_SCHEMA
from weightspace.report.collect import collect_metrics, collect_tables
from weightspace.table import write_table

with rule_log(snakemake.log[0]):
    table = collect_metrics(snakemake.input.metrics)
    write_table(snakemake.output.metrics, table)
    write_table(snakemake.output.recovery_merges, collect_tables(snakemake.input.merges, MERGES_SCHEMA))
    write_table(snakemake.output.recovery_neurons, collect_tables(snakemake.input.neurons, NEURONS_SCHEMA))
    write_table(snakemake.output.predictor_kernels, collect_tables(snakemake.input.kernels, KERNELS_SCHEMA))
    write_table(snakemake.output.predictor_spectra, collect_tables(snakemake.input.spectra, SPECTRA_SCHEMA))
    print(f"{len(table)} rows from {len(snakemake.input.metrics)} tables")
