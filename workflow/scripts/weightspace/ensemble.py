"""Many networks as one: run a stack, measure it, train it with one optimizer, set its running statistics."""

from collections.abc import Iterator
from math import ceil, sqrt
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from weightspace.nets.forward import forward, move_statistics
from weightspace.nets.spec import NetSpec
from weightspace.nets.steps import Training

CHUNK = 2**15  # image passes per call of forward; more only fills the cache
RECALIBRATION_BATCH = 256  # images at most, whose statistics count as one batch's
DECAY_1, DECAY_2, EPSILON = 0.9, 0.999, 1e-8  # Adam's defaults (Kingma and Ba 2015)


class Recipe(NamedTuple):
    """How each model of a stack is trained."""

    optimizer: str  # adam or sgd
    momentum: float  # of sgd
    learning_rate: Float[Tensor, " model"]
    weight_decay: Float[Tensor, " model"]  # L2, coupled, as torch.optim.Adam and SGD
    seeds: tuple[int, ...] | None = None  # of each model's dropout; None: it does not act


class Moments(NamedTuple):
    """State of the stacked optimizer; updated in place."""

    first: Float[Tensor, "model weight"]
    second: Float[Tensor, "model weight"]


def zero_moments(weights: Float[Tensor, "model weight"]) -> Moments:
    """Moments before the first step."""
    return Moments(torch.zeros_like(weights), torch.zeros_like(weights))


def total_loss(logits: Float[Tensor, "model batch class"], labels: Int[Tensor, "model batch"]) -> Float[Tensor, ""]:
    """Cross-entropy: mean over a model's batch, sum over models, so that each gets the gradient it would get alone."""
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum") / labels.shape[1]


def update(weights: Tensor, gradient: Tensor, moments: Moments, recipe: Recipe, step: int) -> None:
    """One step (counted from 1) of Adam or of SGD with momentum for every model, in place.

    Equal to torch.optim.Adam and torch.optim.SGD run on each model with its own learning rate and weight decay.
    """
    gradient = torch.addcmul(gradient, weights, recipe.weight_decay.unsqueeze(1))
    rate = recipe.learning_rate.unsqueeze(1)
    if recipe.optimizer == "sgd":
        moments.first.mul_(recipe.momentum).add_(gradient)
        weights.addcmul_(moments.first, rate, value=-1)
        return
    moments.first.lerp_(gradient, 1 - DECAY_1)
    moments.second.mul_(DECAY_2).addcmul_(gradient, gradient, value=1 - DECAY_2)
    denominator = (moments.second / (1 - DECAY_2**step)).sqrt_().add_(EPSILON)
    weights.sub_(moments.first / denominator * (rate / (1 - DECAY_1**step)))


def train_epoch(
    spec: NetSpec,
    weights: Float[Tensor, "model weight"],
    moments: Moments,
    recipe: Recipe,
    batches: Iterator[tuple[Float[Tensor, "model batch channel height width"], Int[Tensor, "model batch"]]],
    step: int,
) -> int:
    """Train a stack in place on one epoch's batches; returns the number of steps done so far."""
    for images, labels in batches:
        step += 1
        leaf = weights.detach().requires_grad_()
        logits = forward(spec, leaf, images, training=Training(seeds=recipe.seeds, step=(step,)))
        (gradient,) = torch.autograd.grad(total_loss(logits, labels), leaf)
        update(weights, gradient, moments, recipe, step)
    return step


@torch.no_grad()
def outputs(
    spec: NetSpec, weights: Float[Tensor, "model weight"], images: Float[Tensor, "batch channel height width"]
) -> Float[Tensor, "model batch class"]:
    """Logits of all models on the same images, in chunks that fit."""
    size = max(1, CHUNK // max(1, len(images)))
    rows = [[forward(spec, stack, part.unsqueeze(0)) for part in images.split(CHUNK)] for stack in weights.split(size)]
    return torch.cat([torch.cat(row, dim=1) for row in rows])


def evaluate(
    spec: NetSpec,
    weights: Float[Tensor, "model weight"],
    images: Float[Tensor, "batch channel height width"],
    labels: Int[Tensor, " batch"],
) -> tuple[Float[Tensor, " model"], Float[Tensor, " model"]]:
    """Mean cross-entropy and accuracy (a fraction) of each model; not finite where the model is not."""
    logits = outputs(spec, weights, images)
    loss = F.cross_entropy(logits.flatten(0, 1), labels.repeat(len(weights)), reduction="none").view(len(weights), -1).mean(1)
    return loss, (logits.argmax(-1) == labels).float().mean(1)


def learning_bar(labels: Int[Tensor, " image"]) -> float:
    """Accuracy of the best constant answer to so many images, plus three standard errors of it."""
    share = float(labels.bincount().max()) / len(labels)
    return share + 3 * sqrt(share * (1 - share) / len(labels))


@torch.no_grad()
def recalibrated(
    spec: NetSpec, weights: Float[Tensor, "model weight"], images: Float[Tensor, "batch channel height width"]
) -> Float[Tensor, "model weight"]:
    """The same weights with the running statistics of these images: means over batches that count by their images.

    Of at most RECALIBRATION_BATCH images they are the exact statistics of all of them.
    """
    changed, seen = weights.clone(), 0
    for part in images.tensor_split(ceil(len(images) / RECALIBRATION_BATCH)):
        statistics: dict[str, Tensor] = {}
        forward(spec, weights, part.unsqueeze(0), training=Training(statistics))
        seen += len(part)
        move_statistics(spec, changed, statistics, len(part) / seen)
    return changed
