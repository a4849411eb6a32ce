"""Expand: a stack of overparameterized students, many per teacher, first by Adam, then by second order."""

from collections.abc import Iterator
from math import cos, pi, prod, sqrt
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from weightspace.nets.forward import forward
from weightspace.nets.spec import NetSpec
from weightspace.optimizers import Moments, Pace, adam, zero_moments
from weightspace.progress import Progress
from weightspace.recipe import FIRST_DECAY
from weightspace.recovery.fit import Fit, squared_error
from weightspace.recovery.second_order import Damped, minimize_squares, rows_for, start
from weightspace.recovery.settings import StudentsConfig
from weightspace.rng import generator_for
from weightspace.store import TrainingState

FALL = 1 / sqrt(10)  # of the learning rate on a plateau
LAST_RATE = 0.01  # of the first learning rate, at the end of a cosine
DAMPED = Damped._fields[:-1]
DTYPES = {"float32": torch.float32, "float64": torch.float64}


def initial_student(spec: NetSpec, init: str, num_students: int, generator: Generator) -> Float[Tensor, " weight"]:
    """One student's weights: glorot is N(0, 2 / (fan_in + out)), whoever else is trained; biases are 0.

    published: N(0, 2 / (out x students)), the deviation that kaiming_normal_ gave a tensor [in, out, students].
    """
    pieces = []
    for layer in spec.layers:
        fan = layer.out * num_students if init == "published" else prod(layer.fan_in) + layer.out
        pieces.append(torch.randn(layer.out * prod(layer.fan_in), generator=generator, dtype=torch.float64) * sqrt(2 / fan))
        pieces.append(torch.zeros(layer.out, dtype=torch.float64))
    return torch.cat(pieces)


def initial_students(spec: NetSpec, config: StudentsConfig, num_teachers: int, identity: tuple) -> Float[Tensor, "model weight"]:
    """`config.num` students of every teacher, each from its own draw."""
    draws = [generator_for("student", *identity, t, n) for t in range(num_teachers) for n in range(config.num)]
    return torch.stack([initial_student(spec, config.init, config.num, generator) for generator in draws])


class AdamState(NamedTuple):
    """A stack in training by Adam; rates, the best loss and the epochs since are each student's own."""

    weights: Float[Tensor, "model weight"]
    moments: Moments
    rate: Float[Tensor, " model"]
    best: Float[Tensor, " model"]
    waited: Float[Tensor, " model"]  # epochs since the best loss; in a cooldown, minus the epochs of it that are left
    epoch: int


def start_adam(config: StudentsConfig, weights: Float[Tensor, "model weight"]) -> AdamState:
    """Before the first epoch."""
    weights = weights.to(DTYPES[config.precision], copy=True)
    ones = torch.ones(len(weights), dtype=weights.dtype, device=weights.device)
    return AdamState(weights, zero_moments(weights), config.learning_rate * ones, torch.inf * ones, 0 * ones, 0)


