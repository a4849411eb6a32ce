"""Rule plot_predictor_kernels: kernels of the original beside the predicted ones."""

from weightspace.predictor.figures.kernels import plot_predictor_kernels
from weightspace.predictor.metrics import KERNELS_SCHEMA
from weightspace.progress import rule_log
from weightspace.report.style import write_figure
from weightspace.table import read_table

with rule_log(snakemake.log[0]):
    kernels = read_table(snakemake.input.kernels, KERNELS_SCHEMA).to_pandas()
    write_figure(plot_predictor_kernels(kernels), snakemake.output.pdf, snakemake.output.png)
