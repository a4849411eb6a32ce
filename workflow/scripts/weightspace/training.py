"""The one trainer of networks on images: models as stacks, each with draws and rates of its own; a killed run goes on."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from math import prod
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from weightspace.ensemble import CHUNK
from weightspace.errors import InputError
from weightspace.images.augment import draw_moves, moved
from weightspace.images.tensors import ImageSet, normalize
from weightspace.losses import divergence, neighbor_similarity, total_loss
from weightspace.nets.forward import forward, move_statistics
from weightspace.nets.init import BIASES, initial_weights
from weightspace.nets.spec import NetSpec, build_spec
from weightspace.nets.steps import Training
from weightspace.optimizers import OPTIMIZERS, Moments, Pace, zero_moments
from weightspace.progress import Progress
from weightspace.recipe import SCHEDULES, Recipe, When
from weightspace.rng import generator_for, seed_for
from weightspace.store import TrainingState


class Trainee(NamedTuple):
    """One network to train: what its draws are seeded by, and what it has of its own."""

    init: str  # of INITS
    start: tuple  # seeds the initial weights
    order: tuple  # with the epoch after it, seeds the order of the images and then their moves
    dropout: tuple
    learning_rate: float  # the largest of its schedule
    weight_decay: float


class DistillationTeachers(NamedTuple):
    """Networks whose answers others learn, one teacher per student; their spec may differ from the students'."""

    spec: NetSpec
    weights: Float[Tensor, "model weight"]


class Task(NamedTuple):
    """What models learn; all tensors lie on the device that trains."""

    spec: NetSpec
    recipe: Recipe
    images: ImageSet
    epochs: list[int]  # after which models are measured, the last one included; 0 is before training
    stored: list[int]  # of these, whose weights are kept
    averaged_epochs: int = 0  # last ones, whose mean weights are kept too, behind the stored ones
    measure: Callable[[NetSpec, ImageSet, Tensor], Tensor] | None = None  # [model, measure] of weights, at each of `epochs`
    num_measures: int = 0
    teacher: DistillationTeachers | None = None  # whose answers are learned in place of labels
    counts_anew: bool = False  # dropout is drawn by epoch and step in it, not by the step of the whole training
    start: Float[Tensor, "model weight"] | None = None  # that training starts from, in place of initial weights

    @property
    def num_batches(self) -> int:
        """Of an epoch. A last one of a single image is left out where batch norms would need its variance."""
        whole, left = divmod(len(self.images.train_x), self.recipe.batch_size)
        fewest = 2 if whole and self.has_statistics else 1
        return whole + (left >= fewest)

    @property
    def num_kept(self) -> int:
        """Checkpoints of a model that are kept: of the stored epochs, and the mean of the last ones if it is asked for."""
        return len(self.stored) + bool(self.averaged_epochs)

    @property
    def has_statistics(self) -> bool:
        """Whether the networks have batch norms."""
        return self.spec.num_learned < self.spec.num_weights


class Stack(NamedTuple):
    """Models in training; all but the numbers changes in place."""

    weights: Float[Tensor, "model weight"]
    moments: Moments
    summed: Float[Tensor, "model summed"]  # weights over the epochs that are averaged; of width 0 where none is
    kept: Float[Tensor, "model kept weight"]  # on the CPU; not a number at epochs to come
    epoch: int  # the last one done; -1 before the untrained models are measured
    step: int


class Trained(NamedTuple):
    """What training leaves of some models.

    The mean of the last epochs, if it is kept, stands behind the stored epochs; its running statistics are the mean ones, not
    its own.
    """

    weights: Float[Tensor, "model kept weight"]  # of width 0 where a store took them
    measures: Float[Tensor, "model epoch measure"]


@runtime_checkable
class Store(Protocol):
    """Where weights are written, stack by stack."""

    def go_on(self, num_models: int) -> bool:
        """Whether those of the first models are there, as a killed training left them; all others are removed."""

    def write(self, models: slice, weights: Float[Tensor, "model kept weight"]) -> None:
        """Write those of a stack that is trained."""


def task_of(recipe: Recipe, images: ImageSet, epochs: Sequence[int], stored: Sequence[int] | None = None, **rest: object) -> Task:
    """The task of a recipe, whose networks fit the images; weights of all epochs are kept, or of some."""
    spec = build_spec(recipe.architecture, recipe.activation, images.train_x.shape[1:], len(images.classes))
    return Task(spec, recipe, images, list(epochs), list(epochs if stored is None else stored), **rest)


