"""Train a population of small networks, and measure its models."""

import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor

from weightspace.checkpoints import ZooWeights, in_range
from weightspace.ensemble import evaluate, learning_bar
from weightspace.errors import InputError
from weightspace.images.tensors import ImageSet, normalize
from weightspace.nets.spec import NetSpec
from weightspace.store import TrainingState
from weightspace.table import Source
from weightspace.training import Task, Trained, Trainee, task_of, train
from weightspace.zoo.members import Member, members, split_of, too_few
from weightspace.zoo.settings import ZooConfig

MEASURES = ["train_loss", "train_accuracy", "val_loss", "val_accuracy", "test_loss", "test_accuracy"]


def shard_members(config: ZooConfig, shard: int) -> list[Member]:
    """Models of one shard; raises InputError if the zoo is too small to have two models of every split."""
    if problem := too_few(config):
        raise InputError(problem)
    return members(config)[shard :: config.num_shards]


def make_task(config: ZooConfig, images: ImageSet) -> Task:
    """What the models of a zoo learn; its images lie on the device that trains."""
    return task_of(config, images, config.epochs, measure=measure, num_measures=len(MEASURES))


def trainee(config: ZooConfig, member: Member) -> Trainee:
    """A model as the trainer takes it; those that share an init tensor start from the same weights."""
    draws = ("init", *member.init_identity(config)), ("order", *member.identity), ("dropout", *member.identity)
    return Trainee(member.init, *draws, member.learning_rate, member.weight_decay)


def train_models(task: Task, models: list[Member], state: TrainingState) -> Trained:
    """Train models of a zoo; a killed run goes on from `state`. Measures are not finite where a model diverged."""
    return train(task, [trainee(task.recipe, member) for member in models], state, task.recipe.stack_size)


def shard_weights(task: Task, models: list[Member], trained: Trained) -> ZooWeights:
    """What the file of a shard holds."""
    bar = learning_bar(task.images.train_y)
    return ZooWeights(task.spec, task.epochs, [member.model for member in models], bar, trained.weights)


def measure(spec: NetSpec, images: ImageSet, weights: Float[Tensor, "model weight"]) -> Float[Tensor, "model measure"]:
    """Loss and accuracy on train, val and test images, in the order of MEASURES."""
    splits = [(images.train_x, images.train_y), (images.val_x, images.val_y), (images.test_x, images.test_y)]
    return torch.stack([column for x, y in splits for column in evaluate(spec, weights, normalize(x, images), y)], dim=1)


def models_table(config: ZooConfig, models: list[Member], trained: Trained) -> pa.Table:
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
    """Rows of every measure of every model at every kept epoch, and whether the model diverged by the last one."""
    rows = []
    last = max(models["epoch"].to_pylist())
    for record in models.to_pylist():
        where = {"split": record["split"], "subject": record["model"]}
        names = [name for name in (*MEASURES, "generalization_gap") if name not in ("train_loss", "val_loss")]
        rows += [source.row(name, record[name], at=record["epoch"], **where) for name in names]
        if record["epoch"] == last:
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
