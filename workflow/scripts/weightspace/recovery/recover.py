"""From the students of one teacher to one network: layer by layer cluster and collapse, then finish."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from weightspace.nets.activations import ACTIVATIONS
from weightspace.nets.spec import NetSpec
from weightspace.recovery.cluster import NO_CLUSTER, Clustering, cluster_neurons, vectors_of
from weightspace.recovery.collapse import centers, find_flips, least_squares, num_clusters, with_say
from weightspace.recovery.finish import ZERO, Network, finish, minimized, polished, refit
from weightspace.recovery.fit import Fit, squared_error
from weightspace.recovery.layers import Seen, incoming, queries_in, symmetry_of, trace, widths_of, with_layers
from weightspace.recovery.settings import ClusterConfig, RecoveryConfig
from weightspace.recovery.students import Students

ROWS = 20_000  # rows of a layer's inputs that metric and least squares use
NUMBERS = 2**27  # of all students' outputs of a layer at once: a gigabyte; of more students there are fewer rows
FEW = 2_000  # rows on which functions of different students are compared
QUIET = 1e-5  # share of the loudest neuron's output deviation below which a neuron is a constant
ROSE = 10.0  # factor by which collapsing may raise the error before the layers above are trained again


class Recovered(NamedTuple):
    """What became of one teacher's students."""

    network: Network
    clustered: Network  # before the finish
    clusterings: list[Clustering]  # of each hidden layer
    how: str  # clusters, or students where the clusters' network does not answer exactly and one of these was thinned to one
    affine_residual: float  # largest share of a layer's targets that is affine and no flip explains
    skip: Float[Tensor, "output input_and_1"] | None = None  # of the published procedure: what is added to the answers


class Layer(NamedTuple):
    """A hidden layer of all students that have a say, on common inputs."""

    neurons: Float[Tensor, "neuron fan_in_and_1"]
    vectors: Float[Tensor, "neuron feature"]  # in the metric
    student: Tensor  # place of the neuron's student by error
    loudness: Float[Tensor, " neuron"]  # deviation of what it adds to the next layer


def recover(
    spec: NetSpec, students: Students, fit: Fit, config: RecoveryConfig, mask: Bool[Tensor, " pixel"] | None = None
) -> Recovered:
    """One network from the students of one teacher (models of `students` and `fit`), in scaled units.

    Where there is a mask, neurons of the first layer are compared by their weights on its pixels.
    """
    order = with_say(students.error, config.cluster)
    weights, fit = students.weights[order], fit.of(order)
    begun = [Network(spec, weights[n : n + 1], float(students.error[m])) for n, m in enumerate(order[: config.thinned_students])]
    clusterings, residuals = [], [0.0]
    last = len(widths_of(spec)) - 1
    for layer in range(last + 1):
        before = squared_error(spec, weights, fit).min()
        spec, weights, clustering, residual = collapse_layer(spec, weights, fit, layer, config.cluster, None if layer else mask)
        clusterings.append(clustering)
        residuals.append(residual)
        if layer < last and squared_error(spec, weights, fit).min() > ROSE * before:
            weights = refit(spec, weights, fit, spec.layers[layer + 1].offset, config.retrain_steps, config.second_order_limit)
            order = with_say(squared_error(spec, weights, fit), config.cluster)
            weights, fit = weights[order], fit.of(order)
    alone = fit.of(torch.arange(1))
    clustered = Network(spec, weights[:1], float(squared_error(spec, weights[:1], alone)))
    network = finish(spec, clustered.weights, alone, config)
    network = minimized(network, alone, config) if config.minimize else network
    how = "clusters"
    if network.error > ZERO and (thinned := _from_students(begun, alone, config)):
        network, how = thinned, "students"
    return Recovered(polished(network, alone, config), clustered, clusterings, how, max(residuals))


def _from_students(students: list[Network], fit: Fit, config: RecoveryConfig) -> Network | None:
    """The exact network that the first student leads to, of those from which leaving out units does; None where none does."""
    thinned = (minimized(student, fit, config) for student in students)
    return next((network for network in thinned if network.error <= ZERO), None)


