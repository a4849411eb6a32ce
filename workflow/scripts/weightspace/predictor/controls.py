"""Controls: what a predictor's network has to be compared with, made from the same originals and measured in the same way."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from weightspace.checkpoints import read_zoo
from weightspace.compression.compress import compress_low_rank, compress_pruned, compress_quantized
from weightspace.errors import InputError
from weightspace.nets.forward import flatten, unflatten
from weightspace.nets.spec import NetSpec
from weightspace.parts import AVERAGED
from weightspace.predictor.equal_error import KINDS, at_equal_error
from weightspace.predictor.measure import (
    EvaluationData,
    bytes_measures,
    compare_answers,
    compare_weights,
    rows_of,
    which_learned,
    with_train_statistics,
)
from weightspace.predictor.originals import Originals, teachers_for
from weightspace.predictor.settings import ControlSettings, SmallRecipe
from weightspace.rng import generator_for
from weightspace.store import TrainingState
from weightspace.table import Source
from weightspace.training import Trainee, task_of, train


class Control(NamedTuple):
    """Networks of a control, and their bytes where these are not the original's."""

    spec: NetSpec
    weights: Float[Tensor, "model weight"]
    num_bytes: Float[Tensor, " model"] | None


class ControlInputs(NamedTuple):
    """What a control is made from."""

    data: EvaluationData
    index: str | Path  # of the zoo of the originals
    predicted: Float[Tensor, "model weight"]  # the predictor's networks
    seed: int  # of the predictor, and of the control's own draws
    recipe: dict[str, object] | None  # settings of small networks: a SmallRecipe
    teacher: Originals | None  # of small networks; None: the originals


def measure_control(source: Source, config: ControlSettings, inputs: ControlInputs, state: TrainingState) -> list[dict]:
    """Rows of one control: of answers always, of weights where they come from the original's."""
    control = make_control(config, inputs, state)
    measures = compare_answers(inputs.data, control.spec, control.weights)
    if config.kind != "small":
        measures |= compare_weights(inputs.data, control.weights)
    if control.num_bytes is not None:
        measures |= bytes_measures(inputs.data, control.num_bytes)
    rows = rows_of(source, measures, inputs.data.models)
    print(which_learned(rows))
    return rows


def make_control(config: ControlSettings, inputs: ControlInputs, state: TrainingState) -> Control:
    """The networks of a control; a killed training of small ones goes on from `state`."""
    data, device = inputs.data, inputs.data.weights.device
    if config.kind in KINDS:
        return Control(data.spec, _at_equal_error(config, inputs), None)
    if config.kind == "averaged":
        size = torch.full((len(data.weights),), 4.0 * data.weights.shape[1])
        averaged = read_zoo(inputs.index).checkpoints([(model, AVERAGED) for model in data.models]).to(device)
        return Control(data.spec, with_train_statistics(data.spec, averaged, data.images), size)
    if config.kind == "small":
        return _small(config, inputs, state)
    return _compressed(data, _compressor(config))


def _at_equal_error(config: ControlSettings, inputs: ControlInputs) -> Float[Tensor, "model weight"]:
    data = inputs.data
    theirs, ours = (unflatten(data.spec, stack) for stack in (data.weights, inputs.predicted))
    draws = [generator_for("control", config.predictor, config.kind, inputs.seed, model) for model in data.models]
    changed = at_equal_error(config.kind, data.layout, theirs, ours, data.rank, draws)
    return flatten(data.spec, theirs | changed)


def _compressor(config: ControlSettings) -> Callable:
    """Parameters of one network and names of the predicted layers to bytes and parameters."""
    if config.kind == "quantized":
        return lambda parameters, names: compress_quantized(parameters, names, config.bits)
    if config.kind == "pruned":
        return lambda parameters, names: compress_pruned(parameters, names, config.kept_share)
    return lambda parameters, names: compress_low_rank(parameters, names, config.kept_share)


def _compressed(data: EvaluationData, compressor: Callable) -> Control:
    parameters, names, networks, sizes = unflatten(data.spec, data.weights), [part.name for part in data.layout.parts], [], []
    for n in range(len(data.weights)):
        compressed = compressor({name: stack[n].cpu() for name, stack in parameters.items()}, names)
        networks.append(flatten(data.spec, {name: tensor.unsqueeze(0) for name, tensor in compressed.parameters.items()}))
        sizes.append(float(len(compressed.blob)))
    return Control(data.spec, torch.cat(networks).to(data.weights), torch.tensor(sizes))


def _small(config: ControlSettings, inputs: ControlInputs, state: TrainingState) -> Control:
    """Small networks trained as the originals were, taught by the originals or by others, as float32 under zstd.

    Raises InputError if one diverged.
    """
    data, recipe = inputs.data, SmallRecipe(**inputs.recipe)
    own = Originals(data.spec, data.weights, data.models)
    teachers = teachers_for(inputs.teacher or own, len(own.weights), own.weights.device)
    task = task_of(recipe, data.images, [recipe.epochs], teacher=teachers, counts_anew=True)
    models = small_trainees(recipe, ("small", config.predictor, inputs.seed), data.models)
    weights = train(task, models, state).weights[:, -1]
    if diverged := [str(model) for model, net in zip(data.models, weights, strict=True) if not net.isfinite().all()]:
        raise InputError(f"small networks {', '.join(diverged)} diverged: lower the learning_rates of the zoo")
    whole, rounded = unflatten(task.spec, weights), []  # no layer is: a file like those of plain compression
    blobs = [compress_quantized({name: stack[n] for name, stack in whole.items()}, rounded, 8).blob for n in range(len(weights))]
    return Control(task.spec, weights.to(data.weights), torch.tensor([float(len(blob)) for blob in blobs]))


def small_trainees(recipe: SmallRecipe, identity: tuple, models: list[int]) -> list[Trainee]:
    """Small networks as the trainer takes them, one for each original, by its index in the zoo."""
    owns = [("original", *identity, model) for model in models]
    rates = zip(recipe.inits, owns, recipe.learning_rates, recipe.weight_decays, strict=True)
    return [Trainee(init, own, (*own, "epoch"), (*own, "dropout"), rate, decay) for init, own, rate, decay in rates]
