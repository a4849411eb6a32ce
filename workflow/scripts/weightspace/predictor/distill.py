"""Distillation: predictors learn what a teacher answers, with the reconstruction (NeRN) or after it (Choi et al. 2024)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightspace.images.augment import draw_moves, moved
from weightspace.images.tensors import ImageSet, normalize
from weightspace.nets.forward import flatten, forward, unflatten
from weightspace.nets.spec import NetSpec
from weightspace.predictor.kernels import Layout, from_kernels
from weightspace.predictor.learn import Schedule, learn, resumed, start_from
from weightspace.predictor.model import predict
from weightspace.predictor.reconstruct import (
    Target,
    batch_square,
    draw,
    predict_rows,
    reconstruction_gradient,
    residual,
    schedule_of,
    spec_of,
    start_descent,
)
from weightspace.predictor.settings import DistillationConfig, PredictorSettings
from weightspace.rng import generator_for
from weightspace.store import TrainingState
from weightspace.training import DistillationTeachers

MAP_EPSILON = 1e-3  # added to a feature map's norm (attention_loss.py since dee8518)
FLOOR = 1e-4  # added to a network's probabilities (distillation_loss.py)
NOISE_RANGE = 2.0  # of uniform noise, in normalized pixels


class DistillationData(NamedTuple):
    """Originals, whose weights that are not predicted stay as they are, who teaches their predictors, and on what."""

    spec: NetSpec
    originals: Float[Tensor, "model weight"]
    layout: Layout
    teacher: DistillationTeachers
    images: ImageSet
    draws: tuple[tuple, ...]  # name the draws of inputs, each for an equal share of the models: those of one seed see the same


def rebuilt(
    spec: NetSpec, originals: Float[Tensor, "model weight"], layout: Layout, kernels: Float[Tensor, "model kernel element"]
) -> Float[Tensor, "model weight"]:
    """The originals with predicted kernels in place of their own."""
    return flatten(spec, unflatten(spec, originals) | from_kernels(layout, kernels))


def shown(config: DistillationConfig, data: DistillationData, step: int) -> Float[Tensor, "sets batch channel height width"]:
    """What networks see at a step (counted from 1): one set for all, or a set for each."""
    sets = torch.cat([inputs(config, data.images, identity, step) for identity in data.draws])
    return sets if len(sets) == 1 else sets.repeat_interleave(len(data.originals) // len(sets), 0)


def inputs(
    config: DistillationConfig, images: ImageSet, identity: tuple, step: int
) -> Float[Tensor, "1 batch channel height width"]:
    """One set of inputs: the next images of an epoch in random order, or noise."""
    size, generator = config.batch_size, generator_for("inputs", *identity, step)
    shape = (1, size, *images.train_x.shape[1:])
    if config.inputs == "gaussian_noise":
        return torch.randn(shape, generator=generator).to(images.train_x.device)
    if config.inputs == "uniform_noise":
        return (NOISE_RANGE * (2 * torch.rand(shape, generator=generator) - 1)).to(images.train_x.device)
    per_epoch = max(1, len(images.train_x) // size)
    epoch, place = divmod(step - 1, per_epoch)
    order = torch.randperm(len(images.train_x), generator=generator_for("images", *identity, epoch))
    x = images.train_x[order[place * size : (place + 1) * size].to(images.train_x.device)].unsqueeze(0)
    if config.augment:
        x = moved(x, draw_moves(x.shape[1], generator).unsqueeze(0).to(x.device))
    return normalize(x, images)


def map_distance(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> Float[Tensor, " model"]:
    """Squared distance of feature maps [model, batch, channel, h, w] over their norms, summed over maps, mean over the batch.

    NeRN's loss (attention_loss.py, L2BatchedAttentionLoss) with each map once; the official code counts sums twice.
    """
    total = 0.0
    for one, other in zip(ours, theirs, strict=True):
        one, other = (maps / (maps.flatten(2).norm(dim=2).view(*maps.shape[:2], 1, 1, 1) + MAP_EPSILON) for maps in (one, other))
        total = total + (one - other).square().flatten(2).sum(2).mean(1)
    return total


def floored_divergence(
    target: Float[Tensor, "model batch class"], logits: Float[Tensor, "model batch class"]
) -> Float[Tensor, " model"]:
    """KL(softmax(target) || softmax(logits) + FLOOR), mean over a model's images (NeRN, distillation_loss.py, StableKLDivLoss).

    At most log(1 / FLOOR), and flat where a class is given up: kernels of a predictor that has learned little give logits of 1e8
    under the original's running statistics, where the gradient of the plain divergence would throw the predictor away.
    """
    target = target.log_softmax(-1)
    return (target.exp() * (target - (logits.softmax(-1) + FLOOR).log())).sum(-1).mean(-1)


def distillation_loss(
    config: DistillationConfig, data: DistillationData, weights: Float[Tensor, "model weight"], x: Tensor
) -> Float[Tensor, " model"]:
    """Weighted sum of the divergence from the teacher and, if it has a weight, of the distance of feature maps."""
    ours, theirs = ([], []) if config.feature_weight else (None, None)
    logits = forward(data.spec, weights, x, maps=ours)
    with torch.no_grad():
        target = forward(data.teacher.spec, data.teacher.weights, x, maps=theirs)
    loss = config.logit_weight * floored_divergence(target, logits)
    return loss + config.feature_weight * map_distance(ours, theirs) if config.feature_weight else loss


def joint_gradient(
    config: DistillationConfig,
    data: DistillationData,
    kernels: Float[Tensor, "model kernel element"],
    rows: Int[Tensor, "model batch"],
    x: Float[Tensor, "sets image channel height width"],
) -> Float[Tensor, "model batch element"]:
    """Gradient of the distillation with respect to the batch's rows of the predicted kernels, all others being fixed.

    Zero as published in 2022: there predicted weights were written into parameters' data, which no gradient passes (NeRN,
    96356c9 to bf164c8).
    """
    index = rows.unsqueeze(2).expand(-1, -1, kernels.shape[2])
    leaf = kernels.gather(1, index).requires_grad_()
    if config.as_published_2022:
        return torch.zeros_like(leaf)
    networks = rebuilt(data.spec, data.originals, data.layout, kernels.scatter(1, index, leaf))
    (gradient,) = torch.autograd.grad(distillation_loss(config, data, networks, x).sum(), leaf)
    return gradient


def train_jointly(
    config: PredictorSettings,
    target: Target,
    data: DistillationData,
    identities: Sequence[tuple],
    state: TrainingState | None = None,
) -> Float[Tensor, "model weight"]:
    """NeRN: reconstruction and distillation in one loss; the error over all kernels at each step; the last step is kept."""
    spec, now = spec_of(config, target), resumed(state, target.kernels.device) or start_descent(config, target, identities)

    def gradient_of(leaf: Tensor, step: int) -> Tensor:
        batch = draw(config, target, identities, step)
        predicted = predict_rows(spec, leaf, target, batch.rows)
        with torch.no_grad():
            kernels = predict(spec, leaf, target.table[target.rank])
            square = batch_square(target, (kernels - target.kernels) * target.mask)
        gradient = reconstruction_gradient(target, residual(target, predicted.detach(), batch.rows), square)
        if step > config.distillation.warmup_steps:
            x = shown(config.distillation, data, step)
            gradient = gradient + joint_gradient(config.distillation, data, kernels, batch.rows, x)
        return torch.autograd.grad(predicted, leaf, gradient)[0]

    return learn(spec, now, gradient_of, schedule_of(config, "joint steps"), state)


def train_afterwards(
    config: PredictorSettings,
    target: Target,
    data: DistillationData,
    begun: Float[Tensor, "model weight"],
    state: TrainingState | None = None,
) -> Float[Tensor, "model weight"]:
    """Choi et al.: from reconstructed predictors on, the teacher's logits alone, with the gradient of every kernel.

    Ranger starts anew.
    """
    spec, how = spec_of(config, target), config.distillation
    now = resumed(state, target.kernels.device) or start_from(begun.clone())

    def gradient_of(leaf: Tensor, step: int) -> Tensor:
        kernels = predict(spec, leaf, target.table[target.rank])
        networks = rebuilt(data.spec, data.originals, data.layout, kernels)
        loss = distillation_loss(how, data, networks, shown(how, data, step))
        return torch.autograd.grad(loss.sum(), leaf)[0]

    schedule = Schedule("distillation steps", how.steps, how.learning_rate, config.last_learning_rate, config.weight_decay)
    return learn(spec, now, gradient_of, schedule, state)
