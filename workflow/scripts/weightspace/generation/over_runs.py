"""Statistics of networks with 95 % intervals over runs: what comes of one run is resampled together."""

from collections.abc import Callable
from math import inf
from typing import NamedTuple

import numpy as np

from weightspace.report.intervals import DRAWS, Interval, widening

NEIGHBORS = 0.5  # share of the held-out networks that a local regression looks at
LEAST_WIDTH = 0.01  # of accuracies that it looks at


class Measured(NamedTuple):
    """What is measured of each network of a set."""

    runs: np.ndarray  # numbers; networks of one run, as samples of one anchor, are not independent
    distance: np.ndarray  # to the nearest train network, modulo the order of units
    similarity: np.ndarray  # of mistakes, with the train network where it is largest
    accuracy: np.ndarray  # on test images
    tuned_similarity: np.ndarray  # both after fine-tuning
    tuned_accuracy: np.ndarray
    gains: np.ndarray  # [group] accuracy of an ensemble above the mean of its networks


MEASURED = {  # the metric that holds each field
    "runs": "run",
    "distance": "distance_train",
    "similarity": "similarity",
    "accuracy": "accuracy_judged",
    "tuned_similarity": "similarity_tuned",
    "tuned_accuracy": "accuracy_tuned",
    "gains": "ensemble_gain",
}
Statistic = Callable[..., np.ndarray]  # of counts [draw, network] of each set, to a number per draw


def interval_over_runs(statistic: Statistic, *populations: list[np.ndarray]) -> Interval:
    """A statistic with its percentile interval; each population is a list of sets, whose runs are resampled as one.

    The statistic takes, for each set, how often each network counts in each draw. The deviations of the draws are widened as
    in `report.intervals`, by the number of runs of the smallest population; of a population of one run the interval is infinite.
    """
    runs = [np.unique(np.concatenate(sets)) for sets in populations]
    fewest = min(map(len, runs))
    mean = float(statistic(*(np.ones((1, len(one))) for sets in populations for one in sets))[0])
    told = f"{' and '.join(str(len(own)) for own in runs)} runs"
    if fewest < 2:
        return Interval(mean, -inf, inf, told)
    counts = []
    for place, (own, sets) in enumerate(zip(runs, populations, strict=True)):
        drawn = np.random.default_rng([place, len(own)]).multinomial(len(own), np.full(len(own), 1 / len(own)), size=DRAWS)
        counts += [drawn[:, np.searchsorted(own, one)].astype(float) for one in sets]
    draws = statistic(*counts)
    draws = draws[np.isfinite(draws)]  # a draw may have no network of a set
    if not (np.isfinite(mean) and len(draws)):
        return Interval(mean, -inf, inf, told)
    low, high = mean + widening(fewest) * (np.quantile(draws, [0.025, 0.975]) - mean)
    return Interval(mean, float(low), float(high), told)


