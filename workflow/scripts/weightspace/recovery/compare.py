"""Compare: the recovered network against the teacher, unit by unit and answer by answer."""

from math import degrees, log10
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from weightspace.nets.activations import ACTIVATIONS
from weightspace.nets.forward import forward
from weightspace.nets.spec import NetSpec
from weightspace.recovery.cluster import span_factor
from weightspace.recovery.layers import incoming, queries_in, symmetry_of, trace, widths_of, with_layers
from weightspace.recovery.metrics import COVERAGES
from weightspace.recovery.second_order import outputs_and_jacobian

ANGLE_ROWS = 20_000  # rows of a layer's inputs that angles are measured on
LARGE = 2_500  # weights of a teacher whose tangent features are no longer looked at
QUERIES = 1_000  # inputs whose tangent features say how identifiable a teacher is


class Matched(NamedTuple):
    """Units of one layer of a teacher, each with its recovered unit; nothing was found for a unit at distance 1."""

    found: Int[Tensor, " unit"]  # index of the recovered unit, -1 where there is none
    distance: Float[Tensor, " unit"]  # 1 - cosine, in the gauge of the symmetry class
    error: Float[Tensor, " unit"]  # relative, of the incoming weights
    teacher: Float[Tensor, "unit fan_in_and_1"]
    recovered: Float[Tensor, "unit fan_in_and_1"]  # in the teacher's sign and scale; nan where there is none


class Comparison(NamedTuple):
    """All layers, and the weights that leave the last hidden one."""

    layers: list[Matched]
    outgoing_error: float  # relative


class Networks(NamedTuple):
    """A teacher and what was recovered of it, with the inputs on which neurons are compared."""

    spec: NetSpec
    teacher: Float[Tensor, "1 weight"]
    recovered_spec: NetSpec
    recovered: Float[Tensor, "1 weight"]
    x: Float[Tensor, "1 query channel height width"]
    free_signs: bool = False  # an affine map beside the recovered network makes up for the signs of even-linear units


def compare(networks: Networks) -> Comparison:
    """Units matched one to one so that the sum of cosine distances is smallest (Hungarian), layer after layer.

    Distances are those of neurons as functions of the layer's inputs on the queries (see `span_factor`): directions that no
    query shows do not count. Above the first layer the recovered network is brought into the teacher's order and gauge first.
    """
    spec, recovered_spec, recovered = networks.spec, networks.recovered_spec, networks.recovered
    seen, layers = trace(spec, networks.teacher, networks.x[:, : queries_in(spec, ANGLE_ROWS)]), []
    for layer in range(len(widths_of(spec))):
        factor = span_factor(seen[layer].inputs[0])
        ours, theirs = incoming(recovered_spec, recovered, layer)[0], incoming(spec, networks.teacher, layer)[0]
        matched, sign, scale = _match(networks, layer, theirs, ours, factor)
        layers.append(matched)
        recovered_spec, recovered = _in_gauge(recovered_spec, recovered, layer, matched, sign, scale)
    outgoing, true = (incoming(s, w, len(layers))[0][:, :-1] for s, w in ((recovered_spec, recovered), (spec, networks.teacher)))
    return Comparison(layers, float((outgoing - true).norm() / true.norm()))


def _match(networks: Networks, layer: int, theirs: Tensor, ours: Tensor, factor: Tensor) -> tuple[Matched, Tensor, Tensor]:
    """Matched units, and for each the sign and the scale that turn the recovered one into the teacher's gauge."""
    spec, symmetry = networks.spec, symmetry_of(networks.spec, layer).symmetry
    signed, scaling = symmetry != "none", ACTIVATIONS[spec.activation].scaling
    u, v = theirs @ factor, ours @ factor
    cosines = (u @ v.mT) / (u.norm(dim=1, keepdim=True) * v.norm(dim=1)).clamp_min(1e-300)
    rows, columns = linear_sum_assignment((cosines.abs() if signed else cosines).numpy(force=True), maximize=True)
    found = torch.full((len(theirs),), -1)
    found[torch.as_tensor(rows)] = torch.as_tensor(columns)
    cosine = torch.where(found >= 0, cosines[torch.arange(len(theirs)), found.clamp_min(0)], torch.zeros(len(theirs)).to(u))
    # A unit of an even-linear class has one right sign, where nothing else makes up for the affine function between both.
    free = symmetry in ("odd", "odd_constant") or (networks.free_signs and symmetry == "even_linear")
    sign = torch.where(cosine < 0, -1.0, 1.0) if free else torch.ones_like(cosine)
    norms = u.norm(dim=1) / v.norm(dim=1).clamp_min(1e-300)[found.clamp_min(0)]
    scale = norms if scaling else torch.ones_like(norms)
    aligned = ours[found.clamp_min(0)] * (sign * scale).unsqueeze(1)
    error = ((aligned - theirs) @ factor).norm(dim=1) / u.norm(dim=1).clamp_min(1e-300)
    lost = found < 0
    aligned = torch.where(lost.unsqueeze(1), torch.nan, aligned)
    distance = torch.where(lost, 1.0, _one_minus(u, aligned @ factor))
    return Matched(found, distance, torch.where(lost, 1.0, error), theirs, aligned), sign, scale


