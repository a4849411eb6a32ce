"""Rule plot_figure: one figure of the registry, from the table that it needs."""

from pathlib import Path

from weightspace.jobs import job_of
from weightspace.progress import rule_log
from weightspace.report.draw import draw, write_drawn
from weightspace.report.registry import figure_named
from weightspace.table import read

with rule_log(snakemake.log[0]):
    job_of(snakemake)  # its inputs are checked
    figure = figure_named(snakemake.wildcards.figure)
    drawn = draw(figure, read(snakemake.input.table), **snakemake.params.shown)
    write_drawn(figure, drawn, Path(snakemake.output.png).parent)
