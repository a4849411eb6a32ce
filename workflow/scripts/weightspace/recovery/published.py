"""Published: the procedure of Expand-and-Cluster (Martinelli et al. 2024) as its authors coded it, from students to a network.

Theirs: signs by the first weight, clusters by numbers of neurons, units from the five best students, outgoing weights by
sums, and for even-linear classes an affine map from the inputs to the answers beside the network (commit 231cac9 of their
code, extraction/). Not theirs: second order or L-BFGS in place of Adam, and, of several hidden layers, the recursion that the
paper states in place of the one coded, which ends with an error.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from weightspace.nets.activations import ACTIVATIONS
from weightspace.nets.forward import forward
from weightspace.nets.spec import NetSpec
from weightspace.recovery.cluster import NO_CLUSTER, Clustering, cluster_neurons, first_coordinate_signs, vectors_of
from weightspace.recovery.collapse import LAYER_ROWS, least_squares, neurons_of_the_best, num_clusters, queries_for, read_above
from weightspace.recovery.finish import LBFGS_QUERIES, Network, Recovered, finish, refit, run_lbfgs
from weightspace.recovery.fit import Fit, finite_first, query_chunks, squared_error
from weightspace.recovery.layers import incoming, symmetry_of, trace, widths_of, with_layers
from weightspace.recovery.problem import Problem
from weightspace.recovery.settings import ClusterConfig, RecoverySettings
from weightspace.recovery.students import Students

BEST = 5  # students, by error, whose neurons can become units


def recover_published(
    spec: NetSpec, students: Students, problem: Problem, config: RecoverySettings, mask: Bool[Tensor, " pixel"] | None = None
) -> Recovered:
    """One network from the students of one teacher, as published, in scaled units; nothing is thinned or pruned.

    All students take part. Above each recovered hidden layer but the last they are trained on. Of an even-linear class the
    answers are those of the network plus those of `skip`, an affine map of the inputs, and both are trained together;
    `affine_residual` is then the deviation of what the skip adds, over that of the answers, and all errors are with it.
    """
    weights, fit, clusterings = students.weights, problem.train, []
    error, last = students.error, len(widths_of(spec)) - 1
    for layer in range(last + 1):
        order = finite_first(error).argsort()
        weights, fit = weights[order], fit.of(order)
        spec, weights, clustering = collapse_by_sums(spec, weights, fit, layer, config.cluster, None if layer else mask)
        clusterings.append(clustering)
        if layer < last:
            weights = refit(spec, weights, fit, spec.layers[layer + 1].offset, config.retrain_steps, config.second_order_limit)
            error = squared_error(spec, weights, fit)
    alone = Fit(fit.inputs(torch.arange(1)), fit.answers(torch.arange(1)), torch.zeros_like(fit.owner[:1]))
    if ACTIVATIONS[spec.activation].symmetry != "even_linear":
        clustered = Network(spec, weights, float(squared_error(spec, weights, alone)))
        return Recovered(finish(spec, weights, alone, config), clustered, clusterings, "clusters", 0.0)
    skip = affine_skip(spec, weights, alone)
    clustered = Network(spec, weights, float(squared_error(spec, weights, without_skip(alone, skip))))
    network, skip = finish_with_skip(clustered, skip, alone, config.finish_steps)
    added = affine(skip, alone.x)[0]
    share = float((added - added.mean(0)).norm() / (alone.y[0] - alone.y[0].mean(0)).norm().clamp_min(1e-300))
    return Recovered(network, clustered, clusterings, "clusters", share, skip)


# one layer


class Neurons(NamedTuple):
    """A hidden layer's neurons of all students, of one sign each and, of a scaling class, of norm 1."""

    rows: Float[Tensor, "neuron fan_in_and_1"]
    outgoing: Float[Tensor, "neuron next_and_block"]  # such that the function is kept, up to constants and affine maps
    vectors: Float[Tensor, "neuron feature"]  # what is compared
    student: Int[Tensor, " neuron"]


def neurons_of(
    spec: NetSpec,
    weights: Float[Tensor, "model weight"],
    inputs: Float[Tensor, "row fan_in"],
    layer: int,
    config: ClusterConfig,
    mask: Bool[Tensor, " pixel"] | None,
) -> Neurons:
    """Neurons of a layer with one sign and norm; the sign goes to the outgoing weights of an odd class, the norm to all."""
    rows, above = incoming(spec, weights, layer), incoming(spec, weights, layer + 1)
    outgoing = above[..., :-1].unflatten(2, (rows.shape[1], -1)).transpose(1, 2).flatten(2).flatten(0, 1)
    student = torch.arange(len(weights), device=rows.device).repeat_interleave(rows.shape[1])
    rows, symmetry = rows.flatten(0, 1), symmetry_of(spec, layer)
    if symmetry.scaling:
        norms = rows.norm(dim=1, keepdim=True).clamp_min(1e-300)
        rows, outgoing = rows / norms, outgoing * norms
    vectors = vectors_of(rows, inputs, config.metric, mask)
    if symmetry.symmetry != "none":
        signs = first_coordinate_signs(vectors)
        rows, vectors = signs * rows, signs * vectors
        outgoing = signs * outgoing if symmetry.symmetry.startswith("odd") else outgoing
    return Neurons(rows, outgoing, vectors, student)