def _one_minus(u: Tensor, v: Tensor) -> Float[Tensor, " unit"]:
    """1 - cosine, exact also where it is tiny: half the squared distance of the directions."""
    unit = [rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-300) for rows in (u, v)]
    return (unit[0] - unit[1]).square().sum(1) / 2


def _in_gauge(
    spec: NetSpec, weights: Tensor, layer: int, matched: Matched, sign: Tensor, scale: Tensor
) -> tuple[NetSpec, Float[Tensor, "1 weight"]]:
    """The recovered network with one layer's units in the teacher's order, signs and scales; what was not found is 0."""
    symmetry = symmetry_of(spec, layer)
    above = incoming(spec, weights, layer + 1)[0]
    columns = above[:, :-1].unflatten(1, (spec.layers[layer].out, -1))
    picked = columns[:, matched.found.clamp_min(0)] * (matched.found >= 0).to(above).view(1, -1, 1)
    turned = (sign < 0).to(above).view(1, -1, 1)
    constant = symmetry.constant * (picked * turned).sum((1, 2))
    if symmetry.symmetry in ("odd", "odd_constant"):
        picked = picked * sign.view(1, -1, 1)
    picked = picked / scale.view(1, -1, 1)
    rows = torch.cat([picked.flatten(1), (above[:, -1] + constant).unsqueeze(1)], dim=1)
    below = torch.where((matched.found < 0).unsqueeze(1), 0.0, matched.recovered)
    return with_layers(spec, weights, {layer: below.unsqueeze(0), layer + 1: rows.unsqueeze(0)})


def unit_metrics(comparison: Comparison) -> dict[str, float]:
    """Angles (degrees), errors and coverages over the units of all hidden layers."""
    distance = torch.cat([layer.distance for layer in comparison.layers])
    angle = 2 * torch.asin((distance / 2).clamp(0, 1).sqrt())
    measures = {
        "angle_mean_degrees": degrees(angle.mean()),
        "angle_max_degrees": degrees(angle.max()),
        "weights_error": float(torch.cat([layer.error for layer in comparison.layers]).mean()),
        "outgoing_error": comparison.outgoing_error,
    }
    return measures | {f"coverage_1e-{k}": float((distance < 10.0**-k).double().mean()) for k in COVERAGES}


def size_metrics(true: int, recovered: int, coverage: float) -> dict[str, float]:
    """Sizes in hidden units, overhead, and whether the teacher is solved: nothing missing, nothing in excess."""
    overhead = (recovered - true) / true
    return {
        "size_true": true, "size_recovered": recovered, "overhead": overhead,
        "size_right": float(recovered == true), "solved": float(coverage == 1.0 and recovered == true),
    }  # fmt: skip


@torch.no_grad()
def answer_metrics(
    spec: NetSpec,
    weights: Float[Tensor, "1 weight"],
    x: Float[Tensor, "1 query channel height width"],
    y: Float[Tensor, "query output"],
    name: str,
    skip: Float[Tensor, "output input_and_1"] | None = None,
) -> dict[str, float]:
    """Root mean squared error, and where there are several outputs the share of equal answers; nothing without queries.

    A skip is an affine map of the inputs that is added to the network's answers.
    """
    if not y.shape[0]:
        return {}
    outputs = torch.cat([forward(spec, weights, part)[0] for part in x.double().split(4096, dim=1)])
    outputs = outputs if skip is None else outputs + x[0].double().flatten(1) @ skip[:, :-1].mT + skip[:, -1]
    measures = {f"rmse_{name}": float((outputs - y).square().mean().sqrt())}
    if y.shape[1] > 1 and name != "train":
        suffix = "" if name == "held_out" else f"_{name}"
        measures[f"agreement{suffix}"] = float((outputs.argmax(1) == y.argmax(1)).double().mean())
    return measures


def identifiability(spec: NetSpec, weights: Float[Tensor, "1 weight"], x: Tensor) -> dict[str, float]:
    """log10 of the smallest over the largest singular value of the teacher's tangent features, each of norm 1 (ours).

    Left out of networks of more than LARGE weights, and where there are fewer equations than weights.
    Where scales of units can move, one value per hidden unit is 0 by symmetry, and left out.
    """
    if spec.num_weights > min(LARGE, spec.num_classes * min(QUERIES, x.shape[1])):
        return {}
    _, jacobian = outputs_and_jacobian(spec, weights, x[:, :QUERIES].double())
    features = jacobian[0].flatten(0, 1)
    features = features[:, features.norm(dim=0) > 0]
    values = torch.linalg.svdvals(features / features.norm(dim=0))
    free = sum(widths_of(spec)) if ACTIVATIONS[spec.activation].scaling else 0
    smallest = values[len(values) - 1 - free]
    return {"identifiability": log10(max(float(smallest / values[0]), 1e-300))}