def train(
    task: Task | list[Task],
    models: Sequence[Trainee],
    state: TrainingState | None = None,
    stack_size: int | None = None,
    store: Store | None = None,
) -> Trained:
    """Train models in stacks of at most `stack_size` (None: all as one); a killed run goes on from `state`.

    `task` is that of all, or a list has one for each: no stack has two, and all have the same epochs, kept weights and measures.
    Weights go to a `store`, if there is one, as soon as a stack is trained; without one all networks have as many.
    When the GPU's memory ends, the stack is halved and starts again; no model's numbers depend on its stack: on a CPU bit for bit
    in stacks of two or more, but to rounding in a stack of one, and with batch norms or means over pixels.
    """
    tasks = [task] * len(models) if isinstance(task, Task) else task
    task, epochs = tasks[0], tasks[0].epochs
    trained, stack, start, size = _resume(task, state, store) or _begun(task, models, stack_size, store)
    begun = start * epochs[-1] + (len(stack.weights) * max(stack.epoch, 0) if stack else 0)
    progress = Progress("model epochs", len(models) * epochs[-1], begun)
    while start < len(models):
        task, end = tasks[start], min(start + size, len(models))
        part = slice(start, next((n for n in range(start, end) if tasks[n] is not task), end))
        try:
            own = _of(task, part)
            stack = stack or new_stack(own, models[part])
            for current in train_stack(own, models[part], stack):
                if current.epoch in task.stored:
                    stack.kept[:, task.stored.index(current.epoch)] = current.weights.cpu()
                if task.measure and current.epoch in epochs:
                    measures = task.measure(task.spec, task.images, current.weights)
                    trained.measures[part, epochs.index(current.epoch)] = measures.cpu()
                if state:
                    _save(state, trained, current, start, size)
                progress.update(start * epochs[-1] + len(models[part]) * current.epoch)
            if task.averaged_epochs:
                stack.kept[:, -1] = (stack.summed / task.averaged_epochs).cpu()
            if store:
                store.write(part, stack.kept)
            else:
                trained.weights[part] = stack.kept
            start = part.stop
        except torch.OutOfMemoryError as error:
            size = (part.stop - part.start) // 2
            if size == 0:
                raise InputError("not even one model fits into the GPU's memory: lower batch_size") from error
            print(f"out of GPU memory: on with stacks of {size} models")
        stack = current = None  # or the old stack would keep its memory
    return trained


def _of(task: Task, models: slice) -> Task:
    """The task of some models: with their teachers, and what they start from."""
    start = None if task.start is None else task.start[models]
    return task._replace(teacher=task.teacher and task.teacher._replace(weights=task.teacher.weights[models]), start=start)


def _save(state: TrainingState, trained: Trained, stack: Stack, start: int, size: int) -> None:
    tensors = {f"trained_{name}": tensor for name, tensor in trained._asdict().items()}
    tensors |= {"weights": stack.weights, "summed": stack.summed, "kept": stack.kept, **stack.moments._asdict()}
    state.save_if_due(lambda: tensors, start=start, size=size, epoch=stack.epoch, step=stack.step)


class _Place(NamedTuple):
    """Where a training is."""

    trained: Trained
    stack: Stack | None  # in training
    start: int  # the first of its models
    size: int  # of stacks


def _begun(task: Task, models: Sequence[Trainee], stack_size: int | None, store: Store | None) -> _Place:
    num, width = len(models), 0 if store else task.spec.num_weights
    shapes = [(num, task.num_kept, width), (num, len(task.epochs), task.num_measures)]
    return _Place(Trained(*(torch.full(shape, torch.nan) for shape in shapes)), None, 0, stack_size or num)


def _resume(task: Task, state: TrainingState | None, store: Store | None) -> _Place | None:
    """As the state of a killed run says; None where there is none, or where the store lacks what it had written."""
    if state is None or (saved := state.load()) is None:
        return None
    tensors, place = saved
    if store and not store.go_on(place["start"]):
        return None
    names = ("weights", "summed", *Moments._fields)
    weights, summed, first, second = (tensors[name].to(task.images.train_x.device) for name in names)
    stack = Stack(weights, Moments(first, second), summed, tensors["kept"], place["epoch"], place["step"])
    trained = Trained(*(tensors[f"trained_{name}"] for name in Trained._fields))
    return _Place(trained, stack, place["start"], place["size"])


def new_stack(task: Task, models: Sequence[Trainee]) -> Stack:
    """Models before their first step; those of the same init and start have the same weights."""
    weights = (_initial(task, models) if task.start is None else task.start.clone()).to(task.images.train_x.device)
    summed = weights.new_zeros(len(weights), task.spec.num_weights if task.averaged_epochs else 0)
    kept = torch.full((len(weights), task.num_kept, task.spec.num_weights), torch.nan)
    return Stack(weights, zero_moments(weights), summed, kept, epoch=-1, step=0)


def _initial(task: Task, models: Sequence[Trainee]) -> Tensor:
    bias = BIASES[task.recipe.biases]
    return torch.stack([initial_weights(task.spec, model.init, generator_for(*model.start), bias) for model in models])


