"""Originals: the classifiers whose weights predictors hold, trained as one stack by SGD with momentum."""

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Generator, Tensor

from weightspace.ensemble import Moments, Recipe, total_loss, update, zero_moments
from weightspace.errors import InputError
from weightspace.images.tensors import ImageSet, normalize
from weightspace.jobs import Job
from weightspace.nets.forward import forward, move_statistics, unflatten
from weightspace.nets.init import initial_weights
from weightspace.nets.spec import NetSpec, build_spec
from weightspace.nets.steps import Training
from weightspace.predictor.settings import OriginalsConfig
from weightspace.progress import Progress
from weightspace.rng import generator_for, seed_for
from weightspace.store import TrainingState, load_tensors, save_tensors

FRAME = 4  # black pixels around an image that is cropped
MILESTONE_FACTOR = 0.1  # of the learning rate


class Originals(NamedTuple):
    """Trained networks of one spec."""

    spec: NetSpec
    weights: Float[Tensor, "model weight"]  # after the last epoch
    averaged: Float[Tensor, "model weight"]  # mean of the last epochs; its running statistics are the mean ones, not its own


class DistillationTeachers(NamedTuple):
    """Networks whose answers others learn, one teacher per student; their spec may differ from the students'."""

    spec: NetSpec
    weights: Float[Tensor, "model weight"]


class SgdState(NamedTuple):
    """A stack in training; all but the epoch changes in place."""

    weights: Float[Tensor, "model weight"]
    moments: Moments
    summed: Float[Tensor, "model weight"]  # over the epochs that are averaged
    epoch: int  # the last one that is done


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
    spec = build_spec(config.architecture, config.activation, images.train_x.shape[1:], len(images.classes))
    stack = _begun(spec, config, identity, images.train_x.device, state.load() if state else None)
    progress = Progress("epochs", config.epochs, stack.epoch)
    tensors = {"weights": stack.weights, **stack.moments._asdict(), "summed": stack.summed}  # which change in place
    for epoch in train_epochs(spec, config, teacher, stack, images, identity):
        if state:
            state.save_if_due(lambda: tensors, epoch=epoch)
        progress.update(epoch)
    if diverged := [str(n) for n, weights in enumerate(stack.weights) if not weights.isfinite().all()]:
        raise InputError(f"originals {', '.join(diverged)} diverged: lower their learning_rate")
    return Originals(spec, stack.weights.cpu(), (stack.summed / config.averaged_epochs).cpu())


def _begun(
    spec: NetSpec, config: OriginalsConfig, identity: tuple, device: torch.device, saved: tuple[dict[str, Tensor], dict] | None
) -> SgdState:
    """The stack before its first epoch, or as a state file holds it."""
    if saved is not None:
        tensors = {name: tensor.to(device) for name, tensor in saved[0].items()}
        moments = Moments(tensors["first"], tensors["second"])
        return SgdState(tensors["weights"], moments, tensors["summed"], saved[1]["epoch"])
    draws = [generator_for("original", *identity, index) for index in range(config.num)]
    weights = torch.stack([initial_weights(spec, "kaiming_normal", generator, None) for generator in draws]).to(device)
    return SgdState(weights, zero_moments(weights), torch.zeros_like(weights), 0)


def train_epochs(
    spec: NetSpec,
    config: OriginalsConfig,
    teacher: DistillationTeachers | None,
    stack: SgdState,
    images: ImageSet,
    identity: tuple,
) -> Iterator[int]:
    """Train the stack in place, by labels or by a teacher; yield the number of each epoch after it."""
    weights, ones = stack.weights, torch.ones_like(stack.weights[:, 0])
    seeds = [seed_for("original", *identity, index, "dropout") for index in range(config.num)]
    decay = config.weight_decay * _learned(spec).to(weights.device)
    for epoch in range(stack.epoch + 1, config.epochs + 1):
        rate = config.learning_rate * MILESTONE_FACTOR ** sum(epoch > milestone for milestone in config.milestones)
        step = Recipe("sgd", config.momentum, rate * ones, 0 * ones)
        for n, (x, labels) in enumerate(batches(config, images, identity, epoch)):
            leaf, training = weights.detach().requires_grad_(), Training({}, seeds, (epoch, n))
            logits = forward(spec, leaf, x, training=training)
            loss = total_loss(logits, labels) if teacher is None else divergence(taught(teacher, x), logits).sum()
            if config.smoothness:
                loss = loss - config.smoothness * neighbor_similarity(spec, leaf).sum()
            (gradient,) = torch.autograd.grad(loss, leaf)
            update(weights, gradient.addcmul_(weights, decay), stack.moments, step, step=1)  # sgd does not count steps
            move_statistics(spec, weights, training.statistics)
        if epoch > config.epochs - config.averaged_epochs:
            stack.summed.add_(weights)
        yield epoch


