"""Finish: train the recovered network to the end, and leave out units that it does not need."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from weightspace.nets.forward import forward
from weightspace.nets.spec import NetSpec
from weightspace.recovery.cluster import Clustering
from weightspace.recovery.collapse import least_squares
from weightspace.recovery.fit import Fit, finite_first, query_chunks, squared_error
from weightspace.recovery.layers import block_size, incoming, trace, widths_of, with_layers
from weightspace.recovery.second_order import levenberg_marquardt, rows_for
from weightspace.recovery.settings import RecoverySettings

ROWS_PER_WEIGHT = 4.0  # equations per weight that the finish uses
QUERIES = 2048  # that least squares uses, and the finish at least: inputs that vary in few queries must be among them
WORSE = 1.5  # factor of the error up to which a network without some unit is as good
ZERO = 1e-16  # squared error over variance that counts as zero where answers are exact
COARSEST = 1e-10  # that can be a floor of the answers' precision
FLOOR = 4.0  # factor of the error within which students are at one floor
DONE = 1e-19  # and at which training rests
EXACT = 1e-30  # where it ends for the network that is kept
HOPELESS = 1e-4  # squared error over variance from which on leaving out more units is given up
MUCH_WORSE = 10.0  # factor of the error at which leaving out more units is given up as well
LBFGS_QUERIES = 8192  # queries at once in L-BFGS


class Network(NamedTuple):
    """One network of a teacher's scaled queries and answers."""

    spec: NetSpec
    weights: Float[Tensor, "1 weight"]
    error: float  # mean squared, on all train queries


class Recovered(NamedTuple):
    """What became of one teacher's students."""

    network: Network
    clustered: Network  # before the finish
    clusterings: list[Clustering]  # of each hidden layer
    how: str  # clusters, or students where the clusters' network is not good enough and one of these was thinned
    affine_residual: float  # largest share of a layer's targets that is affine and no flip explains
    skip: Float[Tensor, "output input_and_1"] | None = None  # of the published procedure: what is added to the answers


def refit(
    spec: NetSpec, weights: Float[Tensor, "model weight"], fit: Fit, first: int, steps: int, limit: int
) -> Float[Tensor, "model weight"]:
    """Weights from index `first` on trained further: by second order up to `limit` of them, by L-BFGS above."""
    if spec.num_weights - first > limit:
        alone = [(model.unsqueeze(0), fit.of(torch.tensor([n]))) for n, model in enumerate(weights)]
        return torch.cat([_lbfgs(spec, model, own, first, steps) for model, own in alone])
    rows = rows_for(fit, spec.num_weights - first, ROWS_PER_WEIGHT, QUERIES)
    return levenberg_marquardt(spec, weights, rows, steps, DONE, first)


def _lbfgs(spec: NetSpec, weights: Float[Tensor, "1 weight"], fit: Fit, first: int, steps: int) -> Float[Tensor, "1 weight"]:
    fixed, models = weights[:, :first], torch.arange(1)

    def parts(free: Tensor) -> Iterator[Tensor]:
        for x, y in query_chunks(fit.inputs(models), fit.answers(models), LBFGS_QUERIES):
            yield (forward(spec, torch.cat([fixed, free], dim=1), x) - y).square().sum() / fit.y[0].numel()

    return torch.cat([fixed, run_lbfgs(weights[:, first:], parts, steps)], dim=1)


def run_lbfgs(start: Float[Tensor, "1 free"], parts: Callable[[Tensor], Iterator[Tensor]], steps: int) -> Float[Tensor, "1 free"]:
    """Where L-BFGS comes to from `start` in so many steps; `parts` of the loss are differentiated one at a time."""
    free = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([free], max_iter=steps, history_size=50, line_search_fn="strong_wolfe", tolerance_change=0)
    optimizer.param_groups[0]["tolerance_grad"] = 0.0

    def loss() -> Tensor:
        optimizer.zero_grad()
        total = 0.0
        for part in parts(free):
            part.backward()
            total = total + part.detach()
        return total

    optimizer.step(loss)
    return free.detach()


def finish(spec: NetSpec, weights: Float[Tensor, "1 weight"], fit: Fit, config: RecoverySettings) -> Network:
    """The network trained to the end."""
    weights = refit(spec, weights, fit, 0, config.finish_steps, config.second_order_limit)
    return Network(spec, weights, float(squared_error(spec, weights, fit)))


