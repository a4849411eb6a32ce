"""Rule plot_predictor_spectra: singular values of layers, original and predicted."""

from weightspace.metrics import SPECTRA_SCHEMA, read_table
from weightspace.progress import rule_log
from weightspace.report.predictor_spectra import plot_predictor_spectra
from weightspace.report.style import write_figure

with rule_log(snakemake.log[0]):
    spectra = read_table(snakemake.input.spectra, SPECTRA_SCHEMA).to_pandas()
    write_figure(plot_predictor_spectra(spectra), snakemake.output.pdf, snakemake.output.png)