def teachers_for(teacher: Originals, num: int, device: torch.device) -> DistillationTeachers:
    """A teacher for each of `num` students; where there are fewer teachers, they are used again in turn."""
    return DistillationTeachers(teacher.spec, teacher.weights[torch.arange(num) % len(teacher.weights)].to(device))


@torch.no_grad()
def taught(
    teacher: DistillationTeachers, x: Float[Tensor, "sets batch channel height width"]
) -> Float[Tensor, "model batch class"]:
    """What each teacher answers to its network's images."""
    return forward(teacher.spec, teacher.weights, x)


def divergence(target: Float[Tensor, "model batch class"], logits: Float[Tensor, "model batch class"]) -> Float[Tensor, " model"]:
    """KL(softmax(target) || softmax(logits)), mean over a model's images."""
    return F.kl_div(logits.log_softmax(-1), target.log_softmax(-1), reduction="none", log_target=True).sum(-1).mean(-1)


def _learned(spec: NetSpec) -> Float[Tensor, " weight"]:
    """1 for weights that are learned, 0 for running statistics, which must not decay."""
    return torch.cat([torch.full((prod(each.shape),), float(each.learned)) for each in spec.parameters])


def batches(
    config: OriginalsConfig, images: ImageSet, identity: tuple, epoch: int
) -> Iterator[tuple[Float[Tensor, "model batch channel height width"], Int64[Tensor, "model batch"]]]:
    """Normalized images and labels of one epoch, each model in its own order and with its own flips and crops."""
    draws, num = [generator_for("original", *identity, index, "epoch", epoch) for index in range(config.num)], len(images.train_x)
    order = torch.stack([torch.randperm(num, generator=generator) for generator in draws]).to(images.train_x.device)
    moves = torch.stack([draw_moves(num if config.augment else 0, generator) for generator in draws]).to(order.device)
    for start in range(0, num, config.batch_size):
        if start and num - start == 1:
            return  # batch norm has no variance of one image
        part = slice(start, start + config.batch_size)
        x = images.train_x[order[:, part]]
        yield normalize(moved(x, moves[:, part]) if config.augment else x, images), images.train_y[order[:, part]]


def draw_moves(num: int, generator: Generator) -> Int64[Tensor, "image 3"]:
    """For each image whether it is flipped, and where its crop begins in the frame: row, column."""
    ends = (2, 2 * FRAME + 1, 2 * FRAME + 1)
    return torch.stack([torch.randint(end, (num,), generator=generator) for end in ends], dim=1)


def moved(
    x: UInt8[Tensor, "model batch channel height width"], moves: Int64[Tensor, "model batch 3"]
) -> UInt8[Tensor, "model batch channel height width"]:
    """Each image flipped or not, then cropped to its size from a frame of FRAME zeros."""
    *_, channels, height, width = x.shape
    flipped, top, left = moves.unsqueeze(3).unbind(2)
    rows = top + torch.arange(height, device=x.device)
    columns = left + torch.arange(width, device=x.device)
    columns = torch.where(flipped == 1, width + 2 * FRAME - 1 - columns, columns)
    framed = F.pad(x, (FRAME, FRAME, FRAME, FRAME)).flatten(3)
    pixels = rows.unsqueeze(3) * (width + 2 * FRAME) + columns.unsqueeze(2)
    return framed.gather(3, pixels.flatten(2).unsqueeze(2).expand(-1, -1, channels, -1)).view_as(x)


def neighbor_similarity(spec: NetSpec, weights: Float[Tensor, "model weight"]) -> Float[Tensor, " model"]:
    """Cosines of kernels that are neighbors in filter or channel, summed over pairs and convolutions, for NeRN's smoothness.

    Kernels of size 1 have no direction: there -|a - b| / norm of the layer stands for the cosine. NeRN's code (eb95803,
    models/regularization.py) divides a by that norm and not b.
    """
    parameters, total = unflatten(spec, weights), torch.zeros_like(weights[:, 0])
    for layer in spec.layers:
        if len(layer.fan_in) == 3:
            kernels = parameters[f"{layer.name}.weight"].flatten(3)
            scalar = kernels.shape[3] == 1
            if scalar:
                kernels = kernels / kernels.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
            for one, other in ((kernels[:, 1:], kernels[:, :-1]), (kernels[:, :, 1:], kernels[:, :, :-1])):
                alike = -(one - other).abs().squeeze(3) if scalar else F.cosine_similarity(one, other, dim=3)
                total = total + alike.sum((1, 2))
    return total
