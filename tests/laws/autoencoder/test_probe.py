"""Ridge probes: scikit-learn's as the reference, planted targets, and nothing chosen on test."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from weightspace.autoencoder.ridge import PENALTIES, probe_of, ridge_of, with_ones

SIZES = {"train": 80, "val": 30, "test": 50}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def features_of(rng, width=5):
    return {split: rng.normal(2, 3, (num, width)) for split, num in SIZES.items()}


def targets_of(features, rng, noise=0.0):
    slope = rng.normal(size=next(iter(features.values())).shape[1])
    return {split: x @ slope + 7 + noise * rng.normal(size=len(x)) for split, x in features.items()}


def r2(features, targets, **how):
    """Test R2 of the probe."""
    errors = probe_of(features, **how).predict(targets) - targets["test"]
    return 1 - np.square(errors).mean() / targets["test"].var()


def fit_and_score(features, targets, penalty):
    """Test R2 at one penalty by scikit-learn alone."""
    mean, std = features["train"].mean(0), features["train"].std(0)
    x = {split: with_ones((values - mean) / std) for split, values in features.items()}
    model = Ridge(alpha=penalty, fit_intercept=False).fit(x["train"], targets["train"])
    return {split: model.score(x[split], targets[split]) for split in ("val", "test")}


@pytest.mark.parametrize("penalty", PENALTIES["standardized"])
def test_ridge_is_scikit_learns_on_a_column_of_ones(rng, penalty):
    x, y = rng.normal(size=(40, 5)), rng.normal(size=40) + 3
    reference = Ridge(alpha=penalty, fit_intercept=False).fit(with_ones(x), y)
    np.testing.assert_allclose(ridge_of(x).coefficients(y, penalty), reference.coef_, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("width", [5, 39, 40, 90])
@pytest.mark.parametrize("columns", [(), (3,)], ids=["numbers", "classes"])
@pytest.mark.parametrize("penalty", [1e3, 1.0, 1e-3])
def test_the_dual_form_has_the_coefficients_of_the_primal(rng, width, columns, penalty):
    x, y = rng.normal(size=(40, width)), rng.normal(size=(40, *columns)) + 3
    x[1] = x[0]  # a network that is there twice
    primal, dual = (ridge_of(x, dual).coefficients(y, penalty) for dual in (False, True))
    np.testing.assert_allclose(dual, primal, rtol=1e-7, atol=1e-8)


def test_the_dual_form_is_taken_where_there_are_many_more_features_than_samples(rng):
    few, many, more = (ridge_of(rng.normal(size=shape)) for shape in ((10, 1000), (10, 1100), (1200, 1100)))
    assert (few.dual, many.dual, more.dual) == (False, True, False)


def test_weights_in_their_thousands_are_read_as_scikit_learn_reads_them(rng):
    features = features_of(rng, width=3000)
    targets = targets_of(features, rng, noise=2)
    scores = [fit_and_score(features, targets, penalty) for penalty in PENALTIES["standardized"]]
    assert r2(features, targets) == pytest.approx(max(scores, key=lambda score: score["val"])["test"], abs=1e-6)


@pytest.mark.parametrize("kind", PENALTIES)
def test_penalties_are_17_between_the_published_ones(kind):
    assert len(PENALTIES[kind]) == 17
    assert (PENALTIES[kind].max(), PENALTIES[kind].min()) == pytest.approx((1e3, 1e-5))


def test_a_linear_target_has_r2_1(rng):
    features = features_of(rng)
    assert r2(features, targets_of(features, rng)) == pytest.approx(1, abs=1e-6)


def test_a_target_that_has_nothing_to_do_with_the_features_has_r2_0_or_less(rng):
    features = features_of(rng)
    targets = {split: rng.permutation(values) for split, values in targets_of(features, rng).items()}
    assert r2(features, targets) < 0.05


@pytest.mark.parametrize("noise", [0.5, 20.0])
def test_the_r2_is_scikit_learns_at_the_penalty_that_val_prefers(rng, noise):
    features = features_of(rng, width=25)
    targets = targets_of(features, rng, noise)
    scores = [fit_and_score(features, targets, penalty) for penalty in PENALTIES["standardized"]]
    chosen = max(scores, key=lambda score: score["val"])
    assert r2(features, targets) == pytest.approx(chosen["test"])


def test_the_penalty_is_chosen_on_val_where_test_would_choose_another(rng):
    features = features_of(rng, width=25)
    targets = targets_of(features, rng)
    targets["train"] += 20 * rng.normal(size=SIZES["train"])
    targets["test"] = targets["test"].mean() + rng.normal(size=SIZES["test"])  # test would choose the largest penalty
    scores = [fit_and_score(features, targets, penalty) for penalty in PENALTIES["standardized"]]
    by_val, by_test = (max(scores, key=lambda score: score[split]) for split in ("val", "test"))
    assert by_test["test"] > by_val["test"] + 0.1
    assert r2(features, targets) == pytest.approx(by_val["test"])


def test_test_targets_change_no_prediction(rng):
    features = features_of(rng)
    targets = targets_of(features, rng, noise=3)
    shuffled = targets | {"test": targets["test"][::-1].copy()}
    np.testing.assert_array_equal(probe_of(features).predict(targets), probe_of(features).predict(shuffled))


def test_columns_of_classes_are_predicted_as_each_alone_at_one_penalty(rng):
    features = features_of(rng)
    targets = {split: rng.normal(size=(len(x), 3)) for split, x in features.items()}
    probe = probe_of(features)
    found = probe.predict(targets)
    fits = [probe.ridge.coefficients(targets["train"], penalty) for penalty in probe.penalties]
    scores = [np.square(probe.val @ fit - targets["val"]).mean() for fit in fits]
    best = probe.penalties[int(np.argmin(scores))]
    for column in range(3):
        alone = probe.ridge.coefficients(targets["train"][:, column], best)
        np.testing.assert_allclose(found[:, column], probe.test @ alone, atol=1e-12)


def test_features_of_one_unit_are_not_blown_up_where_they_are_small(rng):
    """A column that hardly varies over train, and does so in one test sample, decides nothing then."""
    features = features_of(rng)
    targets = targets_of(features, rng, noise=1)
    extra = {split: 1e-8 * rng.normal(size=(len(x), 1)) for split, x in features.items()}
    extra["test"][0] = 1
    more = {split: np.concatenate([x, extra[split]], axis=1) for split, x in features.items()}
    assert r2(more, targets) < -100
    assert r2(more, targets, one_unit=True) == pytest.approx(r2(features, targets, one_unit=True), abs=0.01)


def test_a_feature_that_is_constant_over_train_says_nothing(rng):
    """In floating point the mean of 80 times 0.01 is not 0.01, and their deviation not 0."""
    features = features_of(rng)
    targets = targets_of(features, rng, noise=1)
    extra = {split: np.full((len(x), 1), 0.01) for split, x in features.items()}
    extra["test"][::2] = 0.02
    more = {split: np.concatenate([x, extra[split]], axis=1) for split, x in features.items()}
    np.testing.assert_allclose(r2(more, targets), r2(features, targets), rtol=0.05)
