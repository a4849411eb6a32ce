"""Masks: the pixels that labels depend on, by Boruta, as Expand-and-Cluster picks those by which it compares neurons.

A mask is knowledge beyond queries: it takes the labeled images that the teachers were trained on.
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Int, Int64, UInt8
from scipy.stats import binom
from torch import Generator, Tensor

from weightspace.errors import InputError
from weightspace.jobs import Job
from weightspace.store import load_tensors, save_tensors

DEPTH = 5  # of trees, as published
SEEN = 100  # times that a feature should be looked at by a forest
LEVEL = 0.05  # of significance
ITERATIONS = 100  # as published
UNDECIDED, CONFIRMED, REJECTED = 0, 1, -1


def pixel_mask(
    images: UInt8[Tensor, "image channel height width"], labels: Int64[Tensor, " image"], iterations: int, generator: Generator
) -> Bool[Tensor, " pixel"]:
    """Pixels, in the order of flattened images, whose importance for the labels is beyond chance.

    Raises InputError where there are fewer than two images or labels to tell apart.
    """
    if len(images) < 2 or len(labels.unique()) < 2:
        raise InputError("cluster.mask: boruta needs images with at least two different labels")
    random = np.random.default_rng(torch.randint(2**62, (2,), generator=generator).tolist())
    state = boruta(images.flatten(1).numpy(force=True), labels.numpy(force=True), iterations, random)
    return torch.as_tensor(state == CONFIRMED)


def write_mask(path: str | Path, mask: Bool[Tensor, " pixel"], images: str, job: Job | None = None) -> None:
    """Write a mask; `images` is the cell of its images."""
    save_tensors(path, {"mask": mask}, {"images": images}, job)


def read_mask(path: str | Path) -> Bool[Tensor, " pixel"]:
    """Read what `write_mask` wrote."""
    return load_tensors(path)[0]["mask"]


def boruta(
    features: UInt8[np.ndarray, "row feature"], labels: Int[np.ndarray, " row"], iterations: int, random: np.random.Generator
) -> Int[np.ndarray, " feature"]:
    """CONFIRMED, REJECTED or UNDECIDED of each feature (Kursa and Rudnicki 2010, with the corrections of BorutaPy 0.4.3).

    In each iteration a forest gets the features that are not rejected, and their shadows, which are the same with rows
    shuffled. A feature hits where it is more important than every shadow. Ends once all are decided, or before iteration
    number `iterations`, as BorutaPy does.
    """
    state, hits = np.full(features.shape[1], UNDECIDED), np.zeros(features.shape[1], dtype=int)
    for tries in range(1, iterations):
        left = np.flatnonzero(state != REJECTED)
        if not (state == UNDECIDED).any():
            break
        own, shadows = importances(features[:, left], labels, random)
        hits[left[own > shadows.max()]] += 1
        confirmed, rejected = decided(hits[left], tries)
        undecided = state[left] == UNDECIDED
        state[left[undecided & confirmed]], state[left[undecided & rejected]] = CONFIRMED, REJECTED
    return state


def importances(
    features: UInt8[np.ndarray, "row feature"], labels: Int[np.ndarray, " row"], random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Importances in one forest of the features, and of their shadows, of which there are at least five.

    It has int(SEEN sqrt(2 n) / DEPTH) trees for n features.
    """
    from sklearn.ensemble import RandomForestClassifier  # here, not above: it takes a second that only masks have to pay

    num = features.shape[1]
    copies = features
    while copies.shape[1] < 5:
        copies = np.concatenate([copies, copies], axis=1)
    columns = np.concatenate([features, random.permuted(copies, axis=0)], axis=1).astype(np.float32)
    trees = int(SEEN * (2 * num) ** 0.5 / DEPTH)
    forest = RandomForestClassifier(trees, max_depth=DEPTH, n_jobs=1, random_state=int(random.integers(2**31)))
    found = forest.fit(columns, labels).feature_importances_
    return found[:num], found[num:]


def decided(hits: Int[np.ndarray, " feature"], tries: int) -> tuple[Bool[np.ndarray, " feature"], Bool[np.ndarray, " feature"]]:
    """Features with so many hits in `tries` iterations that chance is ruled out, and those with so few.

    Chance: a fair coin each time. Benjamini and Hochberg's correction for the features, Bonferroni's for the iterations.
    """
    tests = binom.sf(hits - 1, tries, 0.5), binom.cdf(hits, tries, 0.5)
    confirmed, rejected = (discoveries(values, LEVEL) & (values <= LEVEL / tries) for values in tests)
    return confirmed, rejected


def discoveries(values: np.ndarray, level: float) -> Bool[np.ndarray, " test"]:
    """Tests whose p-values hold at a false discovery rate of `level` (Benjamini and Hochberg 1995)."""
    order = np.sort(values)
    below = np.flatnonzero(order <= level * np.arange(1, len(values) + 1) / len(values))
    return values <= (order[below[-1]] if len(below) else -1.0)
