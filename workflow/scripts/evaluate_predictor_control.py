"""Rule evaluate_predictor_control: other ways to a predictor's error or bytes, measured as its networks are."""

from weightspace.config import OriginalsConfig, PredictorConfig, PredictorControlConfig, settings_hash
from weightspace.images.tensors import read_images
from weightspace.metrics import Source, write_metrics
from weightspace.predictor.arms import measure_control, stand_of
from weightspace.predictor.job import unpack_predicted
from weightspace.predictor.originals import unpack_originals
from weightspace.progress import rule_log
from weightspace.store import TrainingState, choose_device, content_digest, load_tensors

with rule_log(snakemake.log[0]):
    inputs, metrics, params, wildcards = snakemake.input, snakemake.output.metrics, snakemake.params, snakemake.wildcards
    source = Source(params.scenario, "predictor_control", wildcards.predictor_control, int(wildcards.seed))
    config, predictor = PredictorControlConfig(**params.control), PredictorConfig(**params.predictor, seeds=[source.seed])
    images = read_images(inputs.images, choose_device(snakemake.resources.device))
    teacher = next((unpack_originals(*load_tensors(path)) for path in inputs.teacher), None)
    originals, predicted = unpack_originals(*load_tensors(inputs.originals)), unpack_predicted(*load_tensors(inputs.predictors))
    stand = stand_of(predictor, originals, predicted[config.predictor][source.seed].rank, images, inputs.artifacts)
    state = TrainingState(
        f"{metrics}.state",
        settings_hash(source.seed, *map(str, params), *map(content_digest, [inputs.originals, inputs.images, *inputs.teacher])),
    )
    write_metrics(metrics, measure_control(source, config, stand, (OriginalsConfig(**params.recipe), teacher), state))
    state.remove()
