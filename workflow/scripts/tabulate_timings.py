"""Rule tabulate_timings: time and memory of the scenario's jobs."""

from weightspace.progress import rule_log
from weightspace.report.pages import timings_page, write_page
from weightspace.report.timings import tabulate_timings
from weightspace.table import write_table

with rule_log(snakemake.log[0]):
    timings = tabulate_timings(snakemake.params.benchmarks)
    write_table(snakemake.output.timings, timings)
    page = timings_page(timings.to_pandas(), snakemake.params.scenario)
    write_page(page, snakemake.output.markdown, snakemake.output.html)
print(timings.to_pandas().round(1).to_string(index=False))
