"""The front of trivial rivals: the accuracy that noise, soups, lines or normal draws reach at equal similarity of mistakes."""

from collections.abc import Sequence

import numpy as np

from weightspace.generation.over_runs import Measured, interval_over_runs, weighted_mean
from weightspace.report.intervals import Interval

OF_NOISE = ("anchors", "noise", "equal_noise")  # kinds of the noise frontier; anchors are noise of size 0
FRONTS = {
    "noise": OF_NOISE,
    "soups": (*OF_NOISE, "soup"),
    "lines": (*OF_NOISE, "line"),
    "Gaussians": (*OF_NOISE, "gaussian", "pca_gaussian"),
}  # noise reaches every similarity, so each front has it


def pareto(similarity: np.ndarray, accuracy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points than which no other is as new or newer, and better: the least similar first."""
    order = np.lexsort((-accuracy, similarity))
    best = np.maximum.accumulate(accuracy[order])
    kept = order[np.r_[True, best[1:] > best[:-1]]]
    return similarity[kept], accuracy[kept]


def front_at(similarity: np.ndarray, accuracy: np.ndarray, at: float) -> float:
    """Accuracy of the front at a similarity: on straight lines between its points, which mixtures of two reach.

    Below the least similar point its accuracy is taken, above the last one the last one's.
    """
    return float(np.interp(at, *pareto(similarity, accuracy)))


def gap(ours: Measured, rivals: Sequence[Measured], tuned: bool = False) -> Interval:
    """Mean accuracy above the front of rivals at the mean similarity; before fine-tuning, or after as much for all.

    A set of networks is one point: so a rival is not above its own front. Runs of all sets are resampled together.
    """
    points = [_values(each, tuned) for each in (ours, *rivals)]

    def statistic(*counts: np.ndarray) -> np.ndarray:
        means = [
            np.stack([weighted_mean(values[place], own) for values, own in zip(points, counts, strict=True)], axis=1)
            for place in range(2)
        ]
        drawn = zip(*means, strict=True)
        return np.array([_above(similarity, accuracy) for similarity, accuracy in drawn])

    return interval_over_runs(statistic, [each.runs for each in (ours, *rivals)])


def _values(measured: Measured, tuned: bool) -> tuple[np.ndarray, np.ndarray]:
    if tuned:
        return measured.tuned_similarity, measured.tuned_accuracy
    return measured.similarity, measured.accuracy


def _above(similarity: np.ndarray, accuracy: np.ndarray) -> float:
    """The first point's accuracy above the front of the others that are there in a draw."""
    there = np.isfinite(similarity[1:]) & np.isfinite(accuracy[1:])
    if not there.any():
        return np.nan
    return accuracy[0] - front_at(similarity[1:][there], accuracy[1:][there], similarity[0])


def gaps(ours: Measured, rivals: dict[str, list[Measured]], tuned: bool = False) -> dict[str, Interval]:
    """The gap to each front of which there is a rival, by its name; `rivals` are the sets of each kind."""
    found = {}
    for name, kinds in FRONTS.items():
        sets = [each for kind in kinds for each in rivals.get(kind, [])]
        if any(rivals.get(kind) for kind in kinds if name == "noise" or kind not in OF_NOISE):
            found[name] = gap(ours, sets, tuned)
    return found
