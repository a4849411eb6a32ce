"""Rule regenerate_figures: every figure again, from a metrics table that is already there."""

from weightspace.progress import rule_log
from weightspace.report.regenerate import regenerate, table_to_draw

params = snakemake.params
with rule_log(snakemake.log[0]):
    table = table_to_draw(params.table, params.reference, params.scenario)
    drawn = regenerate(table, params.claims, params.folder, params.scenario)
    print(drawn)
print(drawn)
