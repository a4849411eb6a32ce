"""Rule plot_recovery_neurons: weights of units beside the recovered ones."""

from weightspace.metrics import NEURONS_SCHEMA, read_table
from weightspace.progress import rule_log
from weightspace.report.recovery_neurons import plot_recovery_neurons
from weightspace.report.style import write_figure

with rule_log(snakemake.log[0]):
    neurons = read_table(snakemake.input.neurons, NEURONS_SCHEMA).to_pandas()
    write_figure(plot_recovery_neurons(neurons), snakemake.output.pdf, snakemake.output.png)
