"""Rule write_cells: what each cell of the scenario is, from its settings."""

from weightspace.progress import rule_log
from weightspace.scenario import cells_table
from weightspace.table import write_table

with rule_log(snakemake.log[0]):
    write_table(snakemake.output.cells, cells_table(snakemake.params.cells))