def weighted_mean(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Mean of values [network] or [draw, network] in each draw; not a number where nothing counts."""
    with np.errstate(invalid="ignore"):
        return (values * counts).sum(1) / counts.sum(1)


def weighted_quantile(values: np.ndarray, counts: np.ndarray, share: float) -> np.ndarray:
    """The least value [draw, network] up to which a share of what counts lies, in each draw."""
    order = np.argsort(values, axis=1)
    summed = np.cumsum(np.take_along_axis(counts, order, 1), axis=1)
    place = (summed >= share * summed[:, -1:]).argmax(1)
    return np.take_along_axis(values, np.take_along_axis(order, place[:, None], 1), 1)[:, 0]


# data copying (Meehan et al. 2020, "A non-parametric test to detect data-copying in generative models")


class Copying(NamedTuple):
    """Ranks of distances of generated networks among those of held-out ones, both to train networks."""

    u_share: float  # of pairs in which the generated one is farther away; half of a tie
    z: float  # the same in deviations of chance; below 0: nearer than held-out ones are
    floor: float  # what z is if every generated one is nearer


def data_copying(generated: np.ndarray, held_out: np.ndarray) -> Copying:
    """U / (m n) and Z_U of distances [m] and [n] (Mann and Whitney 1947), without correction for ties."""
    m, n = len(generated), len(held_out)
    share = float(_farther(generated, held_out).mean())
    deviation = np.sqrt(m * n * (m + n + 1) / 12)
    return Copying(share, float((share - 0.5) * m * n / deviation), float(-np.sqrt(3 * m * n / (m + n + 1))))


def copying_interval(ours: Measured, held_out: Measured) -> Interval:
    """U / (m n) over runs."""
    farther = _farther(ours.distance, held_out.distance)

    def statistic(own: np.ndarray, other: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return ((own @ farther) * other).sum(1) / (own.sum(1) * other.sum(1))

    return _within(interval_over_runs(statistic, [ours.runs], [held_out.runs]), 0.0, 1.0)


def _farther(generated: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    """1 where the first is farther, .5 where both are as far; not a number where one is not."""
    apart = np.subtract.outer(np.where(np.isfinite(generated), generated, np.nan), held_out)
    return (np.sign(apart) + 1) / 2


def _within(interval: Interval, lowest: float, highest: float) -> Interval:
    return interval._replace(low=max(lowest, interval.low), high=min(highest, interval.high))


# similarity at matched accuracy


def expected_similarity(held_out: Measured, accuracy: np.ndarray, counts: np.ndarray, own: bool = False) -> np.ndarray:
    """Similarity [draw, network] that held-out networks of such accuracies have: a local linear regression.

    Tricube weights over the nearest NEIGHBORS of the held-out networks (Cleveland 1979); beyond the accuracies of held-out
    networks, what they have at the last of them. `own`: the accuracies are theirs, and each network is left out of its own.
    """
    theirs = held_out.accuracy
    at = np.clip(accuracy, theirs.min(), theirs.max())
    apart = theirs[:, None] - at  # [held-out, network]
    nearest = np.sort(np.abs(apart), axis=0)[min(len(theirs) - 1, int(np.ceil(NEIGHBORS * len(theirs))))]
    kernel = np.clip(1 - np.abs(apart / np.maximum(nearest * 1.001, LEAST_WIDTH)) ** 3, 0, None) ** 3
    if own and len(theirs) > 1:
        np.fill_diagonal(kernel, 0.0)
    moments = [counts @ (kernel * apart**power) for power in range(3)]
    products = [counts @ (kernel * apart**power * held_out.similarity[:, None]) for power in range(2)]
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = moments[2] / moments[0] - (moments[1] / moments[0]) ** 2
        slope = (products[1] - products[0] * moments[1] / moments[0]) / (moments[0] * spread)
        slope = np.where(spread > 1e-8, slope, 0.0)
        return (products[0] - slope * moments[1]) / moments[0]


def matched_similarity(ours: Measured, held_out: Measured, share: float) -> Interval:
    """Median similarity of mistakes above a quantile of held-out networks', both less what their accuracies let expect."""

    def statistic(own: np.ndarray, other: np.ndarray) -> np.ndarray:
        excess = ours.similarity - expected_similarity(held_out, ours.accuracy, other)
        theirs = held_out.similarity - expected_similarity(held_out, held_out.accuracy, other, own=True)
        return weighted_quantile(excess, own, 0.5) - weighted_quantile(theirs, other, share)

    return interval_over_runs(statistic, [ours.runs], [held_out.runs])


# ensembles and parents


def gain_interval(ours: Measured, held_out: Measured) -> Interval:
    """Ensemble gain minus that of held-out networks, over ensembles, no two of which share a network."""
    groups = [[np.arange(len(each.gains))] for each in (ours, held_out)]
    return interval_over_runs(lambda own, other: weighted_mean(ours.gains, own) - weighted_mean(held_out.gains, other), *groups)


class Attribution(NamedTuple):
    """A line through networks' accuracies over those of the nearest train networks."""

    slope: float
    r2: float


def attribution(accuracy: np.ndarray, parents: np.ndarray) -> Attribution:
    """Slope and R2 of accuracy over the parents'; both near 1 says copies. Not numbers where either does not vary."""
    varied = [each - each.mean() for each in (accuracy, parents)]
    square = float(varied[1] @ varied[1])
    if not square or not varied[0].any():
        return Attribution(np.nan, np.nan)
    slope = float(varied[0] @ varied[1]) / square
    return Attribution(slope, min(1.0, slope**2 * square / float(varied[0] @ varied[0])))  # rounding may lead above 1
