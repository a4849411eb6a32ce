"""Rule plot_claims: the table of claims as a figure."""

from weightspace.progress import rule_log
from weightspace.report.claims_table import plot_claims
from weightspace.report.style import write_figure
from weightspace.table import read_table

with rule_log(snakemake.log[0]):
    claims = read_table(snakemake.input.claims).to_pandas()
    write_figure(plot_claims(claims, snakemake.params.scenario), snakemake.output.pdf, snakemake.output.png)
