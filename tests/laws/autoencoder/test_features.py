"""What probes read: what is planted in a feature is read off it, by any feature that holds it, and off no other."""

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError
from weightspace.autoencoder.data import Checkpoints, query_pool
from weightspace.autoencoder.features import NEED_IMAGES, ONE_UNIT, READ, Probed, principal
from weightspace.autoencoder.learned_inputs import left_out_error
from weightspace.autoencoder.metrics import METRICS
from weightspace.autoencoder.model import Autoencoder
from weightspace.autoencoder.probe import known_targets, probe_metrics
from weightspace.autoencoder.probed import CLASSES, FEATURES, TARGETS, ProbesConfig
from weightspace.autoencoder.ridge import ridge_of
from weightspace.autoencoder.settings import AutoencoderConfig
from weightspace.autoencoder.store import Stored
from weightspace.ensemble import outputs
from weightspace.images.tensors import ImageSet, normalize
from weightspace.nets.spec import build_spec
from weightspace.properties import weight_statistics
from weightspace.tokens import make_codec

SPEC = build_spec(["conv 3 3", "activation", "flatten", "linear 4", "activation", "linear classes"], "relu", (1, 4, 4), 3)
NUMS = {"train": 60, "val": 20, "test": 12}
FEW = ["embedding", "random_encoder", "weight_statistics"]  # probed by default
READ_OFF = [name for name in FEATURES if name != "learned_answers"]
ALL = [*TARGETS]


def checkpoints_of(num_models, epochs, offset):
    """Checkpoints whose test accuracy is the mean weight of the first layer; what else is known of them is in no weight."""
    rows = [{"model": offset + m, "epoch": e} for m in range(num_models) for e in epochs]
    weights, properties = torch.randn(len(rows), SPEC.num_weights), pd.DataFrame(rows)
    first = SPEC.layers[0]
    properties["test_accuracy"] = weights[:, : first.size - first.out].mean(1).double().numpy()
    for name in ("generalization_gap", "learning_rate"):
        properties[name] = torch.rand(len(rows)).double().numpy()
    properties["weight_decay"] = 0.001
    properties["init"] = np.where(weights[:, 0].numpy() > 0, "normal", "uniform")
    return Checkpoints(weights, properties)


def splits_of(epochs=(1, 5), nums=NUMS):
    return {name: checkpoints_of(num, epochs, 100 * n) for n, (name, num) in enumerate(nums.items())}


def images_of():
    x = torch.randint(0, 256, (150, 1, 4, 4), dtype=torch.uint8)
    splits = [(x[rows], torch.arange(len(x))[rows] % 3) for rows in (slice(80), slice(80, 110), slice(110, None))]
    return ImageSet(
        *(part for split in splits for part in split),
        mean=(0.5,),
        std=(0.29,),
        classes=["a", "b", "c"],
        source="planted",
        source_sha256="0",
    )


def config_of(**changes):
    return AutoencoderConfig(**{
        "zoo": "planted", "seeds": [0], "structure_weight": 1.0, "contrast_weight": 0.1, "steps": 1,
        "width": 8, "depth": 1, "heads": 2, "feedforward": 8, "latent": 4, "evaluation_batch": 7,
    } | changes)  # fmt: skip


def probed_of(splits, images=None, probes=None, **changes):
    config = config_of(**changes)
    codec = make_codec(SPEC, splits["train"].weights, config.token_size, True)
    encoders = [Autoencoder(config, [codec.layout], torch.Generator().manual_seed(n)) for n in range(2)]
    stored = Stored(config, codec, *encoders)
    return Probed(stored, dict.fromkeys(splits, codec), splits, images, ProbesConfig(**probes or {}))


def planted_in(name, probed, columns=3):
    """The same checkpoints, whose test accuracy is a sum of some numbers of a feature."""
    with torch.no_grad():
        values = READ[name](probed)
    chosen = np.argsort(values["train"].std(0))[-columns:]
    spread = values["train"][:, chosen].std(0)
    splits = {
        split: Checkpoints(part.weights, part.properties.assign(test_accuracy=(values[split][:, chosen] / spread).sum(1) + 4))
        for split, part in probed.splits.items()
    }
    return probed._replace(splits=splits)


