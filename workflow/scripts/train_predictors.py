"""Rule train_predictors: predictors of a cell, and of those that share its job; without distillation no image is read."""

from weightspace.images.tensors import read_images
from weightspace.jobs import job_of
from weightspace.predictor.orders import read_order
from weightspace.predictor.originals import read_originals, read_teachers
from weightspace.predictor.settings import PredictorConfig
from weightspace.predictor.train import PHASES, TrainedCell, make_task, train_predictors, write_predicted
from weightspace.progress import rule_log
from weightspace.store import choose_device, resumable

with rule_log(snakemake.log[0]):
    inputs, predictors, params = snakemake.input, snakemake.output.predictors, snakemake.params
    job, device, cells = job_of(snakemake), choose_device(snakemake.resources.device), {}
    images, teacher = next(map(read_images, inputs.images), None), next(map(read_teachers, inputs.teacher), None)
    for (cell, chosen), weights, order in zip(params.predictors.items(), inputs.weights, inputs.orders, strict=True):
        config = PredictorConfig(**chosen)
        cells[cell] = TrainedCell(config, make_task(config, read_originals(weights, config), read_order(order), device))
    with resumable(job, predictors) as state:
        states = {phase: state.phase(phase) for phase in PHASES}
        write_predicted(predictors, train_predictors(cells, images, teacher, states), job)
