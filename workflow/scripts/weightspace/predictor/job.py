"""Predictors of all originals of a cell, from the originals to what files hold and what is measured.

The predictors of all seeds, and of cells that share a job, train as one stack; from then on each seed goes its own way.
"""

from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightspace.config import PredictorConfig
from weightspace.errors import InputError
from weightspace.images.tensors import ImageSet
from weightspace.metrics import Source
from weightspace.nets.forward import flatten, unflatten
from weightspace.predictor.artifact import (
    Artifact,
    Embedding,
    Grid,
    byte_account,
    flops_decode,
    flops_inference,
    kept_parameters,
    save_artifact,
)
from weightspace.predictor.distill import Lesson, rebuilt, train_afterwards, train_jointly
from weightspace.predictor.kernels import Layout, layout_of, to_kernels
from weightspace.predictor.measure import Bench, compare_answers, compare_weights, round_measures, rows_of
from weightspace.predictor.model import predict_all
from weightspace.predictor.orders import kept_order
from weightspace.predictor.originals import Answerers, Originals
from weightspace.predictor.reconstruct import Target, joined, reconstruct, spec_of, target_of
from weightspace.predictor.tune import tune
from weightspace.store import TrainingState

PHASES = ("reconstruction", "distillation", "tuning")  # each with a side file of its own


class Predicted(NamedTuple):
    """Predictors of all originals, of one seed."""

    rounds: Float[Tensor, "round model weight"]  # after each round of reconstruction
    weights: Float[Tensor, "model weight"]  # those that are kept, after distillation, before they are rounded
    rank: Int[Tensor, "model kernel"]  # row of the table of coordinates of each kernel


PredictedCells = dict[str, dict[int, Predicted]]  # by cell and seed


def pack_predicted(predicted: PredictedCells) -> tuple[dict[str, Tensor], dict]:
    """Tensors and JSON-able metadata, as `store.save_tensors` takes them, of all predictors of a job."""
    tensors = {
        f"{cell}.{name}": torch.stack([getattr(own, name) for own in seeds.values()])
        for cell, seeds in predicted.items()
        for name in Predicted._fields
    }
    return tensors, {"seeds": {cell: list(seeds) for cell, seeds in predicted.items()}}


def unpack_predicted(tensors: dict[str, Tensor], metadata: dict) -> PredictedCells:
    """Inverse of `pack_predicted`."""
    return {
        cell: {seed: Predicted(*(tensors[f"{cell}.{name}"][n] for name in Predicted._fields)) for n, seed in enumerate(seeds)}
        for cell, seeds in metadata["seeds"].items()
    }


class Task(NamedTuple):
    """Originals cut into kernels, and what their predictors have to put out."""

    originals: Originals
    layout: Layout
    target: Target


def order_originals(config: PredictorConfig, originals: Originals, folder: str | Path) -> Int[Tensor, "model kernel"]:
    """The order of each original's kernels; `folder` keeps orders."""
    layout, kernels = kernels_of(config, originals)
    return torch.stack([kept_order(layout, own, config.order, folder) for own in kernels])


def kernels_of(config: PredictorConfig, originals: Originals) -> tuple[Layout, Float[Tensor, "model kernel element"]]:
    """What of the originals is predicted. Raises InputError if nothing is, or a kernel is of an even size."""
    layout = layout_of(originals.spec.shapes, config.kernel_sizes, config.linear)
    return layout, to_kernels(layout, unflatten(originals.spec, originals.weights))


def make_task(config: PredictorConfig, originals: Originals, device: torch.device, rank: Int[Tensor, "model kernel"]) -> Task:
    """The kernels of all originals, in their orders. Raises InputError as `kernels_of`."""
    layout, kernels = kernels_of(config, originals)
    return Task(originals, layout, target_of(layout, kernels.to(device), rank.to(device), config))


def train_predictors(
    cells: dict[str, tuple[PredictorConfig, Task]],
    images: ImageSet | None,
    teacher: Originals | None,
    states: dict[str, TrainingState],
) -> PredictedCells:
    """Predictors of all cells: reconstruction, distillation, quantization-aware tuning, as far as the settings ask for these.

    Several cells differ in originals, seeds and order alone, and have no distillation. Draws hang on the originals' cell and the
    seed alone: cells that differ in one setting start alike and see the same batches. `states` are by phase the side files
    from which a killed run goes on. Images are there where there is distillation; a `teacher` is where it is not the
    originals themselves. Raises InputError if a predictor diverged, or if those of some cells cannot share a stack.
    """
    config, task = next(iter(cells.values()))
    how, owners, begin = config.distillation, [], 0
    for cell, (own, its) in cells.items():
        models = range(begin, begin := begin + len(its.originals.weights))
        owners += [(cell, seed, models) for seed in own.seeds]
    names = [(cells[cell][0].originals, seed, n) for cell, seed, models in owners for n in range(len(models))]
    target = joined([its.target for _, its in cells.values()]).of([n for *_, models in owners for n in models])
    lesson = (
        _lesson(task, images, teacher or task.originals, [(config.originals, seed) for seed in config.seeds]) if how else None
    )
    if how and how.when == "jointly":
        weights = train_jointly(config, target, lesson, [(*name, 1) for name in names], states["distillation"])
        rounds = weights.unsqueeze(0)
    else:
        rounds = torch.stack([done.weights for done in reconstruct(config, target, names, states["reconstruction"])])
        weights = rounds[-1]
    if how and how.when == "afterwards":
        weights = train_afterwards(config, target, lesson, weights, states["distillation"])
    if config.quantization and config.quantization.tuned_steps:
        weights = tune(config, target, weights, names, states["tuning"])
    predicted, diverged, nums = {cell: {} for cell in cells}, [], [len(models) for *_, models in owners]
    for (cell, seed, _), *own in zip(owners, rounds.cpu().split(nums, dim=1), weights.cpu().split(nums), strict=True):
        diverged += [f"{cell}, seed {seed}, original {n}" for n, values in enumerate(own[1]) if not values.isfinite().all()]
        predicted[cell][seed] = Predicted(*own, cells[cell][1].target.rank.cpu())
    if diverged:
        raise InputError(f"predictors diverged: {'; '.join(diverged)}: lower the learning_rate, of all cells of the stack")
    return predicted


