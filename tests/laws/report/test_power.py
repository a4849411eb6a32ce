"""What would decide an open claim: as many seeds and models as simulated runs show to be enough."""

import numpy as np
import pytest
from weightspace.report.claims import Region, verdict
from weightspace.report.intervals import Sample, difference_interval, mean_interval
from weightspace.report.power import Spread, reach, spread_of, what_decides

SEEDS, MODELS = 3, 60


def drawn(rng, effect, seed_deviation, model_deviation, seeds, models):
    """Values [seed, model] of one run: both differ, and each value a little by itself."""
    of_seeds = seed_deviation * rng.standard_normal((seeds, 1))
    of_models = model_deviation * rng.standard_normal((1, models))
    return effect + of_seeds + of_models + 0.01 * rng.standard_normal((seeds, models))


def decided(rng, seed_deviation, model_deviation, seeds, models, runs=300):
    """Share of runs, whose true value is 1 above the bound, that decide."""
    tables = [drawn(rng, 1.0, seed_deviation, model_deviation, seeds, models) for _ in range(runs)]
    return np.mean([verdict(mean_interval(table), Region(above=0.0)) == "reproduced" for table in tables])


@pytest.mark.parametrize(("seed_deviation", "model_deviation"), [(1.0, 0.5), (1.5, 2.0), (2.5, 0.1)])
def test_of_as_many_seeds_as_it_says_four_of_five_runs_decide_and_of_half_fewer(seed_deviation, model_deviation):
    rng = np.random.default_rng(3)
    told = what_decides(1.0, Spread(seed_deviation**2, model_deviation**2, SEEDS, MODELS))
    seeds = int(told.split()[1])
    assert told == f"about {seeds} seeds"
    assert 0.72 < decided(rng, seed_deviation, model_deviation, seeds, MODELS) < 0.93
    assert decided(rng, seed_deviation, model_deviation, max(2, seeds // 2), MODELS) < 0.7


def test_where_models_differ_too_much_for_any_number_of_seeds_models_are_asked_for():
    rng = np.random.default_rng(4)
    told = what_decides(1.0, Spread(0.05, 36.0, SEEDS, 50))
    models = int(told.split()[1])
    assert told == f"about {models} models"
    assert 0.72 < decided(rng, 0.05**0.5, 6.0, SEEDS, models) < 0.93


def test_a_mean_at_the_bound_is_decided_by_nothing_and_one_that_hardly_varies_by_the_same_again():
    assert what_decides(0.0, Spread(1.0, 1.0, 3, 50)).startswith("neither 100 seeds alone nor 10,000 models alone")
    assert what_decides(1.0, Spread(1e-6, 1e-6, 3, 50)) == "as many seeds and models again"


def test_the_spread_is_that_of_seeds_and_of_models():
    rng = np.random.default_rng(5)
    found = [spread_of(Sample(drawn(rng, 0.0, 2.0, 3.0, 200, 300)))[:2] for _ in range(4)]
    assert np.mean(found, axis=0) == pytest.approx([4, 9], rel=0.15)


def test_of_a_difference_what_models_have_in_common_cancels_and_seeds_add_unless_they_are_paired():
    rng = np.random.default_rng(6)
    models, seeds = rng.standard_normal((1, 200)), rng.standard_normal((100, 1))
    ours, theirs = (Sample(5 * models + factor * seeds + 0.001 * rng.standard_normal((100, 200))) for factor in (1.0, 2.0))
    unpaired, paired = spread_of(ours, theirs), spread_of(ours, theirs, same_seeds=True)
    assert unpaired.over_models == pytest.approx(0, abs=1e-4)
    assert unpaired.over_seeds == pytest.approx(5 * seeds.var(ddof=1), rel=0.01)
    assert paired.over_seeds == pytest.approx(seeds.var(ddof=1), rel=0.01)


def test_a_side_that_is_computed_and_not_trained_adds_no_seeds():
    rng = np.random.default_rng(7)
    ours, once = Sample(drawn(rng, 0.0, 1.0, 0.5, 5, 40)), Sample(drawn(rng, 0.0, 1.0, 0.5, 1, 40))
    spread = spread_of(ours, once)
    assert (spread.seeds, spread.models) == (5, 40)
    assert spread.over_seeds == spread_of(ours).over_seeds


@pytest.mark.parametrize("one_minus", [False, True])
def test_a_ratio_reaches_as_far_as_its_interval_does(one_minus):
    """With the 80 % taken off, the reach of a linearized ratio is half the width of its bootstrap interval."""
    rng = np.random.default_rng(8)
    over = 5 + drawn(rng, 0.0, 0.1, 0.3, 6, 80)
    ours = Sample(0.3 * over + drawn(rng, 1.0, 0.2, 0.5, 6, 80), over, one_minus)
    spread, interval = spread_of(ours), difference_interval(ours, Sample(np.zeros((1, 80))))
    half = (interval.high - interval.low) / 2
    assert 1.0 < reach(spread, 6, 80) / half < 1.7
