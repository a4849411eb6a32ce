"""Rule train_predictors: predictors of all originals of a cell, for all seeds; without distillation no image is read."""

from pathlib import Path

from weightspace.config import PredictorConfig, settings_hash
from weightspace.images import unpack_images
from weightspace.predictor.job import PHASES, make_task, order_originals, pack_predicted, train_predictors
from weightspace.predictor.originals import unpack_originals
from weightspace.progress import rule_log
from weightspace.store import TrainingState, choose_device, content_digest, load_tensors, save_tensors

with rule_log(snakemake.log[0]):
    inputs, output, params = snakemake.input, snakemake.output, snakemake.params
    config, device = PredictorConfig(**params.predictor), choose_device(snakemake.resources.device)
    images = next((unpack_images(*load_tensors(path)) for path in inputs.images), None)
    teacher = next((unpack_originals(*load_tensors(path)) for path in inputs.teacher), None)
    originals = unpack_originals(*load_tensors(inputs.originals))
    rank = order_originals(config, originals, Path(inputs.originals).parent / "orders" / f"version-{params.version}")
    key = settings_hash(params.predictor, params.version, *map(content_digest, inputs))
    states = {phase: TrainingState(f"{output.predictors}.{phase}.state", key) for phase in PHASES}
    predicted = train_predictors(config, make_task(config, originals, device, rank), images, teacher, states)
    save_tensors(output.predictors, *pack_predicted(predicted))
    for state in states.values():
        state.remove()