def r2_of(metrics, target, name):
    return 1 - metrics[f"probe_error_{target}_{name}"].mean() / metrics[f"probe_deviation_{target}"].mean()


# the table


def test_every_feature_has_a_way_to_be_read_and_its_metrics():
    assert [*READ, "learned_answers"] == [*FEATURES]
    assert set(NEED_IMAGES) | set(ONE_UNIT) <= set(FEATURES)
    measured = {metric.name for metric in METRICS}
    assert {f"probe_r2_{target}_{name}" for target in TARGETS for name in FEATURES} <= measured
    assert {f"probe_tau_{target}_{name}" for target in TARGETS for name in FEATURES if target not in CLASSES} <= measured
    assert not any(name.startswith("probe_tau_init") for name in measured)


def test_by_default_three_features_and_three_targets_are_probed_without_tau():
    metrics = probe_metrics(probed_of(splits_of(), images_of()))
    errors = {f"probe_error_{target}_{name}" for target in ("test_accuracy", "generalization_gap", "epoch") for name in FEW}
    assert set(metrics) == errors | {f"probe_deviation_{target}" for target in ("test_accuracy", "generalization_gap", "epoch")}
    assert {values.shape for values in metrics.values()} == {(12,)}


@pytest.mark.parametrize("name", READ_OFF)
def test_what_is_planted_in_a_feature_is_read_off_it(name):
    probes = {"features": [name], "targets": ["test_accuracy", "generalization_gap"], "scores": ["r2", "tau"], "num_inputs": 9}
    probed = planted_in(name, probed_of(splits_of((5,), NUMS | {"train": 400, "test": 40}), images_of(), probes))
    metrics = probe_metrics(probed)
    assert r2_of(metrics, "test_accuracy", name) > 0.9
    assert metrics[f"probe_tau_test_accuracy_{name}"].mean() > 0.8
    assert r2_of(metrics, "generalization_gap", name) < 0.3
    assert abs(metrics[f"probe_tau_generalization_gap_{name}"].mean()) < 0.5


def test_numbers_of_float32_give_the_probe_of_float64():
    names = [name for name in READ_OFF if name not in ("answers",)]
    probed = probed_of(splits_of(), probes={"features": names})
    found = probe_metrics(probed)
    stored = probed.stored
    encoders = [encoder.double() for encoder in (stored.trained, stored.untrained)]
    scale = type(stored.codec.scale)(*(tensor.double() for tensor in stored.codec.scale))
    codec = stored.codec._replace(scale=scale)
    splits = {split: Checkpoints(part.weights.double(), part.properties) for split, part in probed.splits.items()}
    double = Probed(Stored(stored.config, codec, *encoders), dict.fromkeys(splits, codec), splits, None, probed.probes)
    expected = probe_metrics(double)
    for target in probed.probes.targets:
        deviation = expected[f"probe_deviation_{target}"].mean()
        for name in names:
            np.testing.assert_allclose(
                *(each[f"probe_error_{target}_{name}"] for each in (found, expected)), atol=0.01 * deviation
            )


# features


def test_features_have_the_sizes_that_their_names_say():
    probed = probed_of(splits_of(), images_of(), {"num_inputs": 9})
    tokens, latent = len(probed.stored.codec.layout.positions), 4
    with torch.no_grad():
        sizes = {name: READ[name](probed)["test"].shape for name in READ}
    assert {shape[0] for shape in sizes.values()} == {24}
    widths = {name: shape[1] for name, shape in sizes.items()}
    assert widths["embedding"] == widths["random_encoder"] == widths["pca_embedding"] == latent
    assert widths["sequence"] == widths["random_sequence"] == widths["pca_sequence"] == tokens * latent
    assert widths["projection"] == probed.stored.config.projection
    assert widths["weights"] == SPEC.num_weights
    assert widths["answers"] == 9 * 3


def test_the_embedding_is_the_mean_of_all_codes():
    probed = probed_of(splits_of())
    with torch.no_grad():
        mean, codes = (READ[name](probed)["val"] for name in ("embedding", "sequence"))
    np.testing.assert_allclose(codes.reshape(len(codes), -1, 4).mean(1), mean, atol=1e-6)


