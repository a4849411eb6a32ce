"""From the students of one teacher to one network: layer by layer cluster and collapse, then finish."""

from itertools import islice

import torch
from jaxtyping import Bool
from torch import Tensor

from weightspace.nets.spec import NetSpec
from weightspace.recovery.collapse import Criterion, collapse_layer, usable_students
from weightspace.recovery.finish import (
    Network,
    Recovered,
    as_good,
    exact_error,
    finish,
    polished,
    prune_units,
    pruning_path,
    refit,
)
from weightspace.recovery.fit import Fit, finite_first, squared_error
from weightspace.recovery.layers import widths_of
from weightspace.recovery.problem import Problem
from weightspace.recovery.settings import RecoverySettings
from weightspace.recovery.students import Students

THINNED = 128  # hidden units of a student up to which it is thinned in place of a network of clusters that failed
ROSE = 10.0  # factor by which collapsing may raise the error before the layers above are trained again


def recover(
    spec: NetSpec, students: Students, problem: Problem, config: RecoverySettings, mask: Bool[Tensor, " pixel"] | None = None
) -> Recovered:
    """One network from the students of one teacher (models of `students` and of `problem`), in scaled units.

    On validation queries it is as good as the best student: where the network of the clusters is not, the other cuts are
    tried, and then the best student is thinned for as long as it stays as good. Where there is a mask, neurons of the first
    layer are compared by their weights on its pixels.
    """
    order = usable_students(students.error, config.cluster)
    chosen = Students(students.weights[order], students.error[order])
    fit, exact = problem.train.of(order), exact_error(students.error)
    validated = finite_first(squared_error(spec, students.weights, problem.val))
    bound = as_good(float(validated.min()), exact)
    alone = Problem(problem.scaling, fit.of(torch.arange(1)), problem.val.of(order[:1]))
    found = _from_clusters(spec, chosen, fit, config, Criterion(config.cluster, mask))
    for choice in range(1, max(len(clustering.cuts) for clustering in found.clusterings)):
        if _validated(found.network, alone) <= bound:
            break
        other = _from_clusters(spec, chosen, fit, config, Criterion(config.cluster, mask, choice))
        found = min(found, other, key=lambda one: _validated(one.network, alone))
    if found.network.error > exact and (thinned := _exact_student(spec, chosen, alone.train, config)):
        found = found._replace(network=thinned, how="students")
    if _validated(found.network, alone) > bound:
        best = int(validated.argmin())
        student = Network(spec, students.weights[[best]], float(students.error[best]))
        found = found._replace(network=_thinned(student, alone, config, exact, bound), how="students")
    return found._replace(network=polished(found.network, alone.train, config, exact))


def _validated(network: Network, problem: Problem) -> float:
    """Mean squared error on the validation queries of one teacher."""
    return float(finite_first(squared_error(network.spec, network.weights, problem.val)))


def _from_clusters(spec: NetSpec, students: Students, fit: Fit, config: RecoverySettings, criterion: Criterion) -> Recovered:
    """The network that the clusters of the students give, the best student first, trained to the end and thinned."""
    weights, clusterings, residuals = students.weights, [], [0.0]
    last = len(widths_of(spec)) - 1
    for layer in range(last + 1):
        before = squared_error(spec, weights, fit).min()
        spec, weights, clustering, residual = collapse_layer(spec, weights, fit, layer, criterion)
        clusterings.append(clustering)
        residuals.append(residual)
        if layer < last and squared_error(spec, weights, fit).min() > ROSE * before:
            weights = refit(spec, weights, fit, spec.layers[layer + 1].offset, config.retrain_steps, config.second_order_limit)
            order = usable_students(squared_error(spec, weights, fit), config.cluster)
            weights, fit = weights[order], fit.of(order)
    alone = fit.of(torch.arange(1))
    clustered = Network(spec, weights[:1], float(squared_error(spec, weights[:1], alone)))
    network = finish(spec, clustered.weights, alone, config)
    network = prune_units(network, alone, config, exact_error(students.error)) if config.minimize else network
    return Recovered(network, clustered, clusterings, "clusters", max(residuals))


def _exact_student(spec: NetSpec, students: Students, fit: Fit, config: RecoverySettings) -> Network | None:
    """The exact network that the first student leads to, of those from which leaving out units does; None where none does."""
    exact = exact_error(students.error)
    begun = (Network(spec, students.weights[[n]], float(students.error[n])) for n in range(len(students.error)))
    thinned = (prune_units(student, fit, config, exact) for student in islice(begun, config.thinned_students))
    return next((network for network in thinned if network.error <= exact), None)


def _thinned(student: Network, problem: Problem, config: RecoverySettings, exact: float, bound: float) -> Network:
    """The smallest network of validation error at most `bound`, as the student's is, that leaving out its units gives."""
    if not config.minimize or sum(widths_of(student.spec)) > THINNED:
        return student
    path = pruning_path(student, problem.train, config, exact, 0)
    return [smaller for smaller in path if _validated(smaller, problem) <= bound][-1]
