"""Originals: the classifiers whose weights predictors hold."""

from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from weightspace.errors import InputError
from weightspace.images.tensors import ImageSet
from weightspace.jobs import Job
from weightspace.nets.spec import NetSpec, build_spec
from weightspace.predictor.settings import OriginalsConfig
from weightspace.store import TrainingState, load_tensors, save_tensors
from weightspace.training import DistillationTeachers, task_of, train, trainees


class Originals(NamedTuple):
    """Trained networks of one spec."""

    spec: NetSpec
    weights: Float[Tensor, "model weight"]  # after the last epoch
    averaged: Float[Tensor, "model weight"]  # mean of the last epochs; its running statistics are the mean ones, not its own


def write_originals(path: str | Path, originals: Originals, job: Job | None = None) -> None:
    """Write them to one file, whole or not at all."""
    tensors = {"weights": originals.weights, "averaged": originals.averaged}
    save_tensors(path, tensors, {"spec": originals.spec.description}, job)


def read_originals(path: str | Path) -> Originals:
    """Inverse of `write_originals`; raises InputError naming the file if it is damaged."""
    tensors, metadata = load_tensors(path)
    return Originals(build_spec(**metadata["spec"]), tensors["weights"], tensors["averaged"])


def train_originals(
    config: OriginalsConfig,
    images: ImageSet,
    identity: tuple,
    state: TrainingState | None = None,
    teacher: DistillationTeachers | None = None,
) -> Originals:
    """Networks trained on the device of the images, each from its own initial weights; a killed run goes on from `state`.

    With a `teacher` they learn its answers in place of labels. The last epoch is kept: nothing is chosen by its accuracy.
    Weights start kaiming_normal, biases uniform in +-1 / sqrt(fan_in) (akamaster's, torch's). Raises InputError if one diverged.
    """
    about = {"averaged_epochs": config.averaged_epochs, "bias": None, "teacher": teacher, "counts_anew": True}
    task = task_of(config, images, [config.epochs], **about)
    identities = [("original", *identity, index) for index in range(config.num)]
    trained = train(task, trainees(identities, "epoch", config.learning_rate, config.weight_decay), state)
    weights = trained.weights[:, -1]
    if diverged := [str(n) for n, own in enumerate(weights) if not own.isfinite().all()]:
        raise InputError(f"originals {', '.join(diverged)} diverged: lower their learning_rate")
    return Originals(task.spec, weights, trained.averaged)


def teachers_for(teacher: Originals, num: int, device: torch.device) -> DistillationTeachers:
    """A teacher for each of `num` students; where there are fewer teachers, they are used again in turn."""
    return DistillationTeachers(teacher.spec, teacher.weights[torch.arange(num) % len(teacher.weights)].to(device))
