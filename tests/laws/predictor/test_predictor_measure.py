"""Measures of rebuilt networks are those of loops over models, layers and images."""

import pytest
import torch
from planted_predictors import PLAIN, RESIDUAL, planted_images, planted_originals, predictor_config, random_net
from scipy.stats import binomtest
from weightspace.ensemble import recalibrated
from weightspace.images.tensors import normalize
from weightspace.nets.forward import flatten, forward, unflatten
from weightspace.nets.steps import Training
from weightspace.predictor import measure as module
from weightspace.predictor.kernels import from_kernels, layout_of, to_kernels
from weightspace.predictor.measure import (
    LAYERS,
    SHOWN,
    answers,
    compare_answers,
    compare_weights,
    evaluation_data,
    kernels_table,
    learned,
    mcnemar,
    round_measures,
    rows_of,
    spectra_table,
    which_learned,
    with_train_statistics,
)
from weightspace.predictor.metrics import KERNELS_SCHEMA, METRICS, SPECTRA_SCHEMA
from weightspace.predictor.originals import Originals
from weightspace.table import Source

SOURCE = Source("planted", "predictor", "cell", 7)
KNOWN = {metric.name for metric in METRICS}


def data_for(originals=None, linear=False, kernel_sizes=None):
    originals = originals or planted_originals()
    config = predictor_config(kernel_sizes=kernel_sizes, linear=linear)
    layout = layout_of(originals.spec.shapes, kernel_sizes, linear)
    ranks = [
        torch.cat([part.begin + torch.randperm(part.num_kernels) for part in layout.parts]) for _ in range(len(originals.weights))
    ]
    return evaluation_data(config, originals, torch.stack(ranks), planted_images())


def of_architecture(architecture, num=2):
    spec, weights = random_net(architecture, num, torch.float32)
    return Originals(spec, weights, list(range(num)))


def changed(data, deviation=0.2):
    """Predicted layers with noise, all else as it is."""
    parameters = unflatten(data.spec, data.weights.clone())
    for part in data.layout.parts:
        parameters[part.name] += deviation * torch.randn(parameters[part.name].shape)
    return flatten(data.spec, parameters)


# answers


@pytest.mark.parametrize("passes", [1, 50, 4096])
def test_answers_are_the_same_in_parts_of_any_size(monkeypatch, passes):
    data = data_for()
    whole = forward(data.spec, data.weights, normalize(data.images.test_x, data.images).unsqueeze(0))
    monkeypatch.setattr(module, "PASSES", {"cpu": passes})
    torch.testing.assert_close(answers(data.spec, data.weights, data.images, "test"), whole)


@pytest.mark.slow
@pytest.mark.parametrize("other", ["own", "plain"])
def test_answers_are_compared_as_in_a_loop_over_models_and_images(other):
    data = data_for()
    spec, weights = (data.spec, changed(data)) if other == "own" else planted_originals("plain")[:2]
    measures, images = compare_answers(data, spec, weights), data.images
    measures = {name: values for name, values in measures.items() if not name.endswith("_recalibrated")}
    assert not torch.equal(measures["accuracy_predicted"], measures["accuracy_original"])
    for n in range(2):
        counts = dict.fromkeys(measures, 0.0)
        for split, prefix in (("test", ""), ("train", "train_")):
            x, labels = getattr(images, f"{split}_x"), getattr(images, f"{split}_y")
            for image, label in zip(x, labels.tolist(), strict=True):
                one = normalize(image, images).view(1, 1, 1, 8, 8)
                ours, theirs = (
                    forward(net, stack[n : n + 1], one)[0, 0] for net, stack in ((spec, weights), (data.spec, data.weights))
                )
                right, before = int(ours.argmax()) == label, int(theirs.argmax()) == label
                counts[f"{prefix}accuracy_predicted"] += right / len(x)
                counts[f"{prefix}accuracy_original"] += before / len(x)
                if split == "test":
                    counts["gained"] += (right and not before) / len(x)
                    counts["lost"] += (before and not right) / len(x)
                    counts["agreement"] += (int(ours.argmax()) == int(theirs.argmax())) / len(x)
                    p, q = theirs.double().softmax(0), ours.double().softmax(0)
                    counts["kl"] += float((p * (p / q).log()).sum()) / len(x)
        counts["accuracy_gain"] = counts["gained"] - counts["lost"]
        unequal = [round(counts[name] * len(images.test_x)) for name in ("gained", "lost")]
        counts["mcnemar_p"] = binomtest(unequal[0], sum(unequal)).pvalue if sum(unequal) else 1.0
        counts["learned"] = float(counts["accuracy_original"] > 0.7)  # a third of the images are of each class
        for name, values in measures.items():
            assert float(values[n]) == pytest.approx(counts[name], rel=1e-4, abs=1e-9), name