@pytest.mark.parametrize("window", [None, 4])
def test_the_projection_is_the_heads_of_sequences_as_in_training(window):
    probed = probed_of(splits_of(), window=window)
    model, codec = probed.stored.trained, probed.stored.codec
    tokens, positions = codec.to_tokens(probed.splits["val"].weights), codec.layout.positions
    size, num = window or len(positions), len(positions)
    with torch.no_grad():
        found = READ["projection"](probed)["val"]
        starts = [min(start, num - size) for start in range(0, num, size)]
        parts = [model.head(model.encode(tokens[:, s : s + size], positions[s : s + size])) for s in starts]
    np.testing.assert_allclose(found, torch.stack(parts).mean(0).numpy(), atol=1e-5)


def test_principal_components_are_those_of_train_and_none_is_of_nothing():
    rng = np.random.default_rng(0)
    low = rng.normal(size=(3, 9))
    features = {split: rng.normal(size=(num, 3)) @ low + 5 for split, num in NUMS.items()}
    components = principal(features, 7)
    assert {values.shape[1] for values in components.values()} == {3}
    np.testing.assert_allclose(components["train"].mean(0), 0, atol=1e-9)
    covariance = np.cov(components["train"].T)
    np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-9)
    distances = [np.linalg.norm(each["test"][:1] - each["test"], axis=1) for each in (features, components)]
    np.testing.assert_allclose(*distances, atol=1e-9)


def test_answers_are_softmax_outputs_on_train_images_the_same_for_every_zoo():
    images = images_of()
    probed = probed_of(splits_of(), images, {"num_inputs": 9})
    asked = query_pool(9, images)
    with torch.no_grad():
        found = READ["answers"](probed)["test"]
    expected = outputs(SPEC, probed.splits["test"].weights, asked).softmax(-1)
    np.testing.assert_allclose(found, expected.flatten(1).numpy())
    train = normalize(images.train_x, images).flatten(1)
    assert all((train == each).all(1).any() for each in asked.flatten(1))


def test_without_images_there_are_no_answers_and_the_rest_is_as_it_is_with_them(capsys):
    splits, probes = splits_of(), {
        "features": ["weights", "answers", "learned_answers"], "targets": ["epoch"], "steps": 1, "num_inputs": 4
    }  # fmt: skip
    found = probe_metrics(probed_of(splits, None, probes))
    assert "no probe from answers and learned_answers: the zoo has no images" in capsys.readouterr().out
    assert not any("answers" in name for name in found)
    whole = probe_metrics(probed_of(splits, images_of(), probes | {"features": ["weights", "answers"]}))
    assert all(np.array_equal(values, whole[name]) for name, values in found.items())
    assert "probe_error_epoch_answers" in whole


def test_a_projection_that_nothing_trains_is_refused():
    with pytest.raises(ValidationError, match="projection is what the contrast trains"):
        config_of(contrast_weight=0.0, probes=ProbesConfig(features=["projection"]))


# targets


def test_what_is_unknown_or_constant_is_said_and_left_out(capsys):
    splits = splits_of()
    splits["val"].properties.loc[3, "generalization_gap"] = None
    splits["test"] = splits["test"]._replace(properties=splits["test"].properties.drop(columns="learning_rate"))
    metrics = probe_metrics(probed_of(splits, probes={"targets": ALL, "features": ["weights"]}))
    said = capsys.readouterr().out
    assert "no probe for generalization_gap: it is not known of all checkpoints" in said
    assert "no probe for learning_rate: it is not known of all checkpoints" in said
    assert "no probe for weight_decay: it is 0.001 for all test models" in said
    assert {name for name in metrics if "deviation" in name} == {
        f"probe_deviation_{t}" for t in ("test_accuracy", "epoch", "init")
    }


def test_a_class_is_a_column_for_each_and_one_that_train_lacks_is_an_error_of_the_probe():
    splits = splits_of()
    splits["test"].properties.loc[0, "init"] = "orthogonal"
    targets = known_targets("init", splits)
    assert {values.shape[1] for values in targets.values()} == {3}
    assert all((values.sum(1) == 1).all() for values in targets.values())
    metrics = probe_metrics(probed_of(splits, probes={"targets": ["init"], "features": ["weights"], "scores": ["r2", "tau"]}))
    assert set(metrics) == {"probe_error_init_weights", "probe_deviation_init"}
    assert 0.2 < r2_of(metrics, "init", "weights") < 1


