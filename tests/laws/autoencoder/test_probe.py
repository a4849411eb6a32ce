"""Probes: scikit-learn's ridge as the reference, planted targets, and nothing chosen on test."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import Ridge
from weightspace.autoencoder.data import Checkpoints
from weightspace.autoencoder.model import Autoencoder
from weightspace.autoencoder.probe import (
    PENALTIES,
    TARGETS,
    probe,
    probe_metrics,
    ridge,
    with_ones,
)
from weightspace.autoencoder.settings import AutoencoderConfig
from weightspace.nets.spec import build_spec
from weightspace.properties import weight_statistics
from weightspace.tokens import make_codec

SPEC = build_spec(["conv 3 3", "activation", "flatten", "linear 4", "activation", "linear classes"], "relu", (1, 4, 4), 3)
SIZES = {"train": 80, "val": 30, "test": 50}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def features_of(rng, width=5):
    return {split: rng.normal(2, 3, (num, width)) for split, num in SIZES.items()}


def targets_of(features, rng, noise=0.0):
    slope = rng.normal(size=next(iter(features.values())).shape[1])
    return {split: x @ slope + 7 + noise * rng.normal(size=len(x)) for split, x in features.items()}


def r2(features, targets):
    """Test R2 of the probe."""
    return 1 - probe(features, targets).mean() / targets["test"].var()


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
    np.testing.assert_allclose(ridge(x, y, penalty), reference.coef_, rtol=1e-7, atol=1e-10)


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
    errors = probe(features, targets)
    shuffled = targets | {"test": targets["test"][::-1].copy()}
    predictions = targets["test"] - np.sqrt(errors), targets["test"] + np.sqrt(errors)
    again = probe(features, shuffled)
    exact = [np.isclose(np.square(p - shuffled["test"]), again) for p in predictions]
    assert np.logical_or(*exact).all()


def test_a_feature_that_is_constant_over_train_says_nothing(rng):
    """In floating point the mean of 80 times 0.01 is not 0.01, and their deviation not 0."""
    features = features_of(rng)
    targets = targets_of(features, rng, noise=1)
    extra = {split: np.full((len(x), 1), 0.01) for split, x in features.items()}
    extra["test"][::2] = 0.02
    more = {split: np.concatenate([x, extra[split]], axis=1) for split, x in features.items()}
    np.testing.assert_allclose(r2(more, targets), r2(features, targets), rtol=0.05)


# whole


def checkpoints_of(num_models, epochs, offset):
    """Checkpoints whose test accuracy is the mean weight of the first layer."""
    rows = [{"model": offset + m, "epoch": e} for m in range(num_models) for e in epochs]
    weights = torch.randn(len(rows), SPEC.num_weights)
    properties = pd.DataFrame(rows)
    first = SPEC.layers[0]
    properties["test_accuracy"] = weights[:, : first.size - first.out].mean(1).double().numpy()
    properties["generalization_gap"] = torch.rand(len(rows)).double().numpy()
    return Checkpoints(weights, properties)


def splits_of(epochs):
    nums = {"train": 60, "val": 20, "test": 12}
    return {name: checkpoints_of(num, epochs, 100 * n) for n, (name, num) in enumerate(nums.items())}


def metrics_of(splits):
    epochs = sorted(set(splits["train"].properties["epoch"]))
    config = AutoencoderConfig(
        zoo="planted", seeds=[0], epochs=epochs, structure_weight=1.0, steps=1,
        width=8, depth=1, heads=2, feedforward=8, latent=4, evaluation_batch=7,
    )  # fmt: skip
    codec = make_codec(SPEC, splits["train"].weights, None, True)
    encoders = {
        name: Autoencoder(config, [codec.layout], torch.Generator().manual_seed(n)) for n, name in enumerate(("one", "two"))
    }
    return probe_metrics(dict.fromkeys(splits, codec), encoders, splits, config)


def test_each_target_is_probed_from_each_encoder_and_the_weight_statistics_once_per_model():
    metrics = metrics_of(splits_of([1, 5]))
    names = {f"probe_error_{target}_{name}" for target in TARGETS for name in ("one", "two", "weight_statistics")}
    assert set(metrics) == names | {f"probe_deviation_{target}" for target in TARGETS}
    assert {values.shape for values in metrics.values()} == {(12,)}


def test_what_a_statistic_holds_is_read_off_it():
    metrics = metrics_of(splits_of([1, 5]))
    errors = [metrics[f"probe_error_{target}_weight_statistics"].mean() for target in ("test_accuracy", "generalization_gap")]
    assert errors[0] < 0.01 * metrics["probe_deviation_test_accuracy"].mean()
    assert errors[1] > 0.7 * metrics["probe_deviation_generalization_gap"].mean()


def test_where_models_have_fewer_checkpoints_the_r2_is_still_that_of_all_checkpoints():
    splits = splits_of([1, 5])
    kept = np.arange(len(splits["test"].weights)) % 8 != 1  # three models have lost their last checkpoint
    splits["test"] = Checkpoints(splits["test"].weights[torch.tensor(kept)], splits["test"].properties[kept])
    metrics = metrics_of(splits)
    features = {split: weight_statistics(SPEC, part.weights).double().numpy() for split, part in splits.items()}
    for target in TARGETS:
        targets = {split: part.properties[target].to_numpy(float) for split, part in splits.items()}
        parts = metrics[f"probe_error_{target}_weight_statistics"], metrics[f"probe_deviation_{target}"]
        assert 1 - parts[0].mean() / parts[1].mean() == pytest.approx(r2(features, targets))


def test_one_epoch_alone_can_be_probed():
    metrics = metrics_of(splits_of([5]))
    assert np.isfinite(metrics["probe_error_test_accuracy_one"]).all()
