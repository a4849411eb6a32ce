"""Training of predictors of the originals of a cell.

The predictors of all seeds, and of cells that share a job, train as one stack; from then on each seed goes its own way.
"""

from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightspace.errors import InputError
from weightspace.images.tensors import ImageSet
from weightspace.jobs import Job
from weightspace.nets.forward import unflatten
from weightspace.predictor.distill import DistillationData, train_afterwards, train_jointly
from weightspace.predictor.kernels import Layout, layout_of, to_kernels
from weightspace.predictor.originals import Originals, teachers_for
from weightspace.predictor.reconstruct import Target, joined, reconstruct, target_of
from weightspace.predictor.settings import PredictorConfig, PredictorSettings
from weightspace.predictor.tune import tune
from weightspace.store import TrainingState, load_tensors, save_tensors

PHASES = ("reconstruction", "distillation", "tuning")  # each with a side file of its own


class Predicted(NamedTuple):
    """Predictors of all originals, of one seed."""

    rounds: Float[Tensor, "round model weight"]  # after each round of reconstruction
    weights: Float[Tensor, "model weight"]  # those that are kept, after distillation, before they are rounded


PredictedCells = dict[str, dict[int, Predicted]]  # by cell and seed


def write_predicted(path: str | Path, predicted: PredictedCells, job: Job | None = None) -> None:
    """Write all predictors of a job to one file, whole or not at all."""
    tensors = {
        f"{cell}.{name}": torch.stack([getattr(own, name) for own in seeds.values()])
        for cell, seeds in predicted.items()
        for name in Predicted._fields
    }
    save_tensors(path, tensors, {"seeds": {cell: list(seeds) for cell, seeds in predicted.items()}}, job)


def read_predicted(path: str | Path) -> PredictedCells:
    """Inverse of `write_predicted`; raises InputError naming the file if it is damaged."""
    tensors, metadata = load_tensors(path)
    return {
        cell: {seed: Predicted(*(tensors[f"{cell}.{name}"][n] for name in Predicted._fields)) for n, seed in enumerate(seeds)}
        for cell, seeds in metadata["seeds"].items()
    }


class Task(NamedTuple):
    """Originals cut into kernels, and what their predictors have to put out."""

    originals: Originals
    layout: Layout
    target: Target


def make_task(config: PredictorSettings, originals: Originals, rank: Int[Tensor, "model kernel"], device: torch.device) -> Task:
    """The kernels of all originals, in their orders, on the device. Raises InputError as `layout_of`."""
    layout = layout_of(originals.spec.shapes, config.kernel_sizes, config.linear)
    kernels = to_kernels(layout, unflatten(originals.spec, originals.weights)).to(device)
    return Task(originals, layout, target_of(layout, kernels, rank, config))


class TrainedCell(NamedTuple):
    """A cell in a job."""

    config: PredictorConfig
    task: Task


class Owner(NamedTuple):
    """Whose some models of a job's stack are."""

    cell: str
    seed: int
    models: range  # of the job's originals


def train_predictors(
    cells: dict[str, TrainedCell],
    images: ImageSet | None,
    teacher: Originals | None,
    states: dict[str, TrainingState],
) -> PredictedCells:
    """Predictors of all cells: reconstruction, distillation, quantization-aware tuning, as far as the settings ask for these.

    Several cells differ in originals, seeds and order alone, and have no distillation. Random numbers depend on the originals,
    as models of their zoo, and the seed alone: cells that differ in one setting start alike and see the same batches. A killed
    run goes on from the side files `states`, one per phase. Distillation needs images; `teacher` is None if originals teach
    their own predictors.
    Raises InputError if a predictor diverged, or if those of some cells cannot share a stack.
    """
    config, task = next(iter(cells.values()))
    how, owners = config.distillation, _owners(cells)
    names = [(cells[cell].config.zoo, seed, model) for cell, seed, _ in owners for model in cells[cell].task.originals.models]
    target = joined([cell.task.target for cell in cells.values()]).of([n for owner in owners for n in owner.models])
    data = _distillation_data(config, task, images, teacher or task.originals) if how else None
    if how and how.when == "jointly":
        weights = train_jointly(config, target, data, [(*name, 1) for name in names], states["distillation"])
        rounds = weights.unsqueeze(0)
    else:
        rounds = torch.stack([done.weights for done in reconstruct(config, target, names, states["reconstruction"])])
        weights = rounds[-1]
    if how and how.when == "afterwards":
        weights = train_afterwards(config, target, data, weights, states["distillation"])
    if config.quantization and config.quantization.tuned_steps:
        weights = tune(config, target, weights, names, states["tuning"])
    return _given_back(cells, owners, rounds.cpu(), weights.cpu())


def _owners(cells: dict[str, TrainedCell]) -> list[Owner]:
    owners, begin = [], 0
    for cell, (config, task) in cells.items():
        models = range(begin, begin := begin + len(task.originals.weights))
        owners += [Owner(cell, seed, models) for seed in config.seeds]
    return owners


def _given_back(
    cells: dict[str, TrainedCell],
    owners: list[Owner],
    rounds: Float[Tensor, "round model weight"],
    weights: Float[Tensor, "model weight"],
) -> PredictedCells:
    """A stack's predictors by cell and seed."""
    predicted: PredictedCells = {owner.cell: {} for owner in owners}
    diverged, nums = [], [len(owner.models) for owner in owners]
    for owner, own_rounds, own in zip(owners, rounds.split(nums, dim=1), weights.split(nums), strict=True):
        lost = [n for n, values in enumerate(own) if not values.isfinite().all()]
        diverged += [f"{owner.cell}, seed {owner.seed}, original {cells[owner.cell].task.originals.models[n]}" for n in lost]
        predicted[owner.cell][owner.seed] = Predicted(own_rounds, own)
    if diverged:
        raise InputError(f"predictors diverged: {'; '.join(diverged)}: lower the learning_rate, of all cells of the stack")
    return predicted


def _distillation_data(config: PredictorConfig, task: Task, images: ImageSet, teacher: Originals) -> DistillationData:
    """What the predictors of all seeds learn from."""
    originals, device, seeds = task.originals, task.target.kernels.device, len(config.seeds)
    teachers = teachers_for(teacher, len(originals.weights), device)
    teachers = teachers._replace(weights=teachers.weights.repeat(seeds, 1))
    weights = originals.weights.repeat(seeds, 1).to(device)
    draws = tuple((config.zoo, seed) for seed in config.seeds)
    return DistillationData(originals.spec, weights, task.layout, teachers, images.to(device), draws)
