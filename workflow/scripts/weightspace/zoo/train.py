"""Train a population of small networks as stacks, and measure its models."""

from collections.abc import Iterator
from typing import NamedTuple

import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor

from weightspace.checkpoints import ZooWeights, in_range
from weightspace.ensemble import Moments, Recipe, evaluate, learning_bar, train_epoch, zero_moments
from weightspace.errors import InputError
from weightspace.images.tensors import ImageSet, normalize
from weightspace.nets.init import initial_weights
from weightspace.nets.spec import NetSpec, build_spec
from weightspace.progress import Progress
from weightspace.rng import generator_for, seed_for
from weightspace.store import TrainingState
from weightspace.table import Source
from weightspace.zoo.members import Member, members, split_of, too_few
from weightspace.zoo.settings import ZooConfig

MEASURES = ["train_loss", "train_accuracy", "val_loss", "val_accuracy", "test_loss", "test_accuracy"]


def shard_members(config: ZooConfig, shard: int) -> list[Member]:
    """Models of one shard; raises InputError if the zoo is too small to have two models of every split."""
    if problem := too_few(config):
        raise InputError(problem)
    return members(config)[shard :: config.num_shards]


class ZooTask(NamedTuple):
    """What the models of a zoo are and learn; its images lie on the device that trains."""

    config: ZooConfig
    spec: NetSpec
    images: ImageSet


def make_task(config: ZooConfig, images: ImageSet) -> ZooTask:
    """The zoo's architecture for the shape and classes of its images."""
    return ZooTask(
        config, build_spec(config.architecture, config.activation, images.train_x.shape[1:], len(images.classes)), images
    )


class TrainedModels(NamedTuple):
    """What training leaves of some models at the epochs that are kept."""

    weights: Float[Tensor, "model epoch weight"]
    measures: Float[Tensor, "model epoch measure"]  # in the order of MEASURES; not finite where a model diverged


class Stack(NamedTuple):
    """Models in training."""

    weights: Float[Tensor, "model weight"]
    moments: Moments
    epoch: int  # the last one done; -1 before the untrained models are measured
    step: int


def shard_weights(task: ZooTask, models: list[Member], trained: TrainedModels) -> ZooWeights:
    """What the file of a shard holds."""
    bar = learning_bar(task.images.train_y)
    return ZooWeights(task.spec, task.config.epochs, [member.model for member in models], bar, trained.weights)


def train_models(task: ZooTask, models: list[Member], state: TrainingState) -> TrainedModels:
    """Train models in stacks of at most `stack_size`; a killed run goes on from `state`.

    When the GPU's memory ends, the stack is halved and starts again; no model's numbers depend on
    its stack (bit for bit in stacks of two or more on a CPU, to rounding in a stack of one).
    """
    epochs = task.config.epochs
    trained, stack, start, size = _resume(task, len(models), state)
    begun = start * epochs[-1] + (len(stack.weights) * max(stack.epoch, 0) if stack else 0)
    progress = Progress("model epochs", len(models) * epochs[-1], begun)
    while start < len(models):
        part = slice(start, min(start + size, len(models)))
        try:
            for current in train_stack(task, models[part], stack or new_stack(task, models[part])):
                if current.epoch in epochs:
                    trained.weights[part, epochs.index(current.epoch)] = current.weights.cpu()
                    trained.measures[part, epochs.index(current.epoch)] = measure(task, current.weights).cpu()
                _save(state, trained, current, start, size)
                progress.update(start * epochs[-1] + len(models[part]) * current.epoch)
            start = part.stop
        except torch.OutOfMemoryError as error:
            size = (part.stop - part.start) // 2
            if size == 0:
                raise InputError("not even one model fits into the GPU's memory: lower batch_size") from error
            print(f"out of GPU memory: on with stacks of {size} models")
        stack = current = None  # or the old stack would keep its memory
    return trained


def _save(state: TrainingState, trained: TrainedModels, stack: Stack, start: int, size: int) -> None:
    tensors = {"kept_weights": trained.weights, "kept_measures": trained.measures, "weights": stack.weights}
    state.save_if_due(lambda: tensors | stack.moments._asdict(), start=start, size=size, epoch=stack.epoch, step=stack.step)


def _resume(task: ZooTask, num_models: int, state: TrainingState) -> tuple[TrainedModels, Stack | None, int, int]:
    """What is trained so far, the stack in training, the first of its models, and the size of stacks."""
    shape = (num_models, len(task.config.epochs))
    if (saved := state.load()) is None:
        weights, measures = torch.full((*shape, task.spec.num_weights), torch.nan), torch.full((*shape, len(MEASURES)), torch.nan)
        return TrainedModels(weights, measures), None, 0, task.config.stack_size
    tensors, place = saved
    weights, first, second = (tensors[name].to(task.images.train_x.device) for name in ("weights", *Moments._fields))
    trained = TrainedModels(tensors["kept_weights"], tensors["kept_measures"])
    return trained, Stack(weights, Moments(first, second), place["epoch"], place["step"]), place["start"], place["size"]


