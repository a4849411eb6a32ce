"""Means with 95 % bootstrap intervals over models and seeds.

A metric of one cell is a matrix [seed, model]. Seeds and models are crossed random effects, so both are resampled, independently:
a draw moves the mean by the resampled seeds' deviation and by the resampled models' deviation. Each deviation of n things is
widened by sqrt(n / (n - 1)) t(n - 1) / z, the factor by which a percentile interval of n values is too narrow (Hesterberg 2015,
"What teachers should know about the bootstrap"); with three seeds the plain percentile interval covers 77 %, this one 94 %.
"""

from functools import lru_cache
from math import nan, sqrt
from typing import NamedTuple

import numpy as np

DRAWS = 2000
Z_975 = 1.959964
T_975 = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281)  # 1 to 10 degrees of freedom


class Interval(NamedTuple):
    """A mean, its 95 % interval, and what it is over."""

    mean: float
    low: float
    high: float
    n: str  # such as "60 models × 3 seeds"


def mean_interval(values: np.ndarray) -> Interval:
    """Mean of values [seed, model]; a value that is not finite makes the interval not finite, it is never left out."""
    return _interval(_mean(values), resampled_means(values), describe_n(values))


def difference_interval(values: np.ndarray, minus: np.ndarray) -> Interval:
    """Mean of values [seed, model] minus mean of `minus` [other seed, model]: the same models, the seeds of each on their own."""
    draws = resampled_means(values) - resampled_means(minus, stream=1)
    return _interval(_mean(values) - _mean(minus), draws, describe_n(values, minus))


def ratio_interval(values: np.ndarray, over: np.ndarray) -> Interval:
    """Mean of values over mean of `over`, both [seed, model] with the same seeds and models, resampled together.

    Not finite where `over` is 0 throughout.
    """
    if not over.any():
        return Interval(nan, nan, nan, describe_n(values))
    return _interval(_mean(values) / _mean(over), resampled_means(values) / resampled_means(over), describe_n(values))


def resampled_means(values: np.ndarray, stream: int = 0) -> np.ndarray:
    """DRAWS means of values [seed, model]; another `stream` resamples the seeds anew, models are resampled alike in all."""
    centered = values - values.flat[0]  # a constant's deviations are exactly 0
    mean = centered.mean()
    over_seeds = _resampling_weights(0, stream, values.shape[0]) @ (centered.mean(axis=1) - mean)
    over_models = _resampling_weights(1, 0, values.shape[1]) @ (centered.mean(axis=0) - mean)
    return values.flat[0] + (mean + over_seeds + over_models)


def widening(num: int) -> float:
    """Factor for the deviations of a resampled mean of `num` things; 0 for a single one, which says nothing about others."""
    if num < 2:
        return 0.0
    return sqrt(num / (num - 1)) * _t_975(num - 1) / Z_975


def describe_n(*values: np.ndarray, noun: str = "model") -> str:
    """Models and seeds of matrices [seed, model] over the same models."""
    seeds = sorted({len(matrix) for matrix in values}, reverse=True)
    return f"{describe_models(values[0].shape[1], noun)} × {' and '.join(map(str, seeds))} seed{'s' * (seeds != [1])}"


def describe_models(num: int, noun: str = "model") -> str:
    """Such as "60 models"."""
    return f"{num} {noun}{'s' * (num != 1)}"


def _mean(values: np.ndarray) -> float:
    """The mean, exact for a constant."""
    return float(values.flat[0] + (values - values.flat[0]).mean())


def _t_975(freedom: int) -> float:
    if freedom <= len(T_975):
        return T_975[freedom - 1]
    return Z_975 + 2.3722 / freedom + 2.8225 / freedom**2  # Cornish-Fisher; 2.199 at 11, exact 2.201


@lru_cache
def _resampling_weights(axis: int, stream: int, num: int) -> np.ndarray:
    """Widened deviations [DRAWS, num] of resampled shares from 1 / num; the same in every call: no interval hangs on another."""
    counts = np.random.default_rng([axis, stream, num]).multinomial(num, np.full(num, 1 / num), size=DRAWS)
    return widening(num) * (counts - 1.0) / num


def _interval(mean: float, draws: np.ndarray, n: str) -> Interval:
    low, high = np.quantile(draws, [0.025, 0.975])
    return Interval(mean, float(low), float(high), n)