def test_frequencies_as_a_guess_of_the_class_are_an_r2_of_0():
    splits = splits_of()
    target = known_targets("init", splits)["test"]
    metrics = probe_metrics(probed_of(splits, probes={"targets": ["init"]}))
    assert metrics["probe_deviation_init"].sum() == pytest.approx(np.square(target - target.mean(0)).sum())


def test_where_models_have_fewer_checkpoints_the_r2_is_still_that_of_all_checkpoints():
    splits = splits_of()
    kept = np.arange(len(splits["test"].weights)) % 8 != 1  # three models have lost their last checkpoint
    splits["test"] = Checkpoints(splits["test"].weights[torch.tensor(kept)], splits["test"].properties[kept])
    metrics = probe_metrics(probed_of(splits))
    features = {split: weight_statistics(SPEC, part.weights).double().numpy() for split, part in splits.items()}
    mean, std = features["train"].mean(0), features["train"].std(0)
    x = {split: (values - mean) / std for split, values in features.items()}
    for target in ("test_accuracy", "generalization_gap", "epoch"):
        y = {split: part.properties[target].to_numpy(float) for split, part in splits.items()}
        scores = []
        for penalty in np.logspace(3, -5, 17):
            fit = ridge_of(x["train"]).coefficients(y["train"], penalty)
            errors = {split: y[split] - x[split] @ fit[:-1] - fit[-1] for split in ("val", "test")}
            scores.append((np.square(errors["val"]).mean(), 1 - np.square(errors["test"]).mean() / y["test"].var()))
        assert r2_of(metrics, target, "weight_statistics") == pytest.approx(min(scores)[1])


@pytest.mark.parametrize("epochs", [(5,), (1, 5, 9)])
def test_one_epoch_and_one_test_model_can_be_probed(epochs):
    nums = NUMS if epochs == (5,) else NUMS | {"test": 1}
    found = probe_metrics(probed_of(splits_of(epochs, nums), probes={"features": ["weights"], "scores": ["r2", "tau"]}))
    assert all(np.isfinite(values).all() and len(values) == nums["test"] for values in found.values())
    assert "probe_error_test_accuracy_weights" in found


# learned inputs


def test_the_error_at_samples_left_out_is_that_of_fits_without_them():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(15, 4)), rng.normal(size=(15, 2))
    errors = []
    for n in range(15):
        rest = np.arange(15) != n
        errors.append(y[n] - np.append(x[n], 1) @ ridge_of(x[rest]).coefficients(y[rest], 0.3))
    ones = torch.from_numpy(np.concatenate([x, np.ones((15, 1))], axis=1))
    assert left_out_error(ones, torch.from_numpy(y), 0.3).item() == pytest.approx(np.square(errors).mean())


@pytest.mark.slow
def test_learned_inputs_start_as_the_images_and_are_no_worse_on_val(capsys):
    splits, images = splits_of((5,), {"train": 300, "val": 100, "test": 100}), images_of()
    for part in splits.values():  # the target is what networks answer to an image that they are not asked
        logits = outputs(SPEC, part.weights, normalize(images.test_x[:1], images))
        part.properties["test_accuracy"] = logits.softmax(-1)[:, 0, 0].double().numpy()
    found = {}
    for steps in (0, 40):
        probes = {
            "features": ["answers", "learned_answers"], "targets": ["test_accuracy"], "num_inputs": 3,
            "steps": steps, "learning_rate": 0.3,
        }  # fmt: skip
        found[steps] = probe_metrics(probed_of(splits, images, probes))
        said = capsys.readouterr().out.partition("squared error on val ")[2].partition(";")[0]
        errors = [float(each) for each in said.split(", ")]
        assert len(errors) == (1 if steps == 0 else 11)
    np.testing.assert_array_equal(*(found[0][f"probe_error_test_accuracy_{name}"] for name in ("answers", "learned_answers")))
    assert r2_of(found[40], "test_accuracy", "learned_answers") > r2_of(found[40], "test_accuracy", "answers") + 0.05
    assert min(errors[1:]) < errors[0]