def new_stack(task: ZooTask, models: list[Member]) -> Stack:
    """Models before their first step; those that share an init tensor start from the same weights."""
    rows = [initial_weights(task.spec, m.init, generator_for("init", *m.init_identity(task.config))) for m in models]
    weights = torch.stack(rows).to(task.images.train_x.device)
    return Stack(weights, zero_moments(weights), epoch=-1, step=0)


def train_stack(task: ZooTask, models: list[Member], stack: Stack) -> Iterator[Stack]:
    """Yield the stack, trained in place, after each epoch that is still to come; epoch 0 is the untrained one."""
    config, device = task.config, stack.weights.device
    rates = torch.tensor([m.learning_rate for m in models], device=device)
    decays = torch.tensor([m.weight_decay for m in models], device=device)
    seeds = tuple(seed_for("dropout", *m.identity) for m in models)
    recipe = Recipe(config.optimizer, config.momentum, rates, decays, seeds)
    for epoch in range(stack.epoch + 1, config.epochs[-1] + 1):
        step = stack.step
        if epoch > 0:
            step = train_epoch(task.spec, stack.weights, stack.moments, recipe, batches(task, models, epoch), step)
        stack = stack._replace(epoch=epoch, step=step)
        yield stack


def batches(task: ZooTask, models: list[Member], epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Normalized images and labels of one epoch, each model in its own order, drawn from its identity."""
    images = task.images
    num = len(images.train_x)
    order = torch.stack([torch.randperm(num, generator=generator_for("order", *m.identity, epoch)) for m in models])
    for index in order.to(images.train_x.device).split(task.config.batch_size, dim=1):
        yield normalize(images.train_x[index], images), images.train_y[index]


def measure(task: ZooTask, weights: Float[Tensor, "model weight"]) -> Float[Tensor, "model measure"]:
    """Loss and accuracy on train, val and test images, in the order of MEASURES."""
    images = task.images
    splits = [(images.train_x, images.train_y), (images.val_x, images.val_y), (images.test_x, images.test_y)]
    return torch.stack([column for x, y in splits for column in evaluate(task.spec, weights, normalize(x, images), y)], dim=1)


def models_table(config: ZooConfig, models: list[Member], trained: TrainedModels) -> pa.Table:
    """One row per model and epoch: identity, init tensor, measures, gap (train - test accuracy), diverged, split.

    A checkpoint diverged if a measure is not finite, or a weight is not or is so large that its square is not.
    """
    rows = []
    finite = in_range(trained.weights) & trained.measures.isfinite().all(-1)
    for n, member in enumerate(models):
        for e, epoch in enumerate(config.epochs):
            measures = dict(zip(MEASURES, trained.measures[n, e].tolist(), strict=True))
            gap = measures["train_accuracy"] - measures["test_accuracy"]
            rows.append(member._asdict() | measures | {
                "epoch": epoch, "activation": config.activation, "init_tensor": "-".join(map(str, member.init_identity(config))),
                "generalization_gap": gap, "diverged": not bool(finite[n, e]), "split": split_of(member, config),
            })  # fmt: skip
    return pa.Table.from_pylist(rows)


def zoo_metrics(source: Source, models: pa.Table) -> list[dict]:
    """Rows of what is known of every model at every kept epoch, and whether the model diverged by the last one that it has."""
    rows = []
    last = dict(zip(models["model"].to_pylist(), models["epoch"].to_pylist(), strict=True))
    for record in models.to_pylist():
        where = {"split": record["split"], "subject": record["model"]}
        names = [name for name in (*MEASURES, "generalization_gap") if name not in ("train_loss", "val_loss")]
        rows += [source.row(name, record[name], at=record["epoch"], **where) for name in names if record.get(name) is not None]
        if record["epoch"] == last[record["model"]]:
            rows.append(source.row("diverged", float(record["diverged"]), **where))
    return rows


def join_shards(shards: list[ZooWeights], tables: list[pa.Table]) -> tuple[ZooWeights, pa.Table]:
    """The checkpoints and the table of all models, in the order of their indices.

    Raises InputError if a model is missing or there twice.
    """
    models = torch.tensor([model for shard in shards for model in shard.models])
    order = models.argsort()
    if models[order].tolist() != list(range(len(models))):
        raise InputError(f"the shards do not hold models 0 to {len(models) - 1}, each once")
    weights = torch.cat([shard.weights for shard in shards])[order]
    table = pa.concat_tables(tables).sort_by([("model", "ascending"), ("epoch", "ascending")])
    return shards[0]._replace(models=models[order].tolist(), weights=weights), table
