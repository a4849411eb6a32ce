"""Reconstruction: predictors fitted to weights alone, without images, once or round after round.

Predictors train as one stack, each with its own original, order, initial weights and batches. A step is made of
small functions, so that other gradients with respect to predicted kernels can be added to the reconstruction's.
"""

from collections.abc import Sequence
from itertools import accumulate
from math import sqrt
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from weightspace.errors import InputError
from weightspace.nets.spec import NetSpec
from weightspace.predictor.kernels import Layout
from weightspace.predictor.learn import Gradient, RangerState, Schedule, learn, restored, start_from
from weightspace.predictor.model import TABLE_ROWS, embedding, initial_predictor, predict, predict_all, predictor_spec
from weightspace.predictor.settings import PredictorSettings
from weightspace.rng import generator_for
from weightspace.store import TrainingState

REFRESH = 200  # steps after which the running error is measured anew
KEPT = 0.9  # of the running error, per uniform batch


class Target(NamedTuple):
    """What a stack of predictors has to put out; an original of fewer kernels than another has zeros after its own.

    The table has the coordinates of each size of originals in turn.
    """

    kernels: Float[Tensor, "model kernel element"]
    mask: Bool[Tensor, "model kernel element"]  # True where there is a weight
    table: Float[Tensor, "row feature"]  # embedding of coordinates
    rank: Int[Tensor, "model kernel"]  # row of the table of each kernel
    norms: Float[Tensor, "model kernel"]  # cumulated over kernels, for draws in proportion
    num_kernels: tuple[int, ...]  # of each model
    num_weights: tuple[int, ...]  # of each model: P of NeRN

    def of(self, models: Sequence[int]) -> "Target":
        """The same for some models, in turn."""
        chosen, index = list(models), torch.tensor(models, device=self.kernels.device)
        tensors = {name: getattr(self, name)[index] for name in ("kernels", "mask", "rank", "norms")}
        counts = {name: tuple(getattr(self, name)[n] for n in chosen) for name in ("num_kernels", "num_weights")}
        return self._replace(**tensors, **counts)

    def weights_in(self, batch: int) -> Float[Tensor, " model"]:
        """Weights that so many kernels of each model have on average; of fewer kernels all weights."""
        counts = [
            min(1.0, batch / kernels) * weights for kernels, weights in zip(self.num_kernels, self.num_weights, strict=True)
        ]
        return self.kernels.new_tensor(counts)


class Batch(NamedTuple):
    """Kernels of one step."""

    rows: Int[Tensor, "model batch"]  # where a model has fewer kernels, zeros after its own
    uniform: Bool[Tensor, " model"]  # drawn without replacement; else by norm, with it


class Round(NamedTuple):
    """What one round left behind."""

    weights: Float[Tensor, "model weight"]  # of the predictors
    kernels: Float[Tensor, "model kernel element"]  # that they put out, zeros off the mask


def target_of(
    layout: Layout,
    kernels: Float[Tensor, "model kernel element"],
    ranks: Int[Tensor, "model kernel"],
    config: PredictorSettings,
) -> Target:
    """Kernels of the originals with their coordinates' features; on the kernels' device and of their type."""
    table = embedding(layout.coordinates, config.embedding_base, config.embedding_levels).to(kernels)
    mask, ranks = layout.mask.to(kernels.device).expand(len(kernels), -1, -1), ranks.to(kernels.device)
    counts = (tuple(len(kernels) * [count]) for count in (layout.num_kernels, layout.num_weights))
    return Target(kernels, mask, table, ranks, _cumulated_norms(kernels), *counts)


