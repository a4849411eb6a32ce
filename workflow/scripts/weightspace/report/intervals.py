"""95 % intervals over models and seeds: of means, ratios, shares of successes, and differences of them.

A metric of one cell is a matrix [seed, model]. Seeds and models are crossed random effects, so both are resampled, independently:
a draw moves the mean by the resampled seeds' deviation and by the resampled models' deviation. Each deviation of n things is
widened by sqrt(n / (n - 1)) t(n - 1) / z, the factor by which a percentile interval of n values is too narrow (Hesterberg 2015,
"What teachers should know about the bootstrap"); with three seeds the plain percentile interval covers 77 %, this one 94 %.
Where nothing varies a bootstrap says nothing, so shares of successes have an interval for proportions in its place.
"""

from functools import lru_cache
from math import inf, nan, sqrt
from typing import NamedTuple

import numpy as np
from scipy.special import betaincinv, stdtrit

DRAWS = 2000
Z_975 = 1.959964
LEAST_SHARE = 1e-12  # of a denominator's mean: a resampled one is not smaller


class Interval(NamedTuple):
    """A mean, its 95 % interval, and what it is over."""

    mean: float
    low: float
    high: float
    n: str  # such as "60 models × 3 seeds"


class Sample(NamedTuple):
    """What is estimated: the mean of values [seed, model], or its ratio to the mean of `over`, or 1 minus that ratio."""

    values: np.ndarray
    over: np.ndarray | None = None  # of the same seeds and models, not negative
    one_minus: bool = False  # as an R2 is


def mean_interval(values: np.ndarray) -> Interval:
    """Mean of values [seed, model]; a value that is not finite makes the interval not finite, it is never left out."""
    return _interval(_mean(values), resampled_means(values), describe_n(values))


def ratio_interval(values: np.ndarray, over: np.ndarray, one_minus: bool = False) -> Interval:
    """Mean of values over mean of `over`, both [seed, model] with the same seeds and models, resampled together.

    An end is as good as infinite where few models let the denominator come down to 0; not finite where `over` is 0 throughout.
    """
    sample = Sample(values, over, one_minus)
    return _interval(_estimate(sample), _draws(sample), describe_n(values))


def share_interval(successes: np.ndarray) -> Interval:
    """Mean of successes [seed, model], each from 0 to 1: Clopper and Pearson's interval at the effective number of trials.

    Models are clusters: their seeds are not independent (Korn and Graubard 1998, "Confidence intervals for proportions with small
    expected number of positive counts estimated from survey data"). Of one seed, it is the exact interval of as many trials as
    there are models; so it is of several seeds where nothing varies.
    """
    share = _mean(successes)
    if not np.isfinite(share):
        return Interval(nan, nan, nan, describe_n(successes))
    trials = effective_trials(successes)
    hits, misses = share * trials, (1 - share) * trials
    low = betaincinv(hits, misses + 1, 0.025) if hits > 0 else 0.0
    high = betaincinv(hits + 1, misses, 0.975) if misses > 0 else 1.0
    return Interval(share, float(low), float(high), describe_n(successes))


def difference_interval(ours: Sample, minus: Sample, same_seeds: bool = False) -> Interval:
    """One estimate minus another over the same models; the seeds of each on their own, or paired where they are the same."""
    if same_seeds and ours.over is minus.over is None:
        return mean_interval(ours.values - minus.values)
    draws = _draws(ours) - _draws(minus, stream=0 if same_seeds else 1)
    return _interval(_estimate(ours) - _estimate(minus), draws, describe_n(ours.values, minus.values))


def share_difference_interval(ours: np.ndarray, minus: np.ndarray) -> Interval:
    """One share of successes minus another, both [seed, model], from the interval of each (Newcombe 1998, square and add).

    That models are paired is not used: the interval is too wide where both succeed on the same models.
    """
    one, other = share_interval(ours), share_interval(minus)
    mean = one.mean - other.mean
    low = mean - sqrt((one.mean - one.low) ** 2 + (other.high - other.mean) ** 2)
    high = mean + sqrt((one.high - one.mean) ** 2 + (other.mean - other.low) ** 2)
    return Interval(mean, low, high, describe_n(ours, minus))


