"""Collapse: of a layer of all students one layer, a unit per cluster, and the weights above it by least squares."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from weightspace.nets.activations import ACTIVATIONS
from weightspace.nets.spec import NetSpec
from weightspace.recovery.cluster import NO_CLUSTER, Clustering, cluster_neurons, vectors_of
from weightspace.recovery.fit import Fit, finite_first
from weightspace.recovery.layers import Seen, incoming, queries_in, symmetry_of, trace, widths_of, with_layers
from weightspace.recovery.settings import ClusterConfig

LAYER_ROWS = 20_000  # rows of a layer's inputs that metric and least squares use
OUTPUTS_AT_ONCE = 2**27  # of all students' outputs of a layer at once: a gigabyte; of more students there are fewer rows
FEW = 2_000  # rows on which functions of different students are compared
QUIET = 1e-5  # share of the loudest neuron's output deviation below which a neuron is a constant
EXHAUSTIVE = 14  # units up to which all sets of flips are tried
SMALL_ERROR = 1e-12  # squared error over variance from which on no student is better than another
RANK = 1e-10  # singular values below this share of the largest are 0


def centers(
    neurons: Float[Tensor, "neuron fan_in_and_1"],
    vectors: Float[Tensor, "neuron feature"],
    weight: Float[Tensor, " neuron"],
    rank: Int[Tensor, " neuron"],
    clustering: Clustering,
) -> Float[Tensor, "unit fan_in_and_1"]:
    """One neuron per cluster: of the best student that has members there, their mean, weighted, signs made equal.

    `rank` is the place of a neuron's student by error, `weight` how much a neuron puts out.
    """
    rows = []
    for label in range(int(clustering.labels.max()) + 1):
        members = (clustering.labels == label).nonzero().flatten()
        own = members[rank[members] == rank[members].min()]
        anchor = own[weight[own].argmax()]
        share = weight[own] / weight[own].sum().clamp_min(1e-300)
        rows.append(((vectors[own] @ vectors[anchor]).sign() * share) @ neurons[own])
    return torch.stack(rows) if rows else neurons[:0]


def least_squares(
    features: Float[Tensor, "row feature"], targets: Float[Tensor, "row target"]
) -> tuple[Float[Tensor, "target feature_and_1"], Float[Tensor, " target"]]:
    """Weights and bias that best give the targets, and the mean squared error of each; of smallest norm where not unique."""
    rows = torch.cat([features, torch.ones_like(features[:, :1])], dim=1)
    scale = rows.square().mean(0).sqrt()
    scale = torch.where(scale > 0, scale, 1.0)  # the weight of a feature that is 0 throughout is 0, up to rounding
    solution = torch.linalg.lstsq(rows / scale, targets, rcond=RANK, driver="gelsd").solution / scale.unsqueeze(1)
    return solution.mT, (rows @ solution - targets).square().mean(0)


class Flips(NamedTuple):
    """Which units have the other sign in the teacher, and what is then left of the affine rest."""

    flipped: Bool[Tensor, " unit"]
    residual: float  # norm of what no flip explains, over the norm of the targets


def find_flips(
    plus: Float[Tensor, "row unit_block"], minus: Float[Tensor, "row unit_block"], targets: Float[Tensor, "row target"], num: int
) -> Flips:
    """Signs of `num` units of an even-linear class, one per unit and for all targets, by regression.

    `plus` and `minus` are what the next layer reads of the units with one sign and with the other. They differ by an affine
    function, so a fit of both gives each unit's outgoing weights as the sum of its two coefficients; what `plus` then
    leaves is affine, and explained by units to flip: one unknown per unit, 1 where flipped and 0 elsewhere.
    """
    solution, _ = least_squares(torch.cat([plus, minus], dim=1), targets)
    outgoing = solution[:, : plus.shape[1]] + solution[:, plus.shape[1] : -1]  # [target, unit_block]
    rest, change = targets - plus @ outgoing.mT, minus - plus
    rest, change = rest - rest.mean(0), change - change.mean(0)
    # Squared norm of rest - sum_k f_k change_k outgoing_k as a quadratic form in f.
    matrix = _sum_blocks(_sum_blocks((outgoing.mT @ outgoing) * (change.mT @ change), num).mT, num)
    vector = _sum_blocks(((rest.mT @ change) * outgoing).sum(0, keepdim=True), num)[0]
    flipped = torch.as_tensor(smallest_binary(matrix.numpy(force=True), vector.numpy(force=True)), device=plus.device)
    chosen = flipped.repeat_interleave(plus.shape[1] // num).to(plus)
    left = rest - (change * chosen) @ outgoing.mT
    return Flips(flipped, float(left.norm() / (targets - targets.mean(0)).norm().clamp_min(1e-300)))


def _sum_blocks(matrix: Float[Tensor, "row unit_block"], num: int) -> Float[Tensor, "row unit"]:
    return matrix.unflatten(1, (num, -1)).sum(2)


def smallest_binary(matrix: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """f in {0, 1}^n with the smallest f'Mf - 2 v'f: of all up to EXHAUSTIVE entries, else rounded and improved bit by bit."""
    num = len(vector)
    if num <= EXHAUSTIVE:
        bits = (np.arange(2**num)[:, None] >> np.arange(num)) & 1
        values = np.einsum("bi,ij,bj->b", bits, matrix, bits, optimize=True) - 2 * bits @ vector
        return bits[values.argmin()].astype(bool)
    bits = (np.linalg.lstsq(matrix, vector, rcond=RANK)[0] > 0.5).astype(float)
    while True:
        change = (1 - 2 * bits) * (2 * matrix @ bits - 2 * vector) + matrix.diagonal()
        if change.min() >= -1e-12 * abs(matrix).max():
            return bits.astype(bool)
        bits[change.argmin()] = 1 - bits[change.argmin()]


def usable_students(error: Float[Tensor, " student"], config: ClusterConfig) -> Int[Tensor, " kept"]:
    """Students whose squared error is at most keep_ratio times the best one's, the best first; at least two."""
    error = finite_first(error)
    order = error.argsort()
    kept = int((error <= config.keep_ratio * error.min().clamp_min(SMALL_ERROR)).sum())
    return order[: max(2, kept)]


