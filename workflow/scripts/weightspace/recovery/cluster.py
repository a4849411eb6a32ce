"""Cluster: neurons of different students that are one neuron of the teacher, from their incoming weights alone."""

from math import cos, floor
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from torch import Tensor

from weightspace.errors import InputError
from weightspace.recovery.settings import ClusterConfig

BLOCK = 512  # rows of the distance matrix at once
NO_CLUSTER = -1
RESOLUTION = 1e-8  # of the largest height, to which heights are known: the square root of float64's epsilon
PLATEAU = 10.0  # growth of the height without a change, which tells copies of one neuron from different neurons


class Clustering(NamedTuple):
    """Clusters of neurons, and the tree that they were cut from."""

    labels: Int[Tensor, " neuron"]  # 0, 1, ... or NO_CLUSTER
    merges: np.ndarray  # scipy's linkage: left, right, height, members
    students: np.ndarray  # distinct students of each merge
    least: int  # students from which on a cluster counts
    counts: np.ndarray  # clusters that are large enough, after each merge
    cut: float  # height
    cuts: list[float]  # heights at which it can be cut, the most plausible first
    core: Int[Tensor, " neuron"]  # labels of the neurons in the core of their cluster alone


def span_factor(inputs: Float[Tensor, "row fan_in"]) -> Float[Tensor, "fan_in_and_1 rank"]:
    """F with |(u - v) F|^2 = mean over rows of the squared difference of the outputs of neurons u and v, [weights, bias].

    Directions in which no input varies are left out: what they hold cannot be seen, and weights on constant inputs count
    as bias, as they should.
    """
    rows = torch.cat([inputs, torch.ones_like(inputs[:, :1])], dim=1)
    values, directions = torch.linalg.eigh(rows.mT @ rows / len(rows))
    kept = values > values[-1] * 1e-12
    return directions[:, kept] * values[kept].sqrt()


def vectors_of(
    neurons: Float[Tensor, "neuron fan_in_and_1"],
    inputs: Float[Tensor, "row fan_in"],
    metric: str,
    mask: Bool[Tensor, " pixel"] | None = None,
) -> Float[Tensor, "neuron feature"]:
    """Vectors whose distances compare neurons; with a mask of inputs, by the weights on these, and by the bias, alone.

    Raises InputError where the mask is not one entry per weight of a neuron.
    """
    if mask is not None:
        if len(mask) != inputs.shape[1]:
            raise InputError(
                f"cluster.mask: of {len(mask)} pixels, but a neuron of the first layer reads {inputs.shape[1]} entries: "
                "masks are for linear layers"
            )
        neurons, inputs = neurons[:, torch.cat([mask, mask.new_ones(1)])], inputs[:, mask]
    return neurons @ span_factor(inputs) if metric == "data_span" else neurons


def first_coordinate_signs(vectors: Float[Tensor, "neuron feature"]) -> Float[Tensor, "neuron 1"]:
    """Sign of each neuron's first weight, 1 of zero (layer_reconstruction.py:58-65 of the official code, 231cac9)."""
    return torch.where(vectors[:, :1] < 0, -1.0, 1.0).to(vectors)


