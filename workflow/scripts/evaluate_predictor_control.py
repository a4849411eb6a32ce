"""Rule evaluate_predictor_control: other ways to a predictor's error or bytes, measured as its networks are."""

from weightspace.config import OriginalsConfig, PredictorConfig, PredictorControlConfig, settings_hash
from weightspace.images import unpack_images
from weightspace.metrics import Source, write_metrics
from weightspace.predictor.arms import measure_control, stand_of
from weightspace.predictor.job import unpack_predicted
from weightspace.predictor.originals import unpack_originals
from weightspace.progress import rule_log
from weightspace.store import TrainingState, choose_device, content_digest, load_tensors

with rule_log(snakemake.log[0]):
    inputs, metrics, params, device = snakemake.input, snakemake.output.metrics, snakemake.params, snakemake.resources.device
    config, predictor = PredictorControlConfig(**params.control), PredictorConfig(**params.predictor, seeds=[0])
    recipe, source = OriginalsConfig(**params.recipe), (params.scenario, "predictor_control", snakemake.wildcards[0])
    images = unpack_images(*load_tensors(inputs.images)).to(choose_device(device))
    teacher = next((unpack_originals(*load_tensors(path)) for path in inputs.teacher), None)
    originals, predicted = unpack_originals(*load_tensors(inputs.originals)), unpack_predicted(*load_tensors(inputs.predictors))
    stand = stand_of(predictor, originals, predicted[config.seed].rank, images, inputs.artifacts)
    state = TrainingState(
        f"{metrics}.state",
        settings_hash(*map(str, params), *map(content_digest, [inputs.originals, inputs.images, *inputs.teacher])),
    )
    write_metrics(metrics, measure_control(Source(*source, config.seed), config, stand, (recipe, teacher), state))
    state.remove()