def joined(targets: Sequence[Target]) -> Target:
    """One stack of all their models, in turn. Raises InputError where predictors do not put out as many numbers."""
    if len(targets) == 1:
        return targets[0]
    if len(sizes := {target.mask.shape[2] for target in targets}) > 1:
        raise InputError(f"predictors that put out {' and '.join(map(str, sorted(sizes)))} numbers cannot share a stack")
    most, tables = max(target.kernels.shape[1] for target in targets), [target.table for target in targets]
    kernels, mask = (
        torch.cat([F.pad(getattr(target, name), (0, 0, 0, most - target.kernels.shape[1])) for target in targets])
        for name in ("kernels", "mask")
    )
    begins = accumulate([0, *map(len, tables[:-1])])
    ranks = [
        F.pad(begin + target.rank, (0, most - target.rank.shape[1]), value=begin)
        for target, begin in zip(targets, begins, strict=True)
    ]
    counts = (sum((getattr(target, name) for target in targets), ()) for name in ("num_kernels", "num_weights"))
    return Target(kernels, mask, torch.cat(tables), torch.cat(ranks), _cumulated_norms(kernels), *counts)


def retarget(target: Target, kernels: Float[Tensor, "model kernel element"]) -> Target:
    """The same coordinates for other kernels."""
    return target._replace(kernels=kernels, norms=_cumulated_norms(kernels))


def _cumulated_norms(kernels: Tensor) -> Float[Tensor, "model kernel"]:
    return kernels.double().norm(dim=-1).cumsum(-1)


def spec_of(config: PredictorSettings, target: Target) -> NetSpec:
    """The predictor of a setting."""
    return predictor_spec(config.embedding_levels, config.hidden, round(sqrt(target.mask.shape[2])))


# one step


def draw(config: PredictorSettings, target: Target, identities: Sequence[tuple], step: int) -> Batch:
    """Kernels of a step: for each model uniform without replacement, or by norm with replacement; its own draws.

    A model of fewer kernels than are drawn of others takes zeros after its own.
    """
    rows, uniform = [], []
    size = min(config.kernel_batch, target.kernels.shape[1])
    for norms, num, identity in zip(target.norms, target.num_kernels, identities, strict=True):
        generator, few = generator_for("kernels", *identity, step), min(size, num)
        uniform.append(float(torch.rand((), generator=generator)) >= config.norm_weighted_share)
        if uniform[-1]:
            own = torch.randperm(num, generator=generator)[:few] if few < num else torch.arange(num)
            own = own.to(norms.device)
        else:
            places = torch.rand(few, generator=generator, dtype=torch.float64).to(norms.device) * norms[-1]
            own = torch.searchsorted(norms, places, right=True).clamp_max(num - 1)
        rows.append(F.pad(own, (0, size - few), value=target.kernels.shape[1] - 1))
    return Batch(torch.stack(rows), torch.tensor(uniform, device=target.kernels.device))


def predict_rows(
    spec: NetSpec, weights: Float[Tensor, "model weight"], target: Target, rows: Int[Tensor, "model batch"]
) -> Float[Tensor, "model batch element"]:
    """Predictions of some kernels of each model."""
    return predict(spec, weights, target.table[target.rank.gather(1, rows)])


def residual(
    target: Target, predicted: Float[Tensor, "model batch element"], rows: Int[Tensor, "model batch"]
) -> Float[Tensor, "model batch element"]:
    """Prediction minus weight, 0 off the mask."""
    index = rows.unsqueeze(2).expand(-1, -1, target.mask.shape[2])
    return (predicted - target.kernels.gather(1, index)) * target.mask.gather(1, index)


@torch.no_grad()
def mean_square(spec: NetSpec, weights: Float[Tensor, "model weight"], target: Target) -> Float[Tensor, " model"]:
    """Mean of the squared error of each model over all its predicted weights; its root is NeRN's reconstruction loss."""
    total = torch.zeros_like(target.kernels[:, 0, 0])
    for rows in torch.arange(target.kernels.shape[1], device=total.device).split(TABLE_ROWS):
        own = rows.expand(len(weights), -1)
        total += residual(target, predict_rows(spec, weights, target, own), own).square().sum((1, 2))
    return total / target.weights_in(target.kernels.shape[1])


