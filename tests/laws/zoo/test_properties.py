"""Properties of networks: numpy's statistics, a calibration error counted by hand, a table of every model and epoch."""

from math import log

import numpy as np
import pytest
import torch
import weightspace.zoo.properties
from corner_images import planted_images
from planted_zoos import stored_zoo
from weightspace.ensemble import outputs
from weightspace.images.tensors import normalize
from weightspace.nets.forward import unflatten
from weightspace.nets.spec import build_spec
from weightspace.nets.symmetry import permutation_map, sample_permutations
from weightspace.properties import calibration_error, token_statistics, weight_norms, weight_statistics
from weightspace.tokens import make_codec
from weightspace.zoo.properties import MEASURES, properties_table
from weightspace.zoo.settings import PROPERTIES

SPEC = build_spec(["conv 3 3", "activation", "flatten", "linear 4", "activation", "linear classes"], "relu", (1, 4, 4), 3)
WITH_IMAGES = build_spec(["flatten", "linear 6", "activation", "linear classes"], "relu", (1, 6, 6), 3)
NORMED = build_spec(["conv 3 3", "batch_norm", "activation", "flatten", "linear classes"], "relu", (1, 4, 4), 3)


# statistics and norms


def padded_statistics(spec, weights, token_size=None):
    """Statistics of tokens without a scale."""
    return token_statistics(make_codec(spec, weights, token_size, standardize=False), weights)


def numpy_statistics(values):
    return [values.mean(), values.var(), *np.percentile(values, [1, 25, 50, 75, 99])]


def test_weight_statistics_are_numpys_14_per_layer_without_padding():
    weights = torch.randn(6, SPEC.num_weights)
    statistics = weight_statistics(SPEC, weights)
    assert statistics.shape == (6, 14 * len(SPEC.layers))
    for model in range(6):
        parameters = unflatten(SPEC, weights[model]).values()
        expected = [number for parameter in parameters for number in numpy_statistics(parameter.numpy())]
        np.testing.assert_allclose(statistics[model].numpy(), expected, rtol=1e-4, atol=1e-6)


def test_weight_statistics_do_not_see_the_order_of_units():
    weights = torch.randn(6, SPEC.num_weights)
    maps = permutation_map(SPEC, sample_permutations(SPEC, 6, torch.Generator().manual_seed(0)))
    torch.testing.assert_close(weight_statistics(SPEC, weights.gather(1, maps)), weight_statistics(SPEC, weights))


