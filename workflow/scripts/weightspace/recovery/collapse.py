"""Collapse: one unit per cluster, and the weights above it by least squares."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from weightspace.recovery.cluster import NO_CLUSTER, Clustering
from weightspace.recovery.fit import finite_first
from weightspace.recovery.settings import ClusterConfig

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


def with_say(error: Float[Tensor, " student"], config: ClusterConfig) -> Int[Tensor, " kept"]:
    """Students whose error is not keep_ratio times the best one's, the best first; at least two."""
    error = finite_first(error)
    order = error.argsort()
    kept = int((error <= config.keep_ratio * error.min().clamp_min(SMALL_ERROR)).sum())
    return order[: max(2, kept)]


def num_clusters(clustering: Clustering) -> int:
    """Clusters that are left."""
    return int(clustering.labels.max()) + 1 if (clustering.labels != NO_CLUSTER).any() else 0