def collapse_layer(
    spec: NetSpec,
    weights: Float[Tensor, "model weight"],
    fit: Fit,
    layer: int,
    config: ClusterConfig,
    mask: Bool[Tensor, " pixel"] | None = None,
) -> tuple[NetSpec, Float[Tensor, "kept new_weight"], Clustering, float]:
    """All students with one common layer, a unit per cluster, and above it each student's own weights, fitted to its own layer.

    Layers below are common already. Constant neurons, and what falls into no cluster, go into the next layer's bias by the
    fit; the last hidden layer is fitted to the answers. Also the clusters, and the affine residual.
    """
    symmetry, last = symmetry_of(spec, layer), layer == len(widths_of(spec)) - 1
    x = fit.inputs(torch.arange(1))[:, : queries_for(spec, len(weights))]
    seen = trace(spec, weights, x)
    neurons = layer_of(spec, weights, seen, layer, config, mask)
    signed = symmetry.symmetry != "none"
    # Neurons that cancel each other, in pairs of both signs or in what higher layers read, abound but in the simplest networks.
    clustering = cluster_neurons(neurons.vectors, neurons.student, config, signed, signed or len(widths_of(spec)) > 1)
    if num_clusters(clustering) == 0:  # no two students agree: the best one's own neurons
        clustering = only_of_the_best(clustering, neurons.student)
    core = clustering._replace(labels=clustering.core)
    rows = centers(neurons.neurons, neurons.vectors, neurons.loudness, neurons.student, core)
    # What the layer above should put out: each student's own, or the answers.
    targets = fit.y[fit.owner[0], : x.shape[1]] if last else seen[layer + 1].outputs.permute(1, 0, 2).flatten(1)
    common = targets if last else targets[:, shared(spec, weights, seen, layer + 1, config).flatten()]
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


def only_of_the_best(clustering: Clustering, student: Int[Tensor, " neuron"]) -> Clustering:
    """Each neuron of student 0 a cluster of its own, the others in none."""
    own = torch.where(student == 0, student.eq(0).cumsum(0) - 1, NO_CLUSTER)
    return clustering._replace(labels=own, core=own)


def needed(features: Float[Tensor, "row unit_block"], targets: Float[Tensor, "row target"], num: int) -> Bool[Tensor, " unit"]:
    """Units without which the targets are not fitted as well: what all students have in vain is not the teacher's."""
    outgoing = least_squares(features, targets)[0][:, :-1]
    say = (outgoing.square().sum(0) * features.var(0)).unflatten(0, (num, -1)).sum(1).sqrt()
    return say > QUIET * say.max()


def audible(
    spec: NetSpec, weights: Float[Tensor, "model weight"], seen: list[Seen], layer: int
) -> tuple[Bool[Tensor, "model unit"], Float[Tensor, "model unit"]]:
    """Neurons of a layer that say anything, and the deviation of what each adds to the next layer."""
    outputs = ACTIVATIONS[spec.activation].function(seen[layer].outputs)
    outgoing = incoming(spec, weights, layer + 1)[..., :-1].unflatten(2, (outputs.shape[2], -1)).square().sum((1, 3)).sqrt()
    loudness = outputs.std(1) * outgoing
    return loudness > QUIET * loudness.max(1, keepdim=True).values, loudness


def layer_of(
    spec: NetSpec,
    weights: Float[Tensor, "model weight"],
    seen: list[Seen],
    layer: int,
    config: ClusterConfig,
    mask: Bool[Tensor, " pixel"] | None,
) -> Layer:
    """Neurons of a layer that say anything, with their vectors in the metric; of a scaling class with norm 1 there."""
    heard, loudness = audible(spec, weights, seen, layer)
    neurons = incoming(spec, weights, layer)[heard]
    vectors = vectors_of(neurons, seen[layer].inputs[0], config.metric, mask)
    if ACTIVATIONS[spec.activation].scaling:
        norms = vectors.norm(dim=1, keepdim=True)
        neurons, vectors = neurons / norms, vectors / norms
    return Layer(neurons, vectors, heard.nonzero()[:, 0], loudness[heard])


def shared(
    spec: NetSpec, weights: Float[Tensor, "model weight"], seen: list[Seen], layer: int, config: ClusterConfig
) -> Bool[Tensor, "model unit"]:
    """Neurons whose function of the queries other students have too; all that say anything where there are none.

    Only of these is known that what they read is the teacher's: students' other neurons read of lower layers what they like.
    """
    heard, _ = audible(spec, weights, seen, layer)
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
    return queries_in(spec, min(ROWS, NUMBERS // (num_students * max(widths_of(spec)))))


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