def collapse_by_sums(
    spec: NetSpec,
    weights: Float[Tensor, "model weight"],
    fit: Fit,
    layer: int,
    config: ClusterConfig,
    mask: Bool[Tensor, " pixel"] | None = None,
) -> tuple[NetSpec, Float[Tensor, "kept new_weight"], Clustering]:
    """The students, the best first, with one common layer; outgoing weights of a unit are sums over its cluster's neurons.

    They are each student's own, but those of the last hidden layer, which are of the student that the unit is taken from,
    for one network. The next layer's biases make up for the mean of what is lost (the official align_final_bias). Where no
    cluster is left the best student's neurons stay, at which the official code ends with an error.
    """
    last = layer == len(widths_of(spec)) - 1
    x = fit.inputs(torch.arange(1))[:, : queries_for(spec, len(weights))]
    seen = trace(spec, weights, x)
    neurons = neurons_of(spec, weights, seen[layer].inputs[0], layer, config, mask)
    clustering = cluster_neurons(neurons.vectors, neurons.student, config, symmetry_of(spec, layer).symmetry != "none")
    rows, sums, chosen = units_of(neurons, clustering)
    if len(rows) == 0:
        clustering = neurons_of_the_best(clustering, neurons.student)
        rows, sums, chosen = units_of(neurons, clustering)
    means = seen[layer + 1].outputs.mean(1)
    if last:
        sums = sums[chosen, torch.arange(len(chosen), device=x.device)].unsqueeze(0)
        means = fit.answers(torch.arange(1))[:, : x.shape[1]].mean(1)
    outgoing = sums.unflatten(2, (spec.layers[layer + 1].out, -1)).transpose(1, 2).flatten(2)
    biases = means - outgoing @ read_above(spec, weights, rows, x, layer).mean(0)
    above = torch.cat([outgoing, biases.unsqueeze(2)], dim=2)
    spec, weights = with_layers(spec, weights[: len(above)], {layer: rows.unsqueeze(0), layer + 1: above})
    return spec, weights, clustering


def units_of(
    neurons: Neurons, clustering: Clustering
) -> tuple[Float[Tensor, "unit fan_in_and_1"], Float[Tensor, "model unit next_and_block"], Int[Tensor, " unit"]]:
    """A unit per cluster that one of the BEST first students has a neuron in: the mean of the first such student's neurons.

    Also each student's summed outgoing weights, and the student that each unit is of. Clusters without one are dropped.
    """
    labels, num = clustering.labels.to(neurons.student), num_clusters(clustering)
    models, clustered = int(neurons.student.max()) + 1, labels != NO_CLUSTER
    place = neurons.student[clustered], labels[clustered]

    def summed(values: Float[Tensor, "neuron value"]) -> Float[Tensor, "model cluster value"]:
        zeros = values.new_zeros(models, num, values.shape[1])
        return zeros.index_put(place, values[clustered], accumulate=True)

    counts = summed(torch.ones_like(neurons.rows[:, :1]))
    kept = (counts[:BEST, :, 0] > 0).any(0).nonzero().flatten()
    chosen = (counts[:BEST, kept, 0] > 0).int().argmax(0)  # the first of the largest, so the best
    rows = summed(neurons.rows)[chosen, kept] / counts[chosen, kept]
    return rows, summed(neurons.outgoing)[:, kept], chosen


# the affine skip


def affine(
    skip: Float[Tensor, "output input_and_1"], x: Float[Tensor, "set query channel height width"]
) -> Float[Tensor, "set query output"]:
    """What a skip adds to the answers: its last column is a constant."""
    return x.flatten(2) @ skip[:, :-1].mT + skip[:, -1]


def without_skip(fit: Fit, skip: Float[Tensor, "output input_and_1"]) -> Fit:
    """Answers left for the network, of one teacher: an error of these is one of network and skip together."""
    return fit._replace(y=fit.y - affine(skip, fit.x))


@torch.no_grad()
def affine_skip(spec: NetSpec, weights: Float[Tensor, "1 weight"], fit: Fit) -> Float[Tensor, "output input_and_1"]:
    """The affine map of the inputs that is nearest to what the network leaves of one teacher's answers."""
    x, y = fit.x[:, :LAYER_ROWS], fit.y[:, :LAYER_ROWS]
    return least_squares(x[0].flatten(1), (y - forward(spec, weights, x))[0])[0]


def finish_with_skip(
    network: Network, skip: Float[Tensor, "output input_and_1"], fit: Fit, steps: int
) -> tuple[Network, Float[Tensor, "output input_and_1"]]:
    """Network and skip trained together by L-BFGS."""
    spec, num = network.spec, network.spec.num_weights

    def parts(free: Tensor) -> Iterator[Tensor]:
        for x, y in query_chunks(fit.x, fit.y, LBFGS_QUERIES):
            outputs = forward(spec, free[:, :num], x) + affine(free[0, num:].view_as(skip), x)
            yield (outputs - y).square().sum() / fit.y.numel()

    joint = run_lbfgs(torch.cat([network.weights, skip.reshape(1, -1)], dim=1), parts, steps)
    weights, skip = joint[:, :num], joint[0, num:].view_as(skip)
    return Network(spec, weights, float(squared_error(spec, weights, without_skip(fit, skip)))), skip