def resampled_means(values: np.ndarray, stream: int = 0) -> np.ndarray:
    """DRAWS means of values [seed, model]; another `stream` resamples the seeds anew, models are resampled alike in all."""
    centered = values - values.flat[0]  # a constant's deviations are exactly 0
    mean = centered.mean()
    over_seeds = _resampling_weights(0, stream, values.shape[0]) @ (centered.mean(axis=1) - mean)
    over_models = _resampling_weights(1, 0, values.shape[1]) @ (centered.mean(axis=0) - mean)
    return values.flat[0] + (mean + over_seeds + over_models)


def effective_trials(successes: np.ndarray) -> float:
    """Independent trials that successes [seed, model] are worth; at least where nothing varies, one per model.

    p (1 - p) over the variance of the mean: that between models, plus what seeds vary beyond chance (crossed effects), at the
    degrees of freedom that both leave (Satterthwaite). Of successes that are 0 or 1, at most one trial per seed and model.
    """
    seeds, models = successes.shape
    if models == 1 or np.ptp(successes) == 0:
        return float(models)
    num, share = successes.size, successes.mean()
    between_models = successes.mean(axis=0).var(ddof=1) / models
    between_seeds = _excess_of_seeds(successes) if seeds > 1 else 0.0
    variance = between_models + between_seeds
    most = float(num) if np.isin(successes, (0, 1)).all() or variance == 0 else inf
    if variance == 0:
        return most
    freedom = variance**2 / (between_models**2 / (models - 1) + between_seeds**2 / max(1, seeds - 1))
    shrunk = (stdtrit(num - 1, 0.975) / stdtrit(freedom, 0.975)) ** 2
    return min(most, float(shrunk * share * (1 - share) * num / (num - 1) / variance))


def widening(num: int) -> float:
    """Factor for the deviations of a resampled mean of `num` things; 0 for a single one, which says nothing about others."""
    if num < 2:
        return 0.0
    return sqrt(num / (num - 1)) * float(stdtrit(num - 1, 0.975)) / Z_975


def describe_n(*values: np.ndarray, noun: str = "model") -> str:
    """Models and seeds of matrices [seed, model] over the same models."""
    return f"{describe_models(values[0].shape[1], noun)} × {describe_seeds(*values)}"


def describe_seeds(*values: np.ndarray) -> str:
    """Such as "3 and 1 seeds", of matrices [seed, model]."""
    seeds = sorted({len(matrix) for matrix in values}, reverse=True)
    return f"{' and '.join(map(str, seeds))} seed{'s' * (seeds != [1])}"


def describe_models(num: int, noun: str = "model") -> str:
    """Such as "60 models"."""
    return f"{num} {noun}{'s' * (num != 1)}"


def _estimate(sample: Sample) -> float:
    if sample.over is None:
        return _mean(sample.values)
    ratio = _mean(sample.values) / _mean(sample.over) if sample.over.any() else nan
    return 1 - ratio if sample.one_minus else ratio


def _draws(sample: Sample, stream: int = 0) -> np.ndarray:
    """DRAWS estimates of resampled seeds and models."""
    draws = resampled_means(sample.values, stream)
    if sample.over is None:
        return draws
    if not sample.over.any():
        return np.full(DRAWS, nan)
    ratios = draws / np.maximum(resampled_means(sample.over, stream), LEAST_SHARE * sample.over.mean())
    return 1 - ratios if sample.one_minus else ratios


def _mean(values: np.ndarray) -> float:
    """The mean, exact for a constant."""
    return float(values.flat[0] + (values - values.flat[0]).mean())


def _excess_of_seeds(values: np.ndarray) -> float:
    """Variance of the mean of values [seed, model] that is of seeds, beyond what the rest puts there."""
    seeds, models = values.shape
    rest = values - values.mean(axis=0) - values.mean(axis=1, keepdims=True) + values.mean()
    by_chance = np.square(rest).sum() / ((seeds - 1) * (models - 1) * values.size)
    return max(0.0, values.mean(axis=1).var(ddof=1) / seeds - by_chance)


@lru_cache
def _resampling_weights(axis: int, stream: int, num: int) -> np.ndarray:
    """Widened deviations [DRAWS, num] of resampled shares from 1 / num; the same in every call, whatever came before."""
    counts = np.random.default_rng([axis, stream, num]).multinomial(num, np.full(num, 1 / num), size=DRAWS)
    return widening(num) * (counts - 1.0) / num


def _interval(mean: float, draws: np.ndarray, n: str) -> Interval:
    low, high = np.quantile(draws, [0.025, 0.975])
    return Interval(mean, float(low), float(high), n)