def _lesson(task: Task, images: ImageSet, teacher: Originals, seeds: list[tuple]) -> Lesson:
    originals, device = task.originals, task.target.kernels.device
    rows = torch.arange(len(originals.weights)) % len(teacher.weights)
    answerers = Answerers(teacher.spec, teacher.weights[rows].repeat(len(seeds), 1).to(device))
    weights = originals.weights.repeat(len(seeds), 1).to(device)
    return Lesson(originals.spec, weights, task.layout, answerers, images.to(device), tuple(seeds))


def save_artifacts(config: PredictorConfig, task: Task, predicted: Predicted, folder: Path) -> Float[Tensor, "model weight"]:
    """Write one file per original; returns the networks that they decode to."""
    spec, rows = spec_of(config, task.target), []
    parameters, predictors = unflatten(task.originals.spec, task.originals.weights), unflatten(spec, predicted.weights)
    grid = config.quantization and Grid(config.quantization.bits, config.quantization.per)
    folder.mkdir(parents=True, exist_ok=True)
    for n, rank in enumerate(predicted.rank):
        own, predictor = ({name: tensor[n] for name, tensor in stack.items()} for stack in (parameters, predictors))
        embedding = Embedding(config.embedding_base, config.embedding_levels)
        kept = kept_parameters(task.layout, own)
        artifact = Artifact(task.originals.spec, task.layout, predictor, config.order, rank, kept, embedding, grid)
        decoded = save_artifact(folder / f"original-{n}.safetensors", artifact)
        rows.append(flatten(task.originals.spec, {name: tensor.unsqueeze(0) for name, tensor in decoded.items()}))
    return torch.cat(rows)


def measure_predictors(
    source: Source, config: PredictorConfig, predicted: Predicted, decoded: tuple[Bench, Float[Tensor, "model weight"], Path]
) -> list[dict]:
    """Rows of the decoded networks, of their files' bytes, and of each round where there are several.

    `decoded` are what the networks are measured against, the networks and the folder of their files.
    """
    bench, networks, folder = decoded
    measures = compare_answers(bench, bench.spec, networks) | compare_weights(bench, networks) | file_measures(bench, folder)
    ones = torch.ones(len(networks))
    measures["num_predictor"] = predicted.weights.shape[1] * ones
    measures["flops_decode"] = flops_decode(bench.layout, config.hidden, config.embedding_levels) * ones
    measures["flops_inference"] = flops_inference(bench.spec) * ones
    rows = rows_of(source, measures)
    if len(predicted.rounds) > 1:
        for n, measures in enumerate(round_measures(bench, round_networks(config, bench, predicted)), start=1):
            rows += rows_of(source, measures, f"_round_{n}")
    return rows


def file_measures(bench: Bench, folder: Path) -> dict[str, Tensor]:
    """Bytes of each original's file, part by part, against those of the original in float32; and of the file under zstd."""
    files = [folder / f"original-{n}.safetensors" for n in range(len(bench.weights))]
    accounts = [byte_account(file) for file in files]
    parts = {f"bytes_{part}": torch.tensor([float(account[part]) for account in accounts]) for part in accounts[0]}
    total = sum(parts.values())
    zipped = [len(pa.compress(file.read_bytes(), "zstd", asbytes=True)) for file in files]
    return parts | bytes_measures(bench, total) | {"bytes_zstd": torch.tensor([float(size) for size in zipped])}


def bytes_measures(bench: Bench, total: Float[Tensor, " model"]) -> dict[str, Tensor]:
    """Bytes, and how much smaller they are than the original's parameters in float32."""
    original = torch.full_like(total, 4 * bench.weights.shape[1])
    return {"bytes": total, "bytes_original": original, "compression": original / total}


def round_networks(config: PredictorConfig, bench: Bench, predicted: Predicted) -> list[Float[Tensor, "model weight"]]:
    """The networks that the predictors of each round put out."""
    kernels = to_kernels(bench.layout, unflatten(bench.spec, bench.weights))
    target = target_of(bench.layout, kernels, bench.rank, config)
    spec = spec_of(config, target)
    return [
        rebuilt(bench.spec, bench.weights, bench.layout, predict_all(spec, weights.to(kernels), target.table, target.rank))
        for weights in predicted.rounds
    ]
