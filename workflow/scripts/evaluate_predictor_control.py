"""Rule evaluate_predictor_control: other ways to a predictor's error or bytes, measured as its networks are."""

from weightspace.images.tensors import read_images
from weightspace.jobs import job_of
from weightspace.predictor.artifact import load_artifacts
from weightspace.predictor.controls import ControlInputs, measure_control
from weightspace.predictor.measure import evaluation_data
from weightspace.predictor.metrics import METRICS
from weightspace.predictor.orders import read_order
from weightspace.predictor.originals import read_originals
from weightspace.predictor.settings import ControlSettings, OriginalsConfig, PredictorSettings
from weightspace.progress import rule_log
from weightspace.store import choose_device, resumable
from weightspace.table import Source, write_metrics

with rule_log(snakemake.log[0]):
    inputs, metrics, params, wildcards = snakemake.input, snakemake.output.metrics, snakemake.params, snakemake.wildcards
    job, device = job_of(snakemake), choose_device(snakemake.resources.device)
    source = Source(params.scenario, "predictor_control", wildcards.predictor_control, int(wildcards.seed))
    originals, order, images = read_originals(inputs.originals), read_order(inputs.order), read_images(inputs.images, device)
    predicted, teacher = load_artifacts(originals, inputs.artifacts).to(device), next(map(read_originals, inputs.teacher), None)
    data = evaluation_data(PredictorSettings(**params.predictor), originals, order, images)
    made_from = ControlInputs(data, originals, predicted, source.seed, OriginalsConfig(**params.recipe), teacher)
    with resumable(job, metrics) as state:
        write_metrics(metrics, measure_control(source, ControlSettings(**params.control), made_from, state), METRICS, job)
