"""Controls: what a predictor's network has to be compared with, made from the same originals and measured in the same way."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from weightspace.nets.forward import flatten, unflatten
from weightspace.nets.spec import NetSpec
from weightspace.predictor.compress import compress_low_rank, compress_pruned, compress_quantized
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
from weightspace.predictor.originals import Originals, teachers_for, train_originals
from weightspace.predictor.settings import ControlSettings, OriginalsConfig
from weightspace.rng import generator_for
from weightspace.store import TrainingState
from weightspace.table import Source


class Control(NamedTuple):
    """Networks of a control, and their bytes where these are not the original's."""

    spec: NetSpec
    weights: Float[Tensor, "model weight"]
    num_bytes: Float[Tensor, " model"] | None


class ControlInputs(NamedTuple):
    """What a control is made from."""

    data: EvaluationData
    originals: Originals
    predicted: Float[Tensor, "model weight"]  # the predictor's networks
    seed: int  # of the predictor, and of the control's own draws
    recipe: OriginalsConfig  # of the originals; small networks are trained by it too
    teacher: Originals | None  # of small networks; None: the originals


def measure_control(source: Source, config: ControlSettings, inputs: ControlInputs, state: TrainingState) -> list[dict]:
    """Rows of one control: of answers always, of weights where they come from the original's."""
    control = make_control(config, inputs, state)
    measures = compare_answers(inputs.data, control.spec, control.weights)
    if config.kind != "small":
        measures |= compare_weights(inputs.data, control.weights)
    if control.num_bytes is not None:
        measures |= bytes_measures(inputs.data, control.num_bytes)
    rows = rows_of(source, measures)
    print(which_learned(rows))
    return rows


def make_control(config: ControlSettings, inputs: ControlInputs, state: TrainingState) -> Control:
    """The networks of a control; a killed training of small ones goes on from `state`."""
    data, device = inputs.data, inputs.data.weights.device
    if config.kind in KINDS:
        return Control(data.spec, _at_equal_error(config, inputs), None)
    if config.kind == "averaged":
        size = torch.full((len(data.weights),), 4.0 * data.weights.shape[1])
        return Control(data.spec, with_train_statistics(data.spec, inputs.originals.averaged.to(device), data.images), size)
    if config.kind == "small":
        return _small(config, inputs, state)
    return _compressed(data, _compressor(config))


def _at_equal_error(config: ControlSettings, inputs: ControlInputs) -> Float[Tensor, "model weight"]:
    data = inputs.data
    theirs, ours = (unflatten(data.spec, stack) for stack in (data.weights, inputs.predicted))
    draws = [generator_for("control", config.predictor, config.kind, inputs.seed, n) for n in range(len(data.weights))]
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
    """Small networks by the originals' recipe, taught by the originals or by others, as float32 under zstd."""
    weights, num = inputs.data.weights, len(inputs.data.weights)
    teachers = teachers_for(inputs.teacher or inputs.originals, num, weights.device)
    recipe = inputs.recipe.model_copy(update={"architecture": config.architecture, "num": num})
    trained = train_originals(recipe, inputs.data.images, ("small", config.predictor, inputs.seed), state, teachers)
    whole, rounded = unflatten(trained.spec, trained.weights), []  # no layer is: a file like those of plain compression
    blobs = [compress_quantized({name: stack[n] for name, stack in whole.items()}, rounded, 8).blob for n in range(num)]
    size = torch.tensor([float(len(blob)) for blob in blobs])
    return Control(trained.spec, trained.weights.to(weights), size)
