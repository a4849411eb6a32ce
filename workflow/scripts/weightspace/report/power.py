"""What would decide an open claim: how many seeds, or how many models, as far as this run's own spread can tell.

A mean of S seeds and M models has the variance s / S + m / M, with the variances s over seeds and m over models of this run. Its
interval reaches t(S - 1) sqrt(s / S) and t(M - 1) sqrt(m / M), added in squares, to each side. A run decides if the mean lies
farther from the bound than that. Where the true value is what was measured here, 4 of 5 runs do if it lies farther even with
z(0.8) = 0.84 added to each t (the usual power of 80 %). So the answer is the least S, or M, for which this holds.
"""

from math import sqrt
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from weightspace.report.intervals import Sample

Z_80 = 0.8416
MOST_SEEDS, MOST_MODELS = 100, 10_000


class Spread(NamedTuple):
    """How much single seeds and single models differ, and how many of each there were."""

    over_seeds: float  # variance
    over_models: float
    seeds: int
    models: int


def spread_of(ours: Sample, minus: Sample | None = None, same_seeds: bool = False) -> Spread:
    """Variances behind an estimate, or behind one minus another of the same models; R2 and ratios to first order."""
    sides = [_influence(side) for side in (ours, minus) if side is not None]
    signs = [1.0, -1.0][: len(sides)]
    by_model = sum(sign * side.mean(axis=0) for sign, side in zip(signs, sides, strict=True))
    by_seed = [sign * side.mean(axis=1) for sign, side in zip(signs, sides, strict=True)]
    if same_seeds:
        by_seed = [sum(by_seed)]
    over_seeds = sum(float(np.var(each, ddof=1)) for each in by_seed if len(each) > 1)
    return Spread(over_seeds, float(np.var(by_model, ddof=1)), max(map(len, by_seed)), len(by_model))


def what_decides(distance: float, spread: Spread) -> str:
    """Seeds, or where no number of them would do models, with which 4 of 5 runs decide, `distance` away from the bound."""
    for seeds in range(max(2, spread.seeds), MOST_SEEDS + 1):
        if reach(spread, seeds, spread.models) < distance:
            return f"about {seeds} seeds" if seeds > spread.seeds else "as many seeds and models again"
    models = spread.models
    while models <= MOST_MODELS:
        if reach(spread, max(2, spread.seeds), models) < distance:
            return f"about {_rounded(models)} models"
        models = int(1.05 * models) + 1
    return f"neither {MOST_SEEDS} seeds alone nor {MOST_MODELS:,} models alone: the mean lies too near the bound"


def reach(spread: Spread, seeds: int, models: int) -> float:
    """How far from the bound a mean over so many must lie for 4 of 5 intervals not to hold it."""
    parts = ((spread.over_seeds, seeds), (spread.over_models, models))
    return sqrt(sum((float(stdtrit(num - 1, 0.975)) + Z_80) ** 2 * variance / num for variance, num in parts))


def _influence(sample: Sample) -> np.ndarray:
    """Values [seed, model] whose mean moves as the estimate does: of a ratio its linear part."""
    if sample.over is None:
        return sample.values
    level = sample.over.mean()
    moved = (sample.values - sample.values.mean() / level * sample.over) / level
    return -moved if sample.one_minus else moved


def _rounded(num: int) -> int:
    """Two digits are known at best."""
    return int(float(f"{num:.1e}"))
