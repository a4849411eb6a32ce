"""Rule evaluate_predictor_control: other ways to a predictor's error or bytes, measured as its networks are."""

from weightspace.images.tensors import read_images
from weightspace.jobs import job_of
from weightspace.predictor.artifact import load_artifacts
from weightspace.predictor.controls import ControlInputs, measure_control
from weightspace.predictor.measure import evaluation_data
from weightspace.predictor.metrics import METRICS
from weightspace.predictor.orders import read_order
from weightspace.predictor.originals import read_originals, read_teachers
from weightspace.predictor.settings import ControlSettings, PredictorSettings
from weightspace.progress import rule_log
from weightspace.store import choose_device, resumable
from weightspace.table import Source, write_metrics

with rule_log(snakemake.log[0]):
    inputs, metrics, params = snakemake.input, snakemake.output.metrics, snakemake.params
    job, device, config = job_of(snakemake), choose_device(snakemake.resources.device), PredictorSettings(**params.predictor)
    source = Source(params.scenario, "predictor_control", snakemake.wildcards.predictor_control, int(snakemake.wildcards.seed))
    originals, images = read_originals(inputs.weights, config), read_images(inputs.images, device)
    predicted, teacher = load_artifacts(originals, inputs.artifacts).to(device), next(map(read_teachers, inputs.teacher), None)
    data, control = evaluation_data(config, originals, read_order(inputs.order), images), ControlSettings(**params.control)
    made_from = ControlInputs(data, inputs.weights, predicted, source.seed, params.recipe, teacher)
    with resumable(job, metrics) as state:
        write_metrics(metrics, measure_control(source, control, made_from, state), METRICS, job)
