"""Arms: what a predictor's network has to be compared with, made from the same originals and measured alike."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightspace.config import OriginalsConfig, PredictorConfig, PredictorControlConfig
from weightspace.images.tensors import ImageSet
from weightspace.metrics import Source
from weightspace.nets.forward import flatten, unflatten
from weightspace.nets.spec import NetSpec
from weightspace.predictor.artifact import load_network
from weightspace.predictor.compress import compress_low_rank, compress_pruned, compress_quantized
from weightspace.predictor.controls import KINDS, at_equal_error
from weightspace.predictor.job import bytes_measures
from weightspace.predictor.kernels import layout_of
from weightspace.predictor.measure import Bench, bench_of, compare_answers, compare_weights, rows_of, with_train_statistics
from weightspace.predictor.originals import Answerers, Originals, train_originals
from weightspace.rng import generator_for
from weightspace.store import TrainingState


class Control(NamedTuple):
    """Networks of a control, and their bytes where these are not the original's."""

    spec: NetSpec
    weights: Float[Tensor, "model weight"]
    num_bytes: Float[Tensor, " model"] | None


class Stand(NamedTuple):
    """What a control is made from."""

    bench: Bench
    originals: Originals
    predicted: Float[Tensor, "model weight"]  # the predictor's networks
    seed: int  # of the predictor, and of the control's own draws


def stand_of(
    config: PredictorConfig, originals: Originals, rank: Int[Tensor, "model kernel"], images: ImageSet, folder: str | Path
) -> Stand:
    """What the controls of a predictor of one seed are made from; `folder` has its files, the images lie where networks run."""
    device, layout = images.train_x.device, layout_of(originals.spec.shapes, config.kernel_sizes, config.linear)
    bench, folder = bench_of(originals, layout, rank, images, device), Path(folder)
    networks = [load_network(folder / f"original-{n}.safetensors") for n in range(len(rank))]
    rows = [flatten(bench.spec, {name: tensor.unsqueeze(0) for name, tensor in network.items()}) for network in networks]
    return Stand(bench, originals, torch.cat(rows).to(device), config.seeds[0])


def measure_control(
    source: Source,
    config: PredictorControlConfig,
    stand: Stand,
    learning: tuple[OriginalsConfig, Originals | None],
    state: TrainingState,
) -> list[dict]:
    """Rows of one control: of answers always, of weights where they come from the original's."""
    control = make_control(config, stand, learning, state)
    measures = compare_answers(stand.bench, control.spec, control.weights)
    if config.kind != "small":
        measures |= compare_weights(stand.bench, control.weights)
    if control.num_bytes is not None:
        measures |= bytes_measures(stand.bench, control.num_bytes)
    return rows_of(source, measures)


def make_control(
    config: PredictorControlConfig, stand: Stand, learning: tuple[OriginalsConfig, Originals | None], state: TrainingState
) -> Control:
    """The networks of a control; `learning`, the originals' recipe and another teacher, is for small ones, which are trained."""
    bench, device = stand.bench, stand.bench.weights.device
    if config.kind in KINDS:
        return Control(bench.spec, _at_equal_error(config, stand), None)
    if config.kind == "averaged":
        size = torch.full((len(bench.weights),), 4.0 * bench.weights.shape[1])
        return Control(bench.spec, with_train_statistics(bench.spec, stand.originals.averaged.to(device), bench.images), size)
    if config.kind == "small":
        return _small(config, stand, learning, state)
    return _compressed(bench, _compressor(config))


def _at_equal_error(config: PredictorControlConfig, stand: Stand) -> Float[Tensor, "model weight"]:
    bench = stand.bench
    theirs, ours = (unflatten(bench.spec, stack) for stack in (bench.weights, stand.predicted))
    draws = [generator_for("control", config.predictor, config.kind, stand.seed, n) for n in range(len(bench.weights))]
    changed = at_equal_error(config.kind, bench.layout, (theirs, ours), bench.rank, draws)
    return flatten(bench.spec, theirs | changed)


def _compressor(config: PredictorControlConfig) -> Callable:
    """Parameters of one network and names of the predicted layers to bytes and parameters."""
    if config.kind == "quantized":
        return lambda parameters, names: compress_quantized(parameters, names, config.bits)
    if config.kind == "pruned":
        return lambda parameters, names: compress_pruned(parameters, names, config.kept_share)
    return lambda parameters, names: compress_low_rank(parameters, names, config.kept_share)


def _compressed(bench: Bench, compressor: Callable) -> Control:
    parameters, names, networks, sizes = unflatten(bench.spec, bench.weights), [part.name for part in bench.layout.parts], [], []
    for n in range(len(bench.weights)):
        compressed = compressor({name: stack[n].cpu() for name, stack in parameters.items()}, names)
        networks.append(flatten(bench.spec, {name: tensor.unsqueeze(0) for name, tensor in compressed.parameters.items()}))
        sizes.append(float(len(compressed.blob)))
    return Control(bench.spec, torch.cat(networks).to(bench.weights), torch.tensor(sizes))


def _small(
    config: PredictorControlConfig, stand: Stand, learning: tuple[OriginalsConfig, Originals | None], state: TrainingState
) -> Control:
    """Small networks by the originals' recipe, taught by the originals or by others, as float32 under zstd."""
    recipe, teacher = learning
    images, taught_by, num = stand.bench.images, teacher or stand.originals, len(stand.bench.weights)
    rows = torch.arange(num) % len(taught_by.weights)
    answerers = Answerers(taught_by.spec, taught_by.weights[rows].to(stand.bench.weights.device))
    recipe = recipe.model_copy(update={"architecture": config.architecture, "num": num})
    trained = train_originals(recipe, images, ("small", config.predictor, stand.seed), state, answerers)
    whole, rounded = unflatten(trained.spec, trained.weights), []  # no layer is: a file like those of plain compression
    blobs = [compress_quantized({name: stack[n] for name, stack in whole.items()}, rounded, 8).blob for n in range(num)]
    size = torch.tensor([float(len(blob)) for blob in blobs])
    return Control(trained.spec, trained.weights.to(stand.bench.weights), size)