def train_stack(task: Task, models: Sequence[Trainee], stack: Stack) -> Iterator[Stack]:
    """Yield the stack, trained in place, after each epoch that is still to come; epoch 0 is the untrained one."""
    last = task.epochs[-1]
    for epoch in range(stack.epoch + 1, last + 1):
        step = train_epoch(task, models, stack, epoch) if epoch > 0 else 0
        if epoch > last - task.averaged_epochs:
            stack.summed.add_(stack.weights)
        stack = stack._replace(epoch=epoch, step=step)
        yield stack


def train_epoch(task: Task, models: Sequence[Trainee], stack: Stack, epoch: int) -> int:
    """Train a stack in place for one epoch; returns the number of steps done so far."""
    weights, optimize = stack.weights, OPTIMIZERS[task.recipe.optimizer]
    seeds = [seed_for(*model.dropout) for model in models]
    parts = [(_of(task, part), part) for part in parts_of_step(task, len(models))]
    for n, ((x, labels), pace) in enumerate(zip(batches(task, models, epoch), _paces(task, models, stack, epoch), strict=True)):
        step = (epoch, n) if task.counts_anew else (pace.step,)
        rows = [_gradient(own, weights[part], (x[part], labels[part]), Training({}, seeds[part], step)) for own, part in parts]
        optimize(weights, torch.cat(rows), stack.moments, pace)
    return stack.step + task.num_batches


def parts_of_step(task: Task, num: int) -> list[slice]:
    """Models of a stack whose gradients are computed together.

    On a CPU as many as have CHUNK numbers in their feature maps, and at least two. It changes no more
    than the size of a stack does.
    """
    if task.images.train_x.device.type != "cpu":
        return [slice(0, num)]
    size = max(2, CHUNK["cpu"] // max(1, task.spec.num_mapped * task.recipe.batch_size))
    parts = max(1, num // size)
    return [slice(*bounds) for bounds in pairwise(num * k // parts for k in range(parts + 1))]


def _gradient(task: Task, weights: Tensor, batch: tuple[Tensor, Tensor], training: Training) -> Float[Tensor, "model weight"]:
    """Of the models' summed losses; their running statistics move."""
    leaf, (x, labels) = weights.detach().requires_grad_(), batch
    logits = forward(task.spec, leaf, x, training=training)
    if task.teacher is None:
        loss = total_loss(logits, labels, task.recipe.label_smoothing)
    else:
        loss = divergence(forward(*task.teacher, x), logits).sum()
    if task.recipe.smoothness:
        loss = loss - task.recipe.smoothness * neighbor_similarity(task.spec, leaf).sum()
    (gradient,) = torch.autograd.grad(loss, leaf)
    if training.statistics:
        move_statistics(task.spec, weights, training.statistics)
    return gradient


def _paces(task: Task, models: Sequence[Trainee], stack: Stack, epoch: int) -> Iterator[Pace]:
    """How far each step of an epoch goes: each model by its own rate and decay, which spares running statistics."""
    num, kind = task.num_batches, {"dtype": stack.weights.dtype, "device": stack.weights.device}
    whens = [When(epoch, stack.step + n, num * task.epochs[-1]) for n in range(num)]
    shares = torch.tensor([SCHEDULES[task.recipe.schedule](task.recipe, when) for when in whens], dtype=torch.float64)
    largest, decays = torch.tensor([(m.learning_rate, m.weight_decay) for m in models], dtype=torch.float64).T
    rates = (shares.view(-1, 1, 1) * largest.view(-1, 1)).to(**kind)  # [step, model, 1]: to the device once
    decay = decays.unsqueeze(1).to(**kind)
    if task.has_statistics:
        learned = [torch.full((prod(each.shape),), float(each.learned)) for each in task.spec.parameters]
        decay = decay * torch.cat(learned).to(**kind)
    for when, rate in zip(whens, rates, strict=True):
        yield Pace(when.step + 1, rate, decay, task.recipe.momentum_at(when))


def batches(
    task: Task, models: Sequence[Trainee], epoch: int
) -> Iterator[tuple[Float[Tensor, "model batch channel height width"], Int64[Tensor, "model batch"]]]:
    """Normalized images and labels of one epoch, each model in its own order and with its own flips and crops."""
    images, size, augment = task.images, task.recipe.batch_size, task.recipe.augment
    draws, num = [generator_for(*model.order, epoch) for model in models], len(images.train_x)
    order = torch.stack([torch.randperm(num, generator=draw) for draw in draws]).to(images.train_x.device)
    moves = torch.stack([draw_moves(num if augment else 0, draw) for draw in draws]).to(order.device)
    for start in range(0, task.num_batches * size, size):
        index = order[:, start : start + size]
        x = images.train_x[index]
        yield normalize(moved(x, moves[:, start : start + size]) if augment else x, images), images.train_y[index]