def running_square(
    spec: NetSpec,
    config: PredictorSettings,
    target: Target,
    state: RangerState,
    batch: Batch,
    difference: Float[Tensor, "model batch element"],
) -> Float[Tensor, " model"]:
    """The mean square error that scales the loss of a step, from a batch and its residual `difference`.

    exact: over all kernels. fast: a moving average over uniform batches, measured over all kernels every REFRESH steps; where
    a batch has all kernels, its own.
    """
    if config.error == "exact" or (state.step - 1) % REFRESH == 0:
        return mean_square(spec, state.weights, target)
    own = batch_square(target, difference)
    whole = own.new_tensor([0.0 if num <= batch.rows.shape[1] else KEPT for num in target.num_kernels])
    return torch.where(batch.uniform, torch.lerp(own, state.square, whole), state.square)


def batch_square(target: Target, difference: Float[Tensor, "model batch element"]) -> Float[Tensor, " model"]:
    """Mean of the squared error of each model over the weights of a batch."""
    return difference.square().sum((1, 2)) / target.weights_in(difference.shape[1])


def reconstruction_gradient(
    target: Target, difference: Float[Tensor, "model batch element"], square: Float[Tensor, " model"]
) -> Float[Tensor, "model batch element"]:
    """Gradient of NeRN's loss, sqrt(sum over all weights of (w' - w)^2 / P), with respect to predictions w': (w' - w) / (P loss).

    Of kernels in the batch alone; those that are in it twice count twice.
    """
    return difference / (target.weights_in(target.kernels.shape[1]) * square.sqrt()).view(-1, 1, 1)


def gradient_by(config: PredictorSettings, target: Target, identities: Sequence[tuple], now: RangerState) -> Gradient:
    """The gradient of each step of a reconstruction; the running error of the stack `now` follows in place."""
    spec = spec_of(config, target)

    def gradient_of(leaf: Tensor, step: int) -> Tensor:
        batch = draw(config, target, identities, step)
        predicted = predict_rows(spec, leaf, target, batch.rows)
        difference = residual(target, predicted.detach(), batch.rows)
        now.square.copy_(running_square(spec, config, target, now._replace(step=step), batch, difference))
        return torch.autograd.grad(predicted, leaf, reconstruction_gradient(target, difference, now.square))[0]

    return gradient_of


def schedule_of(config: PredictorSettings, what: str) -> Schedule:
    """Steps and rates of a reconstruction; `what` stands in progress lines."""
    return Schedule(what, config.steps, config.learning_rate, config.last_learning_rate, config.weight_decay)


# rounds


def start_descent(config: PredictorSettings, target: Target, identities: Sequence[tuple]) -> RangerState:
    """Before the first step: each model's own initial weights."""
    spec = spec_of(config, target)
    weights = torch.stack([initial_predictor(spec, generator_for("predictor", *identity)) for identity in identities])
    return start_from(weights.to(target.kernels))


def reconstruct(
    config: PredictorSettings,
    target: Target,
    identities: Sequence[tuple],
    state: TrainingState | None = None,
) -> list[Round]:
    """Predictors of each round, in turn; a killed run goes on from `state`, bit for bit as if it had not been.

    The first round fits the kernels of `target`, each later one fits fresh predictors to what the one before has put out, with
    the first one's order (Choi et al. 2024). The last step of a round is kept, whatever its error. `identities` name each
    model's draws.
    """
    spec, rounds, begun = spec_of(config, target), [], None
    saved = state.load() if state else None
    if saved is not None:
        begun = restored(saved, target.kernels.device)
        rounds = [_ended(spec, weights, target) for weights in saved[0]["ended"].to(target.kernels)]
    for number in range(len(rounds) + 1, config.rounds + 1):
        wanted = retarget(target, rounds[-1].kernels) if rounds else target
        named = [(*identity, number) for identity in identities]
        now, schedule = begun or start_descent(config, wanted, named), schedule_of(config, f"round {number}: steps")
        ended = torch.stack([done.weights for done in rounds]) if rounds else now.weights.new_zeros(0, *now.weights.shape)
        weights = learn(spec, now, gradient_by(config, wanted, named, now), schedule, state, ended)
        rounds, begun = [*rounds, _ended(spec, weights, target)], None
    return rounds


def _ended(spec: NetSpec, weights: Tensor, target: Target) -> Round:
    return Round(weights, predict_all(spec, weights, target.table, target.rank) * target.mask)
