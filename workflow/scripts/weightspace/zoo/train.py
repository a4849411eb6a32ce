"""Train a population of small networks, and measure its models."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from weightspace.checkpoints import Zoo, ZooWriter, in_range
from weightspace.ensemble import evaluate, learning_bar
from weightspace.errors import InputError
from weightspace.images.tensors import ImageSet, normalize
from weightspace.nets.forward import unflatten
from weightspace.nets.spec import NetSpec, build_spec
from weightspace.store import TrainingState
from weightspace.table import Source
from weightspace.training import Task, Trainee, task_of, train
from weightspace.zoo.members import Member, members, spelled, split_of
from weightspace.zoo.settings import ZooConfig

ORDERS = {"teacher": "order", "original": "epoch"}  # words in the seeds of orders, by draws
IDENTITY = ("model", "init", "learning_rate", "weight_decay", "seed")  # columns of a member
MEASURES = ["train_loss", "train_accuracy", "val_loss", "val_accuracy", "test_loss", "test_accuracy"]


def shard_members(config: ZooConfig, shard: int) -> list[Member]:
    """Models of one shard, those of a stack one after the other."""
    return sorted(members(config)[shard :: config.num_shards], key=lambda member: (member.stack, member.model))


def make_task(config: ZooConfig, images: ImageSet, stored: Sequence[int] | None = None) -> Task:
    """What the models of a zoo's first stack learn, whose images lie on the device that trains.

    Weights of all epochs are stored, or of some.
    """
    about = {"averaged_epochs": config.averaged_epochs, "counts_anew": config.draws == "original"}
    return task_of(config, images, config.epochs, stored, measure=measure, num_measures=len(MEASURES) + 1, **about)


def tasks_of(task: Task) -> list[Task]:
    """What each stack of a zoo learns, by the task of the first."""
    about = (task.spec.image_shape, task.spec.num_classes)
    return [
        task._replace(recipe=stack, spec=build_spec(stack.architecture, stack.activation, *about)) for stack in task.recipe.stacks
    ]


def trainee(config: ZooConfig, member: Member, zoo: str) -> Trainee:
    """A model as the trainer takes it; those that share an init tensor start from the same weights. `zoo` is the cell's name."""
    if config.draws == "combination":
        draws = ("init", *member.init_identity(config)), ("order", *member.identity), ("dropout", *member.identity)
    else:
        own = (config.draws, zoo, member.model)
        draws = own, (*own, ORDERS[config.draws]), (*own, "dropout")
    return Trainee(member.init, *draws, member.learning_rate, member.weight_decay)


class Shard(NamedTuple):
    """Where the weights of some models of a zoo are written."""

    writer: ZooWriter
    models: list[Member]

    def go_on(self, num_models: int) -> bool:
        return self.writer.go_on(num_models)

    def write(self, models: slice, weights: Float[Tensor, "model kept weight"]) -> None:
        own = [member.model for member in self.models[models]]
        self.writer.write(own, unflatten(self.writer.zoo.spec_of(own[0]), weights))


def shard_writer(task: Task, folder: str | Path) -> ZooWriter:
    """What writes the weights of a shard."""
    others = {stack: each.spec for stack, each in enumerate(tasks_of(task)) if each.spec != task.spec}
    other = {member.model: others[member.stack] for member in members(task.recipe) if member.stack in others}
    return ZooWriter(folder, task.spec, task.stored, learning_bar(task.images.train_y), task.averaged_epochs > 0, other)


class TrainedModels(NamedTuple):
    """What is known of some models at the epochs that are measured; their weights are in the parts that training wrote."""

    in_range: Bool[Tensor, "model epoch"]  # whether the weights can be computed with
    measures: Float[Tensor, "model epoch measure"]  # in the order of MEASURES; not finite where a model diverged


def train_models(task: Task, zoo: str, models: list[Member], state: TrainingState, writer: ZooWriter) -> TrainedModels:
    """Train models of a zoo, by its name, and write their weights; a killed run goes on from `state`.

    `task` is that of the zoo's first stack; models of others are trained as these say.
    """
    trainees, stacks = [trainee(task.recipe, member, zoo) for member in models], tasks_of(task)
    tasks = [stacks[member.stack] for member in models]
    measures = train(tasks, trainees, state, task.recipe.stack_size, Shard(writer, models)).measures
    return TrainedModels(measures[..., -1] == 1, measures[..., :-1])


def measure(spec: NetSpec, images: ImageSet, weights: Float[Tensor, "model weight"]) -> Float[Tensor, "model measure_and_one"]:
    """Loss and accuracy on train, val and test images, in the order of MEASURES; then 1 for weights that are in range."""
    splits = [(images.train_x, images.train_y), (images.val_x, images.val_y), (images.test_x, images.test_y)]
    columns = [column for x, y in splits for column in evaluate(spec, weights, normalize(x, images), y)]
    return torch.stack([*columns, in_range(weights).to(weights.dtype)], dim=1)


def models_table(config: ZooConfig, models: list[Member], trained: TrainedModels) -> pa.Table:
    """One row per model and epoch: identity, what varies, init tensor, measures, gap (train - test accuracy), diverged, split.

    A checkpoint diverged if a measure is not finite, or a weight is not or is so large that its square is not.
    """
    rows, stacks, choices = [], config.stacks, config.choices
    finite = trained.in_range & trained.measures.isfinite().all(-1)
    for n, member in enumerate(models):
        stack = stacks[member.stack]
        own = dict(zip(IDENTITY, member, strict=False)) | {name: spelled(getattr(stack, name)) for name in choices}
        for e, epoch in enumerate(config.epochs):
            measures = dict(zip(MEASURES, trained.measures[n, e].tolist(), strict=True))
            gap = measures["train_accuracy"] - measures["test_accuracy"]
            rows.append(own | measures | {
                "epoch": epoch, "activation": stack.activation, "init_tensor": "-".join(map(str, member.init_identity(config))),
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


def join_shards(shards: list[Zoo], tables: list[pa.Table]) -> tuple[Zoo, pa.Table]:
    """A zoo of the parts of all shards, and the table of all models, in the order of their indices.

    Raises InputError if a model is missing or there twice.
    """
    zoo = shards[0]._replace(
        parts=[part for shard in shards for part in shard.parts],
        other={model: spec for shard in shards for model, spec in shard.other.items()},
    )
    if zoo.models != list(range(len(zoo.models))):
        raise InputError(f"the shards do not hold models 0 to {len(zoo.models) - 1}, each once")
    return zoo, pa.concat_tables(tables).sort_by([("model", "ascending"), ("epoch", "ascending")])
