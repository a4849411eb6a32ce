"""The part of a cluster tree that holds large clusters: where they form, and where they join."""

from typing import NamedTuple

import numpy as np
import pandas as pd


class Trunk(NamedTuple):
    """Branches of large clusters, numbered from left to right."""

    births: np.ndarray  # [branch] height at which a cluster became large
    forks: list["Fork"]  # in rising height
    num_left_out: int  # branches that are not shown


class Fork(NamedTuple):
    """Two branches that join, each given by its place and the height at which it came to be."""

    left: tuple[float, float]
    right: tuple[float, float]
    height: float


def trunk_of(merges: pd.DataFrame, most: int) -> Trunk:
    """Branches of the large clusters of one tree, the `most` that form lowest."""
    births, joins = _branches(merges, (merges["students"] >= merges["least"]).to_numpy())
    lowest = set(np.argsort(births, kind="stable")[:most].tolist())
    return _laid_out(births, joins, lowest)


def count_at_cut(merges: pd.DataFrame) -> int:
    """Large clusters of one tree at the height at which it is cut."""
    below = merges["height"].to_numpy() <= merges["cut"].iloc[0]
    return int(merges["count"].to_numpy()[below][-1]) if below.any() else 0


def _branches(merges: pd.DataFrame, large: np.ndarray) -> tuple[np.ndarray, list[tuple[int, int, float]]]:
    """Heights at which branches begin, and which two join at which height; a join continues as its first branch."""
    branch_of: dict[int, int] = {}
    births, joins = [], []
    rows = zip(merges["left"], merges["right"], merges["height"], large, strict=True)
    for cluster, (left, right, height, counts) in enumerate(rows, start=len(merges) + 1):
        parts = [branch_of.pop(part) for part in (left, right) if part in branch_of]
        if len(parts) == 2:
            joins.append((*parts, height))
        if counts and not parts:
            births.append(height)
            parts = [len(births) - 1]
        if parts:
            branch_of[cluster] = parts[0]
    return np.array(births), joins


def _laid_out(births: np.ndarray, joins: list[tuple[int, int, float]], shown: set[int]) -> Trunk:
    """Shown branches side by side so that none cross."""
    orders = {branch: [branch] * (branch in shown) for branch in range(len(births))}
    for left, right, _ in joins:
        orders[left] = orders[left] + orders.pop(right)
    order = [branch for branches in orders.values() for branch in branches]
    tops = {branch: (float(place), births[branch]) for place, branch in enumerate(order)}
    forks = []
    for left, right, height in joins:
        if left in tops and right in tops:
            forks.append(Fork(tops[left], tops[right], height))
            tops[left] = (tops[left][0] + tops.pop(right)[0]) / 2, height
        elif right in tops:
            tops[left] = tops.pop(right)
    return Trunk(births[order], forks, len(births) - len(order))
