"""Rule train_predictors: predictors of a cell, and of those that share its job; without distillation no image is read."""

from pathlib import Path

from weightspace.config import PredictorConfig, settings_hash
from weightspace.images.tensors import read_images
from weightspace.predictor.job import PHASES, make_task, order_originals, pack_predicted, train_predictors
from weightspace.predictor.originals import unpack_originals
from weightspace.progress import rule_log
from weightspace.store import TrainingState, choose_device, content_digest, load_tensors, save_tensors

with rule_log(snakemake.log[0]):
    inputs, output, params = snakemake.input, snakemake.output, snakemake.params
    device, cells = choose_device(snakemake.resources.device), {}
    images = next((read_images(path) for path in inputs.images), None)
    teacher = next((unpack_originals(*load_tensors(path)) for path in inputs.teacher), None)
    for (cell, chosen), path in zip(params.predictors.items(), inputs.originals, strict=True):
        config, originals = PredictorConfig(**chosen), unpack_originals(*load_tensors(path))
        rank = order_originals(config, originals, Path(path).parent / "orders" / f"version-{params.version}")
        cells[cell] = (config, make_task(config, originals, device, rank))
    key = settings_hash(list(params.predictors.items()), params.version, *map(content_digest, inputs))
    states = {phase: TrainingState(f"{output.predictors}.{phase}.state", key) for phase in PHASES}
    save_tensors(output.predictors, *pack_predicted(train_predictors(cells, images, teacher, states)))
    for state in states.values():
        state.remove()