# batch norms recalibrated


def without_statistics(data, weights):
    """Networks whose batch norms have lost their running statistics."""
    parameters = unflatten(data.spec, weights.clone())
    for name in (name for name in parameters if "running" in name):
        parameters[name].copy_(50 + 100 * torch.rand(parameters[name].shape))
    return flatten(data.spec, parameters)


def test_networks_that_lost_their_statistics_answer_recalibrated_as_in_training():
    data = data_for()
    images = data.images._replace(test_x=data.images.train_x, test_y=data.images.train_y)
    data = data._replace(images=images)
    weights = changed(data, 0.1)
    lost = without_statistics(data, weights)
    measures, kept = (compare_answers(data, data.spec, stack) for stack in (lost, weights))
    assert (measures["accuracy_predicted"] < 0.5).all()
    x = normalize(images.test_x, images).unsqueeze(0)
    in_training, original = (forward(data.spec, stack, x, training=Training({})).argmax(2) for stack in (lost, data.weights))
    as_it_is = forward(data.spec, data.weights, x).argmax(2)
    one = 1.01 / len(images.test_x)  # one image may change sides: batch norm uses the unbiased variance, training the biased one
    for name, wanted in (
        ("accuracy_recalibrated", in_training == images.test_y),
        ("agreement_recalibrated", in_training == as_it_is),
        ("accuracy_original_recalibrated", original == images.test_y),
    ):
        torch.testing.assert_close(measures[name], wanted.double().mean(1), atol=one, rtol=0)
        assert torch.equal(measures[name], kept[name])  # the statistics that are lost have no say
    gain = measures["accuracy_recalibrated"] - measures["accuracy_original"]
    torch.testing.assert_close(measures["accuracy_gain_recalibrated"], gain)


def test_without_batch_norms_nothing_is_measured_recalibrated():
    data = data_for(planted_originals("plain"))
    assert not [name for name in compare_answers(data, data.spec, data.weights) if "recalibrated" in name]


def test_statistics_are_of_so_many_train_images_at_most(monkeypatch):
    data = data_for()
    x = normalize(data.images.train_x, data.images)
    for most, used in ((20, 20), (100, len(x))):
        monkeypatch.setattr(module, "RECALIBRATION_IMAGES", most)
        found = with_train_statistics(data.spec, data.weights, data.images)
        assert torch.equal(found, recalibrated(data.spec, data.weights, x[:used]))


# originals that learned nothing


def test_a_network_has_learned_if_it_beats_the_best_constant_answer_beyond_chance():
    labels = torch.tensor([0] * 50 + [1] * 30 + [2] * 20)
    accuracies = torch.tensor([0.1, 0.5, 0.64, 0.66, 1.0], dtype=torch.float64)  # the best constant: 0.5, standard error 0.05
    assert learned(accuracies, labels).tolist() == [0, 0, 0, 1, 1]


def test_an_original_of_constant_answers_is_a_row_and_named_in_the_log():
    originals = planted_originals()
    weights = originals.weights.clone()
    name = list(originals.spec.shapes)[-2]
    unflatten(originals.spec, weights)[name][1] = 0.0  # the last layer: its bias alone answers
    dead = originals._replace(weights=weights)
    rows, alive = (rows_of(SOURCE, compare_answers(data_for(each), *each[:2]), [4, 7]) for each in (dead, originals))
    assert [row["value"] for row in rows if row["metric"] == "learned"] == [1, 0]
    assert which_learned(rows).startswith("originals 7 learned nothing")
    assert which_learned(alive).startswith("every original learned")


# weights


def test_the_original_has_no_error_and_is_as_smooth_as_itself():
    data = data_for(linear=True)
    measures = compare_weights(data, data.weights)
    errors = [name for name in measures if name.startswith(("rmse", "relative_error"))]
    assert len(errors) == 3
    assert measures["relative_error_layer"].shape == (2, len(data.layout.parts))
    for name in errors:
        assert not measures[name].any()
    smooth = [name for name in measures if name.endswith("_original")]
    assert len(smooth) == 7
    for name in smooth:
        assert torch.equal(measures[name], measures[name.replace("_original", "_predicted")])