def num_clusters(clustering: Clustering) -> int:
    """Clusters that are left."""
    return int(clustering.labels.max()) + 1 if (clustering.labels != NO_CLUSTER).any() else 0


class Criterion(NamedTuple):
    """What makes neurons of different students one."""

    config: ClusterConfig
    mask: Bool[Tensor, " pixel"] | None = None  # pixels by which neurons of the first layer are compared; None: by all
    choice: int = 0  # which of the possible cuts


class Layer(NamedTuple):
    """A hidden layer of all usable students, on common inputs."""

    neurons: Float[Tensor, "neuron fan_in_and_1"]
    vectors: Float[Tensor, "neuron feature"]  # in the metric
    student: Tensor  # place of the neuron's student by error
    loudness: Float[Tensor, " neuron"]  # deviation of what it adds to the next layer


def collapse_layer(
    spec: NetSpec,
    weights: Float[Tensor, "model weight"],
    fit: Fit,
    layer: int,
    criterion: Criterion,
) -> tuple[NetSpec, Float[Tensor, "kept new_weight"], Clustering, float]:
    """All students with one common layer, a unit per cluster, and above it each student's own weights, fitted to its own layer.

    Layers below are common already. Constant neurons, and what falls into no cluster, go into the next layer's bias by the
    fit; the last hidden layer is fitted to the answers. Also the clusters, and the affine residual.
    """
    symmetry, last = symmetry_of(spec, layer), layer == len(widths_of(spec)) - 1
    x = fit.inputs(torch.arange(1))[:, : queries_for(spec, len(weights))]
    seen = trace(spec, weights, x)
    neurons = layer_of(spec, weights, seen, layer, criterion)
    signed = symmetry.symmetry != "none"
    # All but the simplest networks have neurons that cancel each other, in pairs of both signs or in what higher layers read.
    clustering = cluster_neurons(
        neurons.vectors, neurons.student, criterion.config, signed, signed or len(widths_of(spec)) > 1, criterion.choice
    )
    if num_clusters(clustering) == 0:  # no two students agree: the best one's own neurons
        clustering = neurons_of_the_best(clustering, neurons.student)
    core = clustering._replace(labels=clustering.core)
    rows = centers(neurons.neurons, neurons.vectors, neurons.loudness, neurons.student, core)
    # What the layer above should put out: each student's own, or the answers.
    targets = fit.y[fit.owner[0], : x.shape[1]] if last else seen[layer + 1].outputs.permute(1, 0, 2).flatten(1)
    common = targets if last else targets[:, shared(spec, weights, seen, layer + 1, criterion.config).flatten()]
    plus = read_above(spec, weights, rows, x, layer)
    residual = 0.0
    if symmetry.symmetry == "even_linear":
        minus = read_above(spec, weights, -rows, x, layer)
        flips = find_flips(plus, minus, common, len(rows))
        rows = torch.where(flips.flipped.unsqueeze(1), -rows, rows)
        plus, residual = read_above(spec, weights, rows, x, layer), flips.residual
    rows = rows[needed(plus, common, len(rows))]
    plus = read_above(spec, weights, rows, x, layer)
    above = least_squares(plus, targets)[0].unflatten(0, (-1, spec.layers[layer + 1].out))
    spec, weights = with_layers(spec, weights[:1] if last else weights, {layer: rows.unsqueeze(0), layer + 1: above})
    return spec, weights, clustering, residual


