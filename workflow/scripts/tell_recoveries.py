"""Rule tell_recoveries: what became of every teacher, as pages and on the terminal."""

from weightspace.progress import rule_log
from weightspace.recovery.figures.verdicts import verdicts_page
from weightspace.report.pages import write_page
from weightspace.table import read

with rule_log(snakemake.log[0]):
    page = verdicts_page(read(snakemake.input.metrics), snakemake.params.scenario)
    write_page(page, snakemake.output.markdown, snakemake.output.html)
print("\n".join(f"{cell}, seed {seed}: {teachers}" for cell, seed, teachers, _ in page.rows))
