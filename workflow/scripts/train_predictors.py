"""Rule train_predictors: predictors of a cell, and of those that share its job; without distillation no image is read."""

from weightspace.images.tensors import read_images
from weightspace.predictor.orders import read_order
from weightspace.predictor.originals import read_originals
from weightspace.predictor.settings import PredictorConfig
from weightspace.predictor.train import PHASES, TrainedCell, make_task, train_predictors, write_predicted
from weightspace.progress import rule_log
from weightspace.settings import settings_hash
from weightspace.store import TrainingState, choose_device, content_digest

with rule_log(snakemake.log[0]):
    inputs, output, params = snakemake.input, snakemake.output, snakemake.params
    device, cells = choose_device(snakemake.resources.device), {}
    images = next((read_images(path) for path in inputs.images), None)
    teacher = next(map(read_originals, inputs.teacher), None)
    for (cell, chosen), originals, order in zip(params.predictors.items(), inputs.originals, inputs.orders, strict=True):
        config = PredictorConfig(**chosen)
        cells[cell] = TrainedCell(config, make_task(config, read_originals(originals), read_order(order), device))
    key = settings_hash(list(params.predictors.items()), params.version, *map(content_digest, inputs))
    states = {phase: TrainingState(f"{output.predictors}.{phase}.state", key) for phase in PHASES}
    write_predicted(output.predictors, train_predictors(cells, images, teacher, states))
    for state in states.values():
        state.remove()
