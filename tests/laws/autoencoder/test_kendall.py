"""Kendall's tau as one value per model: SciPy's is their mean, and their spread is that of tau."""

import numpy as np
import pytest
from scipy.stats import kendalltau
from weightspace.autoencoder import kendall
from weightspace.autoencoder.kendall import kendall_values
from weightspace.report.intervals import mean_interval


def planted(rng, num_models, epochs=1, noise=1.0):
    """Targets, predictions and models, of checkpoints of one model near each other."""
    models = np.repeat(np.arange(num_models) * 7 + 3, epochs)
    level = np.repeat(rng.normal(size=num_models), epochs)
    target = level + 0.3 * rng.normal(size=len(models))
    return target, target + noise * np.repeat(rng.normal(size=num_models), epochs) + 0.3 * rng.normal(size=len(models)), models


TIES = {
    "none": lambda values: values,
    "many": lambda values: np.round(values),
    "an epoch's": lambda values: (np.arange(len(values)) % 3).astype(float),
    "two": lambda values: (values > 0).astype(float),
}


@pytest.mark.parametrize("ties", TIES)
@pytest.mark.parametrize("of_predictions", ["none", "many"])
@pytest.mark.parametrize("epochs", [1, 3])
def test_the_mean_over_models_is_scipys_tau_b(ties, of_predictions, epochs):
    target, prediction, models = planted(np.random.default_rng(0), 30, epochs)
    target, prediction = TIES[ties](target), TIES[of_predictions](prediction)
    values = kendall_values(target, prediction, models)
    assert values.shape == (30,)
    assert values.mean() == pytest.approx(kendalltau(target, prediction).statistic, abs=1e-12)


def test_models_with_fewer_checkpoints_and_checkpoints_in_any_order_count_as_scipy_counts_them():
    rng = np.random.default_rng(1)
    target, prediction, models = planted(rng, 25, 3)
    kept = rng.permutation(len(models))[:50]
    found = kendall_values(target[kept], prediction[kept], models[kept])
    assert found.mean() == pytest.approx(kendalltau(target[kept], prediction[kept]).statistic, abs=1e-12)
    again = kendall_values(target[np.sort(kept)], prediction[np.sort(kept)], models[np.sort(kept)])
    np.testing.assert_allclose(found, again, atol=1e-12)  # in the order of models


def test_blocks_of_checkpoints_change_nothing(monkeypatch):
    given = planted(np.random.default_rng(2), 20, 3)
    whole = kendall_values(*given)
    monkeypatch.setattr(kendall, "TOGETHER", 7)
    np.testing.assert_array_equal(kendall_values(*given), whole)


@pytest.mark.parametrize(("factor", "expected"), [(2.0, 1.0), (-1.0, -1.0), (0.0, 0.0)])
def test_like_order_is_1_unlike_order_minus_1_and_no_order_0(factor, expected):
    target, _, models = planted(np.random.default_rng(3), 20)
    np.testing.assert_allclose(kendall_values(target, np.exp(factor * target), models), expected, atol=1e-12)


def test_one_model_of_several_checkpoints_has_the_tau_of_these():
    target, prediction, models = planted(np.random.default_rng(4), 1, 8)
    assert kendall_values(target, prediction, models) == pytest.approx([kendalltau(target, prediction).statistic])


def left_out(target, prediction, models):
    """The jackknife: tau of all, and what each model's absence does to it, as pseudo-values."""
    whole, names = kendalltau(target, prediction).statistic, np.unique(models)
    without = [kendalltau(target[models != name], prediction[models != name]).statistic for name in names]
    return len(names) * whole - (len(names) - 1) * np.array(without)


@pytest.mark.parametrize("ties", ["none", "an epoch's"])
def test_a_models_value_is_what_its_absence_would_change(ties):
    target, prediction, models = planted(np.random.default_rng(5), 100, 3)
    given = TIES[ties](target), prediction, models
    values, pseudo = kendall_values(*given), left_out(*given)
    assert np.corrcoef(values, pseudo)[0, 1] > 0.999
    assert values.std() == pytest.approx(pseudo.std(), rel=0.03)


@pytest.mark.slow
def test_the_interval_over_models_covers_tau_as_often_as_it_says():
    """The plain mean of each model's concordance with the others has half the spread and covers far less."""
    rng, covered, plain, runs = np.random.default_rng(6), 0, 0, 200
    truth = kendalltau(*planted(np.random.default_rng(7), 20000)[:2]).statistic
    for _ in range(runs):
        values = kendall_values(*planted(rng, 60))
        low, high = mean_interval(values[None])[1:3]
        covered += low <= truth <= high
        low, high = mean_interval((values[None] + values.mean()) / 2)[1:3]
        plain += low <= truth <= high
    assert 0.91 <= covered / runs <= 0.99
    assert plain / runs < 0.8