def test_errors_are_those_of_a_loop_over_layers():
    data = data_for(linear=True)
    weights = changed(data)
    measures = compare_weights(data, weights)
    for n in range(2):
        ours, theirs = ({name: t[n].double() for name, t in unflatten(data.spec, w).items()} for w in (weights, data.weights))
        total, norm, num = 0.0, 0.0, 0
        for layer, part in enumerate(data.layout.parts):
            error, own = (ours[part.name] - theirs[part.name]).square().sum(), theirs[part.name].square().sum()
            assert float(measures["relative_error_layer"][n, layer]) == pytest.approx(float((error / own).sqrt()))
            total, norm, num = total + error, norm + own, num + ours[part.name].numel()
        assert float(measures["relative_error"][n]) == pytest.approx(float((total / norm).sqrt()))
        assert float(measures["rmse_weights"][n]) == pytest.approx(float((total / num).sqrt()))


def test_the_global_relative_error_is_the_layers_mean_by_their_norms():
    data = data_for()
    parameters = unflatten(data.spec, data.weights.clone())
    for part in data.layout.parts:
        parameters[part.name] *= 1.25
    measures = compare_weights(data, flatten(data.spec, parameters))
    for name in ("relative_error", "relative_error_layer"):
        torch.testing.assert_close(measures[name], torch.full_like(measures[name], 0.25), rtol=1e-5, atol=0)


def test_a_layer_of_one_kernel_is_left_out_of_the_likeness_of_neighbors():
    one = ["conv 1 3 1", "activation", *RESIDUAL]
    with_one, without = of_architecture(one), of_architecture(RESIDUAL)
    names = list(unflatten(with_one.spec, with_one.weights))
    assert with_one.spec.shapes[names[0]] == (1, 1, 3, 3)
    pieces = dict(zip(names[2:], unflatten(without.spec, without.weights).values(), strict=True))
    first = {name: unflatten(with_one.spec, with_one.weights)[name] for name in names[:2]}
    weights = flatten(with_one.spec, first | pieces)
    ours, theirs = data_for(with_one._replace(weights=weights)), data_for(without)
    ours = ours._replace(rank=torch.cat([torch.zeros(2, 1, dtype=torch.long), theirs.rank + 1], 1))
    ours, theirs = (compare_weights(data, data.weights) for data in (ours, theirs))
    for name in ("neighbor_cosine_original", "neighbor_cosine_ordered_predicted"):
        torch.testing.assert_close(ours[name], theirs[name])
    assert not torch.allclose(ours["stable_rank_original"], theirs["stable_rank_original"])


def test_measures_in_order_are_those_of_kernels_that_lie_where_their_ranks_say():
    data = data_for()
    kernels = to_kernels(data.layout, unflatten(data.spec, data.weights))
    lying = torch.zeros_like(kernels).scatter(1, data.rank.unsqueeze(2).expand_as(kernels), kernels)
    moved = flatten(data.spec, unflatten(data.spec, data.weights) | from_kernels(data.layout, lying))
    measures, plain = (compare_weights(data, weights) for weights in (data.weights, moved))
    for name in ("neighbor_cosine", "high_frequency_share"):
        torch.testing.assert_close(measures[f"{name}_ordered_original"], plain[f"{name}_predicted"])
        assert not torch.allclose(measures[f"{name}_ordered_original"], measures[f"{name}_original"], rtol=1e-3)


def test_equal_kernels_are_alike_and_low_in_frequency_once_predicted():
    data = data_for()
    parameters = unflatten(data.spec, data.weights.clone())
    for part in data.layout.parts:
        parameters[part.name][:] = torch.rand(part.shape[2:]) + 1
    measures = compare_weights(data, flatten(data.spec, parameters))
    wanted = {"neighbor_cosine": 1.0, "high_frequency_share": 0.0, "singular_largest_share": 1.0, "stable_rank": 1.0}
    for name, value in wanted.items():
        torch.testing.assert_close(measures[f"{name}_predicted"], torch.full((2,), value, dtype=torch.float64), atol=1e-6, rtol=0)
        assert ((measures[f"{name}_original"] - value).abs() > 0.1).all()


