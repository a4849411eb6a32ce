"""What a recovery has to beat: networks of the teacher's own size, from the same answers."""

import torch
from jaxtyping import Float
from torch import Tensor

from weightspace.nets.spec import NetSpec
from weightspace.recovery.files import Expanded, RecoveredNetwork, recovered_network
from weightspace.recovery.finish import Network, finish, polished
from weightspace.recovery.fit import Fit, finite_first
from weightspace.recovery.layers import incoming, widths_of, with_layers
from weightspace.recovery.problem import Problem, validation_error
from weightspace.recovery.settings import RecoveryBaselineConfig, RecoverySettings
from weightspace.recovery.students import expand
from weightspace.store import TrainingState

ROUNDS = 10  # in which units are pruned, as Expand-and-Cluster did it for its pruning controls


def baseline_networks(
    config: RecoveryBaselineConfig,
    recovery: RecoverySettings,
    problem: Problem,
    expanded: Expanded,
    spec: NetSpec,
    state: TrainingState,
) -> list[RecoveredNetwork]:
    """One network per teacher, the best of several by validation error; a killed training goes on from `state`.

    `expanded` are the students of the recovery; `spec` are the teacher's layers, which the networks have.
    """
    identity, (begun, trained, num) = ("baseline", config.recovery, config.kind), expanded
    if config.kind == "pruned":
        chosen = _best(begun, trained.weights, problem, num)
        cut = [_pruned(begun, model, _alone(problem.train, n), spec, recovery) for n, model in enumerate(chosen)]
        return _polished(cut, problem, recovery)
    training = recovery.students
    if config.kind == "distilled":  # as many passes over weights as all students together had
        factor = num * begun.num_weights / spec.num_weights
        training = training.model_copy(update={"num": 1, "epochs": round(factor * training.epochs)})
    own = expand(spec, training, problem.train, identity, state)
    chosen = _best(spec, own.weights, problem, training.num)
    finished = [finish(spec, model, _alone(problem.train, n), recovery) for n, model in enumerate(chosen)]
    return _polished(finished, problem, recovery)


def _polished(networks: list[Network], problem: Problem, config: RecoverySettings) -> list[RecoveredNetwork]:
    """The networks, polished as a recovered one is, in their teachers' units."""
    return [recovered_network(polished(net, _alone(problem.train, n), config), problem, n, {}) for n, net in enumerate(networks)]


def _alone(fit: Fit, teacher: int) -> Fit:
    """One model that imitates one teacher."""
    return fit._replace(owner=torch.tensor([teacher], device=fit.y.device))


def _best(spec: NetSpec, weights: Float[Tensor, "model weight"], problem: Problem, num: int) -> list[Float[Tensor, "1 weight"]]:
    """Of each teacher's `num` students the one with the smallest validation error."""
    error = finite_first(validation_error(spec, weights, problem, num)).view(-1, num)
    return [weights[n * num + int(own.argmin())].unsqueeze(0) for n, own in enumerate(error)]


def _pruned(spec: NetSpec, weights: Float[Tensor, "1 weight"], fit: Fit, small: NetSpec, config: RecoverySettings) -> Network:
    """A student cut to the widths of `small` in rounds, with training after each; smallest |incoming| |outgoing| goes first."""
    begun, aims = widths_of(spec), widths_of(small)
    short = config.model_copy(update={"finish_steps": max(1, config.finish_steps // ROUNDS)})
    for n in range(1, ROUNDS + 1):
        widths = [max(aim, round(start * (aim / start) ** (n / ROUNDS))) for start, aim in zip(begun, aims, strict=True)]
        for layer, width in enumerate(widths):
            spec, weights = _keep_largest(spec, weights, layer, width)
        network = finish(spec, weights, fit, config if n == ROUNDS else short)
        spec, weights = network.spec, network.weights
    return network


def _keep_largest(spec: NetSpec, weights: Float[Tensor, "1 weight"], layer: int, width: int) -> tuple[NetSpec, Tensor]:
    """The network with the `width` units of a layer whose norms of incoming times outgoing weights are largest."""
    rows, above = incoming(spec, weights, layer), incoming(spec, weights, layer + 1)
    columns = above[..., :-1].unflatten(2, (rows.shape[1], -1))
    size = rows[0].norm(dim=1) * columns[0].permute(1, 0, 2).flatten(1).norm(dim=1)
    kept = size.argsort(descending=True)[:width].sort().values
    outgoing = torch.cat([columns[:, :, kept].flatten(2), above[..., -1:]], dim=2)
    return with_layers(spec, weights, {layer: rows[:, kept], layer + 1: outgoing})