def without_unit(network: Network, x: Tensor, layer: int, unit: int) -> tuple[NetSpec, Tensor, float]:
    """The network without a unit, the next layer refitted by least squares to what it put out, and what that costs."""
    spec, weights = network.spec, network.weights
    above = trace(spec, weights, x)[layer + 1]
    kept = [n for n in range(spec.layers[layer].out) if n != unit]
    block = block_size(spec, layer)
    columns = torch.tensor([n * block + k for n in kept for k in range(block)], dtype=torch.long)
    solution, error = least_squares(above.inputs[0][:, columns], above.outputs[0])
    changed, thinner = with_layers(
        spec, weights, {layer: incoming(spec, weights, layer)[:, kept], layer + 1: solution.unsqueeze(0)}
    )
    return changed, thinner, float(error.sum() / above.outputs[0].var(0).sum())


def exact_error(error: Float[Tensor, " student"]) -> float:
    """Squared error over variance that counts as zero: ZERO, or what the precision of the answers leaves to the best students.

    Such a floor shows where a quarter of the students, at least two, end within FLOOR times the error of the best one, and
    that is at most COARSEST: answers computed in float32 leave 1e-13 or so.
    """
    best = finite_first(error).sort().values
    last = best[min(len(best), max(2, -(-len(best) // 4))) - 1]
    return max(ZERO, FLOOR * float(last)) if last <= min(COARSEST, FLOOR * float(best[0])) else ZERO


def as_good(least: float, exact: float = ZERO) -> float:
    """The error up to which a network is as good as one whose error is `least`; errors up to `exact` are zero."""
    return max(exact, WORSE * least)


def prune_units(network: Network, fit: Fit, config: RecoverySettings, exact: float = ZERO) -> Network:
    """The smallest network that answers as well, of those on the path on which units are left out and the rest trained on."""
    path = pruning_path(network, fit, config, exact, config.second_order_limit)
    bound = as_good(min(smaller.error for smaller in path), exact)
    return [smaller for smaller in path if smaller.error <= bound][-1]


def pruning_path(network: Network, fit: Fit, config: RecoverySettings, exact: float, patient: int) -> list[Network]:
    """The network, and ever smaller ones, until the error is beyond hope.

    As long as the error stays zero several units go at a time; then one after the other, while the error may rise, and vanish
    when the last unit too many is gone. Of networks of more than `patient` weights, whose training by L-BFGS leaves an error
    always, several go as long as the network is as good.
    """
    path, least, stride = [network], network.error, max(1, sum(widths_of(network.spec)) // 4)
    while path[-1].error <= max(HOPELESS, MUCH_WORSE * least):
        thinner = _without_cheapest(path[-1], fit, stride)
        trial = finish(*thinner, fit, config) if thinner else None
        bound = exact if path[-1].spec.num_weights <= patient else as_good(least, exact)
        if stride > 1 and (trial is None or trial.error > bound):
            stride //= 2
        elif trial is None:
            break
        else:
            path.append(trial)
            least = min(least, trial.error)
    return path


def polished(network: Network, fit: Fit, config: RecoverySettings, exact: float = ZERO) -> Network:
    """A network of error zero trained on to the last digits; any other as it is."""
    if network.error > exact or network.spec.num_weights > config.second_order_limit:
        return network
    weights = levenberg_marquardt(network.spec, network.weights, fit, config.finish_steps, EXACT)
    return Network(network.spec, weights, float(squared_error(network.spec, weights, fit)))


def _without_cheapest(network: Network, fit: Fit, num: int) -> tuple[NetSpec, Tensor] | None:
    """The network without `num` units, each time the one whose loss costs least; None if a layer would be left empty."""
    x, spec, weights = fit.inputs(torch.arange(1))[:, :QUERIES], network.spec, network.weights
    for _ in range(num):
        units = [(layer, unit) for layer, width in enumerate(widths_of(spec)) if width > 1 for unit in range(width)]
        if not units:
            return None
        thinner = (without_unit(network._replace(spec=spec, weights=weights), x, *place) for place in units)
        spec, weights, _ = min(thinner, key=lambda candidate: candidate[2])
    return spec, weights
