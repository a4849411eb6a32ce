"""Rule regenerate_figures: figures again, all or some, from a metrics table that is already there."""

from weightspace.progress import rule_log
from weightspace.report.regenerate import Shown, regenerate, table_to_draw

params = snakemake.params
with rule_log(snakemake.log[0]):
    table = table_to_draw(params.table, params.reference, params.scenario)
    shown = {name: Shown(**figure) for name, figure in params.shown.items()}
    drawn = regenerate(table, params.claims, params.folder, shown, params.only)
    print(drawn)
print(drawn)
