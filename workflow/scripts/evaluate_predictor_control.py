"""Rule evaluate_predictor_control: other ways to a predictor's error or bytes, measured as its networks are."""

from weightspace.images.tensors import read_images
from weightspace.predictor.artifact import load_artifacts
from weightspace.predictor.controls import ControlInputs, measure_control
from weightspace.predictor.measure import evaluation_data, which_learned
from weightspace.predictor.metrics import METRICS
from weightspace.predictor.orders import read_order
from weightspace.predictor.originals import read_originals
from weightspace.predictor.settings import ControlSettings, OriginalsConfig, PredictorSettings
from weightspace.progress import rule_log
from weightspace.settings import settings_hash
from weightspace.store import TrainingState, choose_device, content_digest
from weightspace.table import Source, write_metrics

with rule_log(snakemake.log[0]):
    inputs, metrics, params, wildcards = snakemake.input, snakemake.output.metrics, snakemake.params, snakemake.wildcards
    source = Source(params.scenario, "predictor_control", wildcards.predictor_control, int(wildcards.seed))
    device, originals = choose_device(snakemake.resources.device), read_originals(inputs.originals)
    images = read_images(inputs.images).to(device)
    data = evaluation_data(PredictorSettings(**params.predictor), originals, read_order(inputs.order), images)
    predicted = load_artifacts(originals.spec, inputs.artifacts, len(originals.weights)).to(device)
    teacher = next(map(read_originals, inputs.teacher), None)
    made_from = ControlInputs(data, originals, predicted, source.seed, OriginalsConfig(**params.recipe), teacher)
    digests = map(content_digest, [inputs.originals, inputs.images, *inputs.teacher])
    state = TrainingState(f"{metrics}.state", settings_hash(source.seed, *map(str, params), *digests))
    rows = measure_control(source, ControlSettings(**params.control), made_from, state)
    print(which_learned(rows))
    write_metrics(metrics, rows, METRICS)
    state.remove()
