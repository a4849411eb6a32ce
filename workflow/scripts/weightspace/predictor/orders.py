"""Smoothness orders: which coordinate each kernel gets, so that neighbors are alike.

Coordinates are re-indexed, weights never move.
"""

from pathlib import Path
from typing import get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.spatial import KDTree
from torch import Tensor

from weightspace.errors import InputError
from weightspace.jobs import Job
from weightspace.nets.forward import unflatten
from weightspace.predictor.kernels import Layout, Part, to_kernels
from weightspace.predictor.originals import Originals
from weightspace.predictor.settings import OrderName
from weightspace.store import load_tensors, save_tensors

FIRST_NEIGHBORS, MOST_NEIGHBORS = 4, 512  # asked of a tree; if more are needed, all unused ones are compared
SHRINK = 0.93  # of the unused kernels, before the tree is built anew without the used ones
SMALL = 256  # unused kernels that are compared one by one
SLACK = 1e-13  # in squared distance: kernels so much farther than the nearest may have its cosine, up to rounding
ORDERS = get_args(OrderName)


def kernel_order(layout: Layout, kernels: Float[Tensor, "kernel element"], order: str) -> Int[Tensor, " kernel"]:
    """Row of the table of coordinates that each kernel of one network gets: a permutation within each layer.

    cross_filter: all kernels of a layer, each after the first followed by the unused one of the largest cosine (of equal ones
    the first). in_filter: the same within each filter, then filters by their summed kernel-wise cosine. serpentine (ours):
    cross_filter with every other row of ranks backwards, so that neighbors in rank have neighboring coordinates.
    A kernel of zeros has cosine 0 with all. 1 x 1 kernels, whose cosines are only signs, are sorted by value, and their filters
    by distance. Raises InputError for another order, and for weights that are not finite.
    """
    if order not in ORDERS:
        raise InputError(f"there is no order {order!r}, only {', '.join(ORDERS)}")
    rank = torch.arange(layout.num_kernels)
    values = kernels.detach().double().numpy(force=True)
    if not np.isfinite(values).all():
        raise InputError("kernels have no order: some weights are not finite")
    for part in layout.parts:
        rank[part.rows] = part.begin + torch.from_numpy(_ranks(part, values[part.rows], order))
    return rank.to(kernels.device)


def order_kernels(originals: Originals, layout: Layout, order: str) -> Int[Tensor, "model kernel"]:
    """`kernel_order` of each original."""
    kernels = to_kernels(layout, unflatten(originals.spec, originals.weights))
    return torch.stack([kernel_order(layout, own, order) for own in kernels])


def write_order(path: str | Path, rank: Int[Tensor, "model kernel"], job: Job | None = None) -> None:
    """Write the order of all originals to one file, whole or not at all."""
    save_tensors(path, {"rank": rank}, {}, job)


def read_order(path: str | Path) -> Int[Tensor, "model kernel"]:
    """Inverse of `write_order`; raises InputError naming the file if it is damaged."""
    return load_tensors(path)[0]["rank"]


def _ranks(part: Part, kernels: np.ndarray, order: str) -> np.ndarray:
    """Rank of each kernel of a layer."""
    if order == "none":
        return np.arange(part.num_kernels)
    if order == "in_filter":
        return _in_filter(part, kernels)
    rank = _inverse(_sequence(part, kernels))
    if order == "serpentine":
        row, column = np.divmod(rank, part.channels)
        rank = row * part.channels + np.where(row % 2, part.channels - 1 - column, column)
    return rank


def _in_filter(part: Part, kernels: np.ndarray) -> np.ndarray:
    """Channels in each filter's own sequence, then whole filters."""
    filters = kernels.reshape(part.filters, part.channels, -1)
    sequences = [_sequence(part, own) for own in filters]
    ordered = np.stack([own[sequence] for own, sequence in zip(filters, sequences, strict=True)])
    if part.kernel == 1:
        rows = ordered.reshape(part.filters, -1)
        likeness = -np.square(rows[:, None] - rows).sum(2)
    else:
        rows = _directions(ordered.reshape(part.num_kernels, -1)).reshape(part.filters, -1)
        likeness = rows @ rows.T
    row = _inverse(_greedy_by(likeness))
    column = np.stack([_inverse(sequence) for sequence in sequences])
    return (row[:, None] * part.channels + column).ravel()