def descend(spec: NetSpec, config: StudentsConfig, state: AdamState, fit: Fit, identity: tuple) -> Iterator[AdamState]:
    """Yield the stack after each epoch of Adam (weights change in place)."""
    fit = Fit(fit.x.to(state.weights.dtype), fit.y.to(state.weights.dtype), fit.owner)
    steps = -(-fit.y.shape[1] // config.batch_size)
    none = torch.zeros_like(state.rate)
    for epoch in range(state.epoch, config.epochs):
        total = torch.zeros_like(state.rate)
        rate = torch.where(state.rate < config.min_learning_rate, none, state.rate)
        for n, (x, y) in enumerate(_batches(fit, config.batch_size, generator_for("batches", *identity, epoch))):
            share = (epoch * steps + n) / (config.epochs * steps)
            fall = LAST_RATE + (1 - LAST_RATE) * (1 + cos(pi * share)) / 2 if config.schedule == "cosine" else 1.0
            loss, gradient = _loss_and_gradient(spec, state.weights, x, y)
            pace = Pace(epoch * steps + n + 1, (rate * fall).unsqueeze(1), none.unsqueeze(1), FIRST_DECAY)
            adam(state.weights, gradient, state.moments, pace)
            total += loss
        state = _after_epoch(config, state._replace(epoch=epoch + 1), total / steps)
        yield state
        if config.schedule == "plateau" and bool((state.rate < config.min_learning_rate).all()):
            return


def _batches(fit: Fit, size: int, generator: Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch's batches, the same queries for all students of a teacher."""
    order = torch.randperm(fit.y.shape[1], generator=generator).to(fit.y.device)
    for index in order.split(size):
        x = fit.x[:, index]
        yield (x if len(x) == 1 else x[fit.owner]), fit.y[:, index][fit.owner]


def _loss_and_gradient(spec: NetSpec, weights: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Mean squared error of each model, and the gradient of their sum: each model's own."""
    leaf = weights.detach().requires_grad_()
    loss = (forward(spec, leaf, x) - y).square().mean((1, 2))
    (gradient,) = torch.autograd.grad(loss.sum(), leaf)
    return loss.detach(), gradient


def _after_epoch(config: StudentsConfig, state: AdamState, loss: Tensor) -> AdamState:
    """Each student's learning rate falls when its own loss has not fallen for `patience` epochs, as torch's ReduceLROnPlateau.

    Every epoch of a cooldown counts towards its end, also one with a better loss. A loss that is not a number is no better one.
    """
    if config.schedule == "cosine":
        return state
    better = loss < state.best
    waited = torch.where(better & (state.waited >= 0), 0.0, state.waited + 1)
    tired = waited > config.patience
    return state._replace(
        best=torch.where(better, loss, state.best),
        rate=torch.where(tired, state.rate * FALL, state.rate),
        waited=torch.where(tired, -float(config.cooldown), waited),
    )


class Students(NamedTuple):
    """Trained students of all teachers, students of a teacher in a row."""

    weights: Float[Tensor, "model weight"]  # float64, of scaled queries and answers
    error: Float[Tensor, " model"]  # mean squared error over all train queries, in units of the answers' variance


def expand(spec: NetSpec, config: StudentsConfig, fit: Fit, identity: tuple, state: TrainingState | None = None) -> Students:
    """Students of every teacher of `fit` trained to the end; a killed run goes on from `state`."""
    fit = fit._replace(owner=torch.arange(len(fit.y), device=fit.y.device).repeat_interleave(config.num))
    rows = rows_for(fit, spec.num_weights, config.rows_per_weight)
    saved = state.load() if state else None
    if saved and saved[1]["phase"] == "second order":
        damped = _damped(saved, fit.y.device)
    else:
        descent = _adam_state(saved, fit.y.device) if saved else None
        if descent is None:
            descent = start_adam(config, initial_students(spec, config, len(fit.y), identity).to(fit.y.device))
        descent = _descend_to_the_end(spec, config, descent, fit, identity, state)
        damped = start(spec, descent.weights, rows)
    steps = config.second_order_steps_of(spec.num_weights)
    progress = Progress("steps of second order", steps, damped.step)
    for now in minimize_squares(spec, damped, rows, steps, config.tolerance):
        progress.update(now.step)
        if state:
            state.save_if_due(lambda: dict(zip(DAMPED, damped[:-1], strict=True)), phase="second order", step=now.step)
    return Students(damped.weights, squared_error(spec, damped.weights, fit))


def _descend_to_the_end(
    spec: NetSpec, config: StudentsConfig, descent: AdamState, fit: Fit, identity: tuple, state: TrainingState | None
) -> AdamState:
    """Adam from a state on, saved now and then."""
    progress = Progress("epochs of Adam", config.epochs, descent.epoch)
    for now in descend(spec, config, descent, fit, identity):
        progress.update(now.epoch)
        descent = now
        if state:
            tensors = {"weights": now.weights, **now.moments._asdict(), "rate": now.rate, "best": now.best, "waited": now.waited}
            state.save_if_due(lambda tensors=tensors: tensors, phase="Adam", epoch=now.epoch)
    return descent


def _adam_state(saved: tuple[dict[str, Tensor], dict], device: torch.device) -> AdamState:
    """Adam as a state file holds it."""
    tensors = {name: tensor.to(device) for name, tensor in saved[0].items()}
    moments = Moments(tensors.pop("first"), tensors.pop("second"))
    return AdamState(**tensors, moments=moments, epoch=saved[1]["epoch"])


def _damped(saved: tuple[dict[str, Tensor], dict], device: torch.device) -> Damped:
    """Second order as a state file holds it."""
    return Damped(**{name: saved[0][name].to(device) for name in DAMPED}, step=saved[1]["step"])