def test_a_layer_without_biases_has_7_statistics():
    weights = torch.randn(2, NORMED.num_weights)
    statistics = weight_statistics(NORMED, weights)
    named = unflatten(NORMED, weights)
    parts = [named[name] for name in ("conv1.weight", "linear3.weight", "linear3.bias")]
    assert statistics.shape == (2, 21)
    for model in range(2):
        expected = [number for part in parts for number in numpy_statistics(part[model].numpy())]
        np.testing.assert_allclose(statistics[model].numpy(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("token_size", [None, 15])
def test_padded_statistics_are_numpys_7_per_layer_of_rows_filled_with_zeros(token_size):
    weights, longest = torch.randn(5, SPEC.num_weights), max(layer.row for layer in SPEC.layers)
    size = token_size or longest
    statistics = padded_statistics(SPEC, weights, token_size)
    assert statistics.shape == (5, 7 * len(SPEC.layers))
    for model in range(5):
        named, expected = unflatten(SPEC, weights[model]), []
        for layer in SPEC.layers:
            rows = [named[f"{layer.name}.{part}"].numpy().reshape(layer.out, -1) for part in ("weight", "bias")]
            rows = np.concatenate(rows, axis=1)
            expected += numpy_statistics(np.pad(rows, ((0, 0), (0, -rows.shape[1] % size))))
        np.testing.assert_allclose(statistics[model].numpy(), expected, rtol=1e-4, atol=1e-6)


def test_padding_pulls_quartile_and_median_of_the_last_layer_to_0():
    weights = torch.rand(3, SPEC.num_weights) + 1
    padded, plain = padded_statistics(SPEC, weights)[:, 17:19], weight_statistics(SPEC, weights)[:, 31:33]
    assert (padded == 0).all()
    assert (plain > 1).all()


def test_norms_add_up_to_the_norm_of_all_weights_and_no_permutation_changes_them():
    weights = torch.randn(4, SPEC.num_weights)
    norms = weight_norms(SPEC, weights)
    assert norms.shape == (4, len(SPEC.layers))
    torch.testing.assert_close(norms.norm(dim=1), weights.norm(dim=1))
    maps = permutation_map(SPEC, sample_permutations(SPEC, 4, torch.Generator().manual_seed(0)))
    torch.testing.assert_close(weight_norms(SPEC, weights.gather(1, maps)), norms)


# calibration


def logits_of(confidence, answers, num_classes=4):
    """Logits whose largest probability is `confidence`, at `answers`, the others alike."""
    logits = torch.zeros(len(answers), num_classes, dtype=torch.double)
    gap = [log(share * (num_classes - 1) / (1 - share)) for share in confidence]
    logits[torch.arange(len(answers)), answers] = torch.tensor(gap, dtype=torch.double)
    return logits


def test_calibration_error_is_what_is_counted_bin_by_bin():
    answers = torch.arange(12) % 4
    confidence = [0.41] * 4 + [0.72] * 3 + [0.95] * 5
    labels = answers.clone()
    labels[[0, 1, 2]], labels[5] = (answers[[0, 1, 2]] + 1) % 4, (answers[5] + 1) % 4
    expected = (4 * abs(1 / 4 - 0.41) + 3 * abs(2 / 3 - 0.72) + 5 * abs(1 - 0.95)) / 12
    found = calibration_error(logits_of(confidence, answers).unsqueeze(0), labels)
    torch.testing.assert_close(found, torch.tensor([expected], dtype=torch.double))


def test_one_bin_compares_accuracy_with_mean_confidence():
    logits, labels = torch.randn(6, 50, 3), torch.randint(3, (50,))
    accuracy, confidence = (logits.argmax(-1) == labels).float().mean(1), logits.softmax(-1).amax(-1).mean(1)
    torch.testing.assert_close(calibration_error(logits, labels, bins=1), (accuracy - confidence).abs())


def test_answers_drawn_from_a_networks_own_probabilities_are_calibrated_and_sharper_ones_are_not():
    logits = 2 * torch.randn(1, 20_000, 4)
    labels = logits[0].softmax(-1).multinomial(1).squeeze(1)
    assert calibration_error(logits, labels)[0] < 0.02
    assert calibration_error(3 * logits, labels)[0] > 0.1


def test_each_model_has_its_own_and_one_that_diverged_has_none():
    logits, labels = torch.randn(3, 40, 3), torch.randint(3, (40,))
    logits[1, 7] = float("nan")
    found = calibration_error(logits, labels)
    assert found[1].isnan()
    for model in (0, 2):
        torch.testing.assert_close(calibration_error(logits[model : model + 1], labels)[0], found[model])


# the table


@pytest.fixture
def zoo(tmp_path):
    """Five models at two epochs."""
    return zoo_of(tmp_path, planted_weights())


def planted_weights():
    return torch.randn(5, 2, WITH_IMAGES.num_weights, generator=torch.Generator().manual_seed(3))


def zoo_of(folder, weights):
    return stored_zoo(folder / "zoo", WITH_IMAGES, [0, 3], weights)


def test_the_table_has_each_model_and_epoch_once_with_what_was_asked_for(zoo):
    images = planted_images()
    rows = properties_table(zoo, images, PROPERTIES).to_pylist()
    assert [(row["model"], row["epoch"]) for row in rows] == [(model, epoch) for model in range(5) for epoch in (0, 3)]
    for row in rows:
        weights = zoo.checkpoints([(row["model"], row["epoch"])])
        assert row["norm"] == pytest.approx(float(weights.norm()), rel=1e-5)
        assert row["norm_linear1"] == pytest.approx(float(weight_norms(zoo.spec, weights)[0, 0]), rel=1e-5)
        assert row["weight_statistics"] == pytest.approx(weight_statistics(zoo.spec, weights)[0].tolist(), rel=1e-4, abs=1e-6)
        padded = padded_statistics(zoo.spec, weights)[0].tolist()
        assert row["token_statistics"] == pytest.approx(padded, rel=1e-4, abs=1e-6)
        for split in ("val", "test"):
            x, y = (getattr(images, f"{split}_{part}") for part in ("x", "y"))
            logits = outputs(zoo.spec, weights, normalize(x, images))
            assert row[f"{split}_calibration_error"] == pytest.approx(float(calibration_error(logits, y)[0]), rel=1e-4)
            if split == "val":
                assert row["val_logits"] == pytest.approx(logits.flatten().tolist(), rel=1e-4, abs=1e-5)


def test_every_property_that_settings_name_adds_columns_of_its_own_and_no_other_does(zoo):
    assert set(MEASURES) == set(PROPERTIES)
    images = planted_images()
    alone = [set(properties_table(zoo, images, [name]).column_names) - {"model", "epoch"} for name in PROPERTIES]
    assert all(alone)
    whole = set(properties_table(zoo, images, PROPERTIES).column_names) - {"model", "epoch"}
    assert sum(map(len, alone)) == len(whole) == len(set.union(*alone))


def test_rows_do_not_depend_on_how_many_models_are_measured_together(zoo, monkeypatch):
    images = planted_images()
    whole = properties_table(zoo, images, ["norms", "weight_statistics"])
    monkeypatch.setattr(weightspace.zoo.properties, "AT_ONCE", 1)
    assert properties_table(zoo, images, ["norms", "weight_statistics"]).select(["model", "epoch"]) == whole.select(
        ["model", "epoch"]
    )


def test_a_model_that_diverged_has_a_row_without_a_calibration_error(tmp_path):
    weights = planted_weights()
    weights[2, 1] = float("nan")
    rows = properties_table(zoo_of(tmp_path, weights), planted_images(), ["norms", "calibration"]).to_pylist()
    lost = [row for row in rows if np.isnan(row["norm"])]
    assert [(row["model"], row["epoch"]) for row in lost] == [(2, 3)]
    assert np.isnan(lost[0]["test_calibration_error"])