def _sequence(part: Part, kernels: np.ndarray) -> np.ndarray:
    """Kernels of a layer or a filter from the first in rank to the last."""
    if part.kernel == 1:
        return np.argsort(kernels[:, kernels.shape[1] // 2], kind="stable")
    return greedy_sequence(kernels)


def _inverse(sequence: np.ndarray) -> np.ndarray:
    """Place of each in a sequence."""
    places = np.empty_like(sequence)
    places[sequence] = np.arange(len(sequence))
    return places


def _directions(kernels: np.ndarray) -> np.ndarray:
    """Kernels of length 1; zeros stay zeros."""
    norms = np.linalg.norm(kernels, axis=1, keepdims=True)
    return np.divide(kernels, norms, out=np.zeros_like(kernels), where=norms > 0)


def _greedy_by(likeness: np.ndarray) -> np.ndarray:
    """From 0 on the likest unused one, of equal ones the first."""
    sequence = np.zeros(len(likeness), dtype=np.int64)
    unused = np.ones(len(likeness), dtype=bool)
    for place in range(1, len(likeness)):
        unused[sequence[place - 1]] = False
        sequence[place] = np.where(unused, likeness[sequence[place - 1]], -np.inf).argmax()
    return sequence


def greedy_sequence(kernels: Float[np.ndarray, "kernel element"]) -> Int[np.ndarray, " kernel"]:
    """From kernel 0 on the unused kernel of the largest cosine, of equal ones the first.

    The largest cosine is the smallest distance of directions: a k-d tree finds it, and is built anew when too many of its
    kernels are used. 262,144 kernels of 9 numbers take 45 s rather than half an hour (benchmarks/predictor.py).
    """
    walk = _Walk(_directions(kernels))
    sequence = [0]
    for _ in range(1, len(kernels)):
        sequence.append(walk.after(sequence[-1]))
    return np.array(sequence)


class _Walk:
    """The directions that are still unused; kernels of zeros are kept apart, since they have cosine 0 with all."""

    def __init__(self, directions: np.ndarray) -> None:
        self.directions, self.unused = directions, np.ones(len(directions), dtype=bool)
        self.is_zero = ~directions.any(axis=1)
        self.zeros = np.flatnonzero(self.is_zero).tolist()[::-1]  # the first at the end
        self.num_left = len(directions) - len(self.zeros)
        self._rebuild()

    def after(self, current: int) -> int:
        """Who follows the current one, which is used from now on."""
        self.unused[current] = False
        while self.zeros and not self.unused[self.zeros[-1]]:
            self.zeros.pop()
        if self.is_zero[current]:
            return int(self.unused.argmax())  # cosine 0 with all
        self.num_left -= 1
        if self.num_left == 0:
            return self.zeros[-1]
        if self.num_left < SHRINK * len(self.members):
            self._rebuild()
        found, cosine = self._likest(self._candidates(current), current)
        if self.zeros and cosine <= 0:
            return min(found, self.zeros[-1]) if cosine == 0 else self.zeros[-1]
        return found

    def _rebuild(self) -> None:
        """The tree without used kernels."""
        self.members = np.flatnonzero(self.unused & ~self.is_zero)
        self.tree = KDTree(self.directions[self.members], balanced_tree=False, compact_nodes=False)

    def _candidates(self, current: int) -> np.ndarray:
        """Unused kernels among which is the nearest one."""
        neighbors = FIRST_NEIGHBORS
        while len(self.members) > max(SMALL, neighbors) and neighbors <= MOST_NEIGHBORS:
            distance, index = self.tree.query(self.directions[current], neighbors)
            found = self.members[index]
            free = self.unused[found]
            if free.any():
                near = distance**2 <= distance[free][0] ** 2 + SLACK
                if not near[-1]:  # then none beyond the last is as near
                    return found[near & free]
            neighbors *= 4
        return self.members[self.unused[self.members]]

    def _likest(self, candidates: np.ndarray, current: int) -> tuple[int, float]:
        """The first of those with the largest cosine, and this."""
        cosines = (self.directions[candidates] * self.directions[current]).sum(1)
        return int(candidates[cosines == cosines.max()].min()), float(cosines.max())