def neurons_of_the_best(clustering: Clustering, student: Int[Tensor, " neuron"]) -> Clustering:
    """Each neuron of student 0 a cluster of its own, the others in none."""
    own = torch.where(student == 0, student.eq(0).cumsum(0) - 1, NO_CLUSTER)
    return clustering._replace(labels=own, core=own)


def needed(features: Float[Tensor, "row unit_block"], targets: Float[Tensor, "row target"], num: int) -> Bool[Tensor, " unit"]:
    """Units that a least-squares fit of the targets uses; others are not the teacher's, even where all students have them."""
    outgoing = least_squares(features, targets)[0][:, :-1]
    say = (outgoing.square().sum(0) * features.var(0)).unflatten(0, (num, -1)).sum(1).sqrt()
    return say >= QUIET * say.max()


def active_neurons(
    spec: NetSpec, weights: Float[Tensor, "model weight"], seen: list[Seen], layer: int
) -> tuple[Bool[Tensor, "model unit"], Float[Tensor, "model unit"]]:
    """Neurons of a layer that the next layer uses, and the deviation of what each adds to it; where none adds anything, all."""
    outputs = ACTIVATIONS[spec.activation].function(seen[layer].outputs)
    outgoing = incoming(spec, weights, layer + 1)[..., :-1].unflatten(2, (outputs.shape[2], -1)).square().sum((1, 3)).sqrt()
    loudness = outputs.std(1) * outgoing
    return loudness >= QUIET * loudness.max(1, keepdim=True).values, loudness


def layer_of(
    spec: NetSpec,
    weights: Float[Tensor, "model weight"],
    seen: list[Seen],
    layer: int,
    criterion: Criterion,
) -> Layer:
    """Active neurons of a layer, with their vectors in the metric; of a scaling class with norm 1 there."""
    heard, loudness = active_neurons(spec, weights, seen, layer)
    neurons = incoming(spec, weights, layer)[heard]
    vectors = vectors_of(neurons, seen[layer].inputs[0], criterion.config.metric, None if layer else criterion.mask)
    if ACTIVATIONS[spec.activation].scaling:
        norms = vectors.norm(dim=1, keepdim=True).clamp_min(1e-300)
        neurons, vectors = neurons / norms, vectors / norms
    return Layer(neurons, vectors, heard.nonzero()[:, 0], loudness[heard])


def shared(
    spec: NetSpec, weights: Float[Tensor, "model weight"], seen: list[Seen], layer: int, config: ClusterConfig
) -> Bool[Tensor, "model unit"]:
    """Neurons whose function of the queries other students have too; all active ones where there are none.

    Only of these is known that what they read is the teacher's: students' other neurons read of lower layers what they like.
    """
    heard, _ = active_neurons(spec, weights, seen, layer)
    vectors = seen[layer].outputs[:, :FEW].mT[heard] / min(FEW, seen[layer].outputs.shape[1]) ** 0.5
    if ACTIVATIONS[spec.activation].scaling:
        vectors = vectors / vectors.norm(dim=1, keepdim=True)
    student = heard.nonzero()[:, 0]
    clustering = cluster_neurons(vectors, student, config, symmetry_of(spec, layer).symmetry != "none", True)
    if num_clusters(clustering) == 0:
        return heard
    common = torch.zeros_like(heard)
    common[heard] = (clustering.core != NO_CLUSTER).to(heard.device)
    return common


def queries_for(spec: NetSpec, num_students: int) -> int:
    """Queries on which so many students are looked at together."""
    return queries_in(spec, min(LAYER_ROWS, OUTPUTS_AT_ONCE // (num_students * max(widths_of(spec)))))


def read_above(
    spec: NetSpec,
    weights: Float[Tensor, "model weight"],
    rows: Float[Tensor, "unit fan_in_and_1"],
    x: Float[Tensor, "set query channel height width"],
    layer: int,
) -> Float[Tensor, "row unit_block"]:
    """What the next layer reads where this layer's units are `rows`."""
    above = incoming(spec, weights[:1], layer + 1)
    blocks = (above.shape[2] - 1) // spec.layers[layer].out
    empty = above.new_zeros(1, above.shape[1], len(rows) * blocks + 1)
    changed, one = with_layers(spec, weights[:1], {layer: rows.unsqueeze(0), layer + 1: empty})
    return trace(changed, one, x)[layer + 1].inputs[0]