# rows


def test_each_measure_of_each_original_is_a_row_of_a_known_metric():
    data = data_for(linear=True)
    weights = changed(data)
    measures = compare_answers(data, data.spec, weights) | compare_weights(data, weights)
    rows = rows_of(SOURCE, measures, [1, 0])
    assert {(row["metric"], row["subject"]) for row in rows} == {(name, str(n)) for name in measures for n in range(2)}
    assert len(rows) == sum(values.numel() for values in measures.values())
    for row in rows:
        assert row["metric"] in KNOWN
        values = measures[row["metric"]][1 - int(row["subject"])]
        assert row["value"] == float(values if row["at"] is None else values[row["at"]])
        assert (row["cell"], row["seed"]) == ("cell", 7)


def test_each_round_is_measured_against_the_original_and_the_round_before():
    data = data_for()
    rounds = [changed(data, 0.1), changed(data, 0.2)]
    first, second = round_measures(data, rounds)
    for measures, weights in ((first, rounds[0]), (second, rounds[1])):
        whole = compare_answers(data, data.spec, weights) | compare_weights(data, weights)
        for name, value in measures.items():
            assert name in KNOWN
            if name != "rmse_previous":
                assert torch.equal(value, whole[name])
        assert "accuracy_predicted" in measures
        assert not [name for name in measures if name.endswith("_recalibrated")]
    assert torch.equal(first["rmse_previous"], first["rmse_weights"])
    torch.testing.assert_close(second["rmse_previous"], module.rmse(data, rounds[1], rounds[0]))
    assert (second["rmse_previous"] > second["rmse_weights"]).all()  # independent noise: sqrt(0.1^2 + 0.2^2)


# tables


@pytest.mark.parametrize("linear", [True, False])
@pytest.mark.parametrize("architecture", [RESIDUAL, PLAIN, "cnn_digits"], ids=["residual", "plain", "digits"])
def test_kernels_of_the_table_are_the_parameters_own_numbers(architecture, linear):
    data = data_for(of_architecture(architecture), linear, kernel_sizes=[1, 3])
    weights = changed(data)
    table = kernels_table(SOURCE, data, weights)
    assert table.schema == KERNELS_SCHEMA
    stacks = {"original": unflatten(data.spec, data.weights), "predicted": unflatten(data.spec, weights)}
    seen = set()
    for row in table.to_pylist():
        part = next(part for part in data.layout.parts if part.name == row["layer"])
        seen.add((row["layer"], row["filter"], row["channel"]))
        for which, stack in stacks.items():
            own = stack[row["layer"]][0, row["filter"]]
            if len(part.shape) == 4:
                own = own[row["channel"]].flatten()
            else:
                own = own[9 * row["channel"] : 9 * row["channel"] + 9]
            assert row[which] == own.tolist()
            assert len(row[which]) == row["side"] ** 2
        assert (row["cell"], row["seed"]) == ("cell", 7)
    assert len(seen) == table.num_rows
    assert {data.layout.parts[0].name} <= {layer for layer, *_ in seen}
    assert len({layer for layer, *_ in seen}) <= LAYERS
    assert max(sum(layer == part.name for layer, *_ in seen) for part in data.layout.parts) <= SHOWN


def test_singular_values_of_the_table_are_those_of_the_first_originals_layers():
    data = data_for(linear=True)
    weights = changed(data)
    table = spectra_table(SOURCE, data, weights)
    assert table.schema == SPECTRA_SCHEMA
    assert table["layer"].to_pylist() == [part.name for part in data.layout.parts]
    for row in table.to_pylist():
        for which, stack in (("original", data.weights), ("predicted", weights)):
            matrix = unflatten(data.spec, stack)[row["layer"]][0].flatten(1).double()
            values = torch.linalg.eigvalsh(matrix @ matrix.T).clamp_min(0).sqrt().flip(0)[: len(row[which])]
            torch.testing.assert_close(torch.tensor(row[which], dtype=torch.float64), values, rtol=1e-4, atol=1e-5)
            assert len(row[which]) == min(matrix.shape)


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (3, 3), (1, 9), (12, 2), (0, 5)])
def test_mcnemar_is_the_exact_binomial_test(gained, lost):
    expected = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert float(mcnemar(torch.tensor([gained]), torch.tensor([lost]))) == pytest.approx(expected)
