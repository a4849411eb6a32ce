"""Rule evaluate_predictors: the files that can be shipped, and the networks that they decode to against the originals."""

from pathlib import Path

from weightspace.config import PredictorConfig
from weightspace.images.tensors import read_images
from weightspace.metrics import Source, write_metrics, write_table
from weightspace.predictor.job import make_task, measure_predictors, save_artifacts, unpack_predicted
from weightspace.predictor.measure import bench_of, kernels_table, spectra_table
from weightspace.predictor.originals import unpack_originals
from weightspace.progress import rule_log
from weightspace.store import choose_device, load_tensors

with rule_log(snakemake.log[0]):
    inputs, output, params, wildcards = snakemake.input, snakemake.output, snakemake.params, snakemake.wildcards
    source = Source(params.scenario, "predictor", wildcards.predictor, int(wildcards.seed))
    config, device = PredictorConfig(**params.predictor, seeds=[source.seed]), choose_device(snakemake.resources.device)
    originals, predicted = unpack_originals(*load_tensors(inputs.originals)), unpack_predicted(*load_tensors(inputs.predictors))
    predicted = predicted[source.cell][source.seed]
    task, folder = make_task(config, originals, device, predicted.rank), Path(output.artifacts)
    bench = bench_of(originals, task.layout, predicted.rank, read_images(inputs.images), device)
    networks = save_artifacts(config, task, predicted, folder).to(device)
    write_metrics(output.metrics, measure_predictors(source, config, predicted, (bench, networks, folder)))
    write_table(output.kernels, kernels_table(source, bench, networks))
    write_table(output.spectra, spectra_table(source, bench, networks))
