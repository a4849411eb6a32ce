"""Rule write_cells: what each cell of the scenario is, from the settings."""

from weightspace.cells import cells_table
from weightspace.jobs import job_of
from weightspace.progress import rule_log
from weightspace.table import write_table

with rule_log(snakemake.log[0]):
    table = cells_table(snakemake.params.cells)
    write_table(snakemake.output.cells, table, job_of(snakemake))
    print(f"{len(table)} cells")
