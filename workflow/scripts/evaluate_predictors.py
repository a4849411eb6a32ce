"""Rule evaluate_predictors: the files that can be shipped, and the networks that they decode to against the originals."""

from weightspace.images.tensors import read_images
from weightspace.jobs import job_of
from weightspace.predictor.artifact import save_artifacts
from weightspace.predictor.measure import evaluation_data, kernels_table, measure_predictors, spectra_table
from weightspace.predictor.metrics import METRICS
from weightspace.predictor.orders import read_order
from weightspace.predictor.originals import read_originals
from weightspace.predictor.settings import PredictorSettings
from weightspace.predictor.train import make_task, read_predicted
from weightspace.progress import rule_log
from weightspace.store import choose_device
from weightspace.table import Source, write_metrics, write_table

with rule_log(snakemake.log[0]):
    inputs, output, job, rank = snakemake.input, snakemake.output, job_of(snakemake), read_order(snakemake.input.order)
    source = Source(snakemake.params.scenario, "predictor", snakemake.wildcards.predictor, int(snakemake.wildcards.seed))
    device, config = choose_device(snakemake.resources.device), PredictorSettings(**snakemake.params.predictor)
    predicted, originals = read_predicted(inputs.predictors)[source.cell][source.seed], read_originals(inputs.weights, config)
    networks = save_artifacts(config, make_task(config, originals, rank, device), predicted, output.artifacts, job).to(device)
    data = evaluation_data(config, originals, rank, read_images(inputs.images, device))
    write_metrics(output.metrics, measure_predictors(source, config, predicted, data, networks, output.artifacts), METRICS, job)
    write_table(output.kernels, kernels_table(source, data, networks), job)
    write_table(output.spectra, spectra_table(source, data, networks), job)
