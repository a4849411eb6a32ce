"""Rule plot_recovery_neurons: weights of units beside the recovered ones."""

from weightspace.progress import rule_log
from weightspace.recovery.figures.neurons import plot_recovery_neurons
from weightspace.recovery.metrics import NEURONS_SCHEMA
from weightspace.report.style import write_figure
from weightspace.table import read_table

with rule_log(snakemake.log[0]):
    neurons = read_table(snakemake.input.neurons, NEURONS_SCHEMA).to_pandas()
    write_figure(plot_recovery_neurons(neurons), snakemake.output.pdf, snakemake.output.png)
