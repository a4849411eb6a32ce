"""Rule plot_predictor_spectra: singular values of layers, original and predicted."""

from weightspace.predictor.figures.spectra import plot_predictor_spectra
from weightspace.predictor.metrics import SPECTRA_SCHEMA
from weightspace.progress import rule_log
from weightspace.report.style import write_figure
from weightspace.table import read_table

with rule_log(snakemake.log[0]):
    spectra = read_table(snakemake.input.spectra, SPECTRA_SCHEMA).to_pandas()
    write_figure(plot_predictor_spectra(spectra), snakemake.output.pdf, snakemake.output.png)