def distances(vectors: Float[Tensor, "neuron feature"], either_sign: bool) -> np.ndarray:
    """Condensed distances |u - v|, or min(|u - v|, |u + v|); float64, by blocks.

    From products of vectors: a distance below 1e-7 of their norms is lost in rounding.
    """
    num, norms, place = len(vectors), vectors.square().sum(1), 0
    condensed = np.empty(num * (num - 1) // 2)
    for begin in range(0, num, BLOCK):
        products = vectors[begin : begin + BLOCK] @ vectors[begin:].mT
        products = products.abs_() if either_sign else products
        squares = norms[begin : begin + BLOCK].unsqueeze(1) + norms[begin:] - 2 * products
        block = squares.clamp_min_(0.0).sqrt_().numpy(force=True)
        for row in range(len(block)):
            entries = block[row, row + 1 :]
            condensed[place : place + len(entries)] = entries
            place += len(entries)
    return condensed


def count_curve(merges: np.ndarray, sets: list[int], least: int) -> tuple[np.ndarray, np.ndarray]:
    """Clusters of at least `least` after each merge, in one pass, and the size of each merged cluster.

    `sets` holds each neuron's size as a set of bits: one bit per student counts distinct students, one per neuron members.
    Where several merges have one height, all of them get the count after the last.
    """
    sets, counts, sizes = list(sets), np.empty(len(merges), dtype=int), np.empty(len(merges), dtype=int)
    count = sum(bits.bit_count() >= least for bits in sets)
    for n, (left, right) in enumerate(merges[:, :2].astype(int)):
        sets.append(sets[left] | sets[right])
        merged, *parts = (bits.bit_count() for bits in (sets[-1], sets[left], sets[right]))
        count += (merged >= least) - sum(size >= least for size in parts)
        counts[n], sizes[n] = count, merged
        sets[left] = sets[right] = 0
    last = np.searchsorted(merges[:, 2], merges[:, 2], side="right") - 1
    return counts[last], sizes


class Run(NamedTuple):
    """Consecutive merges with one number of clusters."""

    count: int
    cut: float  # height of its last merge
    growth: float  # height of the merge after it over that of its first merge


def runs_of(merges: np.ndarray, counts: np.ndarray) -> list[Run]:
    """Runs of equal counts in rising height; heights below RESOLUTION of the largest one are rounding, and taken for that."""
    heights = np.maximum(merges[:, 2], max(RESOLUTION * merges[-1, 2], 1e-300))
    begins = np.flatnonzero(np.diff(counts, prepend=-1))
    ends = np.append(begins[1:], len(counts))
    after = np.append(heights, heights[-1])
    return [
        Run(int(counts[begin]), float(merges[end - 1, 2]), float(after[end] / heights[begin]))
        for begin, end in zip(begins, ends, strict=True)
    ]


def cut_heights(merges: np.ndarray, counts: np.ndarray) -> list[float]:
    """Heights to cut at, the most plausible first, each the largest of a run.

    The longest run in log height of those with the most clusters. Where students agree to rounding, copies of one neuron can
    form several clusters for a moment: if the height does not grow by PLATEAU in that run, a higher one in which it does, and
    which has at least half as many clusters, goes before it. Last the first run with the most clusters, as published.
    """
    runs = runs_of(merges, counts)
    most = max(run.count for run in runs)
    peaks = [n for n, run in enumerate(runs) if run.count == most]
    longest = max(peaks, key=lambda n: runs[n].growth)
    order = [longest, peaks[0]]
    if runs[longest].growth < PLATEAU:
        higher = [n for n in range(longest, len(runs)) if runs[n].growth >= PLATEAU and 2 * runs[n].count >= most]
        order = [*sorted(higher, key=lambda n: -runs[n].count)[:1], *order]
    return [runs[n].cut for n in dict.fromkeys(order)]


def cluster_neurons(
    vectors: Float[Tensor, "neuron feature"],
    student: Int[Tensor, " neuron"],
    config: ClusterConfig,
    either_sign: bool,
    trimmed: bool = False,
    choice: int = 0,
) -> Clustering:
    """Average-linkage clusters that enough students share (Martinelli et al. 2024), without those whose neurons disagree.

    Enough: min_cluster_share of the students, at least two; in the published procedure members count, not students, and
    signs are the caller's to make equal. `trimmed` clusters are judged by their cores and stand for them alone. `choice` says
    which of `cut_heights` to cut at; published is the last one.
    """
    published = config.procedure == "published"
    either_sign = either_sign and not published
    condensed = distances(vectors, either_sign)
    merges = linkage(condensed, "average")
    names, index = torch.unique(student, return_inverse=True)
    least = max(2, floor(config.min_cluster_share * len(names)))
    bits = [1 << n for n in (range(len(vectors)) if published else index.tolist())]
    counts, sizes = count_curve(merges, bits, least)
    cuts = cut_heights(merges, counts)
    cut = cuts[-1] if published else cuts[min(choice, len(cuts) - 1)]
    raw = torch.as_tensor(fcluster(merges, cut, "distance"))
    core = cores(raw, merges, sizes, least) if trimmed and not published else raw
    labels, kept = torch.full((2, len(vectors)), NO_CLUSTER)
    found = 0
    for value in raw.unique():
        members = (raw == value).nonzero().flatten()
        size = len(members) if published else len(torch.unique(student[members]))
        if size >= least and _agree(vectors[core == value], config.max_angle_rad, either_sign):
            labels[members], kept[core == value], found = found, found, found + 1
    return Clustering(labels, merges, sizes, least, counts, cut, cuts, kept)


def cores(labels: Int[Tensor, " neuron"], merges: np.ndarray, sizes: np.ndarray, least: int) -> Int[Tensor, " neuron"]:
    """Labels of the neurons in each cluster's core alone: of the parts of its tree that just have the size, the tightest.

    The cut is as high as the number of clusters allows, so neurons that no other student has may have joined a cluster.
    """
    num, core = len(labels), torch.full_like(labels, NO_CLUSTER)
    children, size = merges[:, :2].astype(int).tolist(), [1] * len(labels) + sizes.tolist()
    for n, pair in enumerate(children):
        if size[num + n] < least or max(size[child] for child in pair) >= least:
            continue
        members, left = [], [num + n]
        while left:
            node = left.pop()
            left += children[node - num] if node >= num else []
            members += [node] if node < num else []
        label = labels[members[0]]
        if (labels[members] == label).all() and not (core == label).any():
            core[members] = label
    return core


def _agree(vectors: Float[Tensor, "member feature"], max_angle_rad: float, either_sign: bool) -> bool:
    """Whether the median angle between two of them is at most `max_angle_rad`."""
    unit = vectors / vectors.norm(dim=1, keepdim=True).clamp_min(1e-300)
    cosines = unit @ unit.mT
    cosines = (cosines.abs() if either_sign else cosines).numpy(force=True)
    return bool(np.median(squareform(1 - cosines, checks=False)) <= 1 - cos(max_angle_rad))
