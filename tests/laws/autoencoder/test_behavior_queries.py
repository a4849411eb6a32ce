"""What networks are asked in training, and the weights of what is learned from it."""

from itertools import combinations

import pytest
import torch
from small_scenario import read, scenario_content
from test_autoencoder import SPEC, checkpoints_of, config_of, planted_images, planted_weights, planted_zoo, run
from weightspace.autoencoder.data import query_pool
from weightspace.autoencoder.losses import total_loss
from weightspace.autoencoder.problem import autoencoder_data, data_of_zoos
from weightspace.autoencoder.queries import QUERIES, query_bank
from weightspace.autoencoder.settings import LOSSES, AutoencoderSettings
from weightspace.images.tensors import normalize

KINDS = list(QUERIES)


def other_images():
    images = planted_images()
    return images._replace(train_x=255 - images.train_x, mean=(0.1,), std=(7.0,))


def bank(*kinds, num=12):
    return query_bank(list(kinds), num, planted_images(), other_images())


def rows(queries):
    """Queries as a set, each by its numbers."""
    return {tuple(query.flatten().tolist()) for query in queries}


def test_train_images_alone_are_the_pool_that_all_ask_from():
    assert torch.equal(bank("train"), query_pool(12, planted_images()))


@pytest.mark.parametrize("kinds", [*combinations(KINDS, 1), *combinations(KINDS, 2), tuple(KINDS)], ids="-".join)
def test_a_mixture_has_equal_parts_of_each_and_is_the_same_each_time(kinds):
    mixed = bank(*kinds)
    sizes = [12 // len(kinds) + (n < 12 % len(kinds)) for n in range(len(kinds))]
    alone = [bank(kind, num=size) for kind, size in zip(kinds, sizes, strict=True)]
    assert torch.equal(mixed, torch.cat(alone))
    assert torch.equal(mixed, bank(*kinds))


def test_images_of_another_set_are_seen_as_the_networks_own_are():
    own, other = planted_images(), other_images()
    assert rows(bank("other")) <= rows(normalize(other.train_x, own))


def test_a_blend_is_the_mean_of_two_images_of_different_classes():
    images = planted_images()
    x, y = normalize(images.train_x, images), images.train_y
    means = {tuple(((x[i] + x[j]) / 2).flatten().tolist()) for i in range(len(x)) for j in range(len(x)) if y[i] != y[j]}
    found = bank("blends")
    assert 0 < len(found) <= 12
    assert rows(found) <= means


def test_uniform_noise_is_not_normalized_and_normal_noise_has_deviation_1():
    uniform, gaussian = bank("uniform", num=4000), bank("gaussian", num=4000)
    assert uniform.min() >= 0
    assert uniform.max() <= 1
    assert uniform.mean() == pytest.approx(0.5, abs=0.01)
    assert uniform.std() == pytest.approx(12**-0.5, abs=0.01)
    assert gaussian.mean() == pytest.approx(0, abs=0.02)
    assert gaussian.std() == pytest.approx(1, abs=0.01)


def test_networks_are_told_apart_by_what_they_answer_to_noise(tmp_path):
    """The targets of an autoencoder are its networks' own answers to whatever is asked."""
    config = config_of(behavior_weight=1.0, queries=["uniform", "train"], query_pool=10, num_queries=6, steps=2)
    data = autoencoder_data(config, SPEC, checkpoints_of(planted_weights()), planted_images())
    assert torch.equal(data.queries, query_bank(["uniform", "train"], 10, planted_images()))
    assert data.targets.shape[1] == 10
    assert run(data, tmp_path / "state")[1].curves.isfinite().all()


def test_another_set_is_found_by_its_name_among_those_that_were_read(tmp_path):
    zoo = planted_zoo(tmp_path, ["train", "val", "test"] * 3)
    zoo = zoo._replace(images=planted_images(), sets={"mine": planted_images(), "theirs": other_images()})
    asked = {"behavior_weight": 1.0, "queries": ["train", "other"], "query_images": "theirs"}
    flat = {"until_flat": {"every": 2}, "schedule": "constant"}
    (data,) = data_of_zoos(config_of(**asked, **flat), [zoo], torch.device("cpu"))
    assert torch.equal(data.queries, query_bank(["train", "other"], 20, planted_images(), other_images()))
    assert torch.equal(data.val.queries, data.queries)
    assert data.val.targets.shape[0] == len(data.val.weights) == 6  # two epochs of three val models
    assert data.val.codec is data.codec


@pytest.mark.parametrize(("gamma", "beta"), [(0.05, 0.1), (0.0, 0.3), (0.2, 0.0), (0.05, 1.0)])
def test_a_weighting_is_the_published_total_over_first_values(gamma, beta):
    config = config_of(
        weighting={"gamma": gamma, "beta": beta}, loss_scale="first_batch", cycle_weight=0.05, structure_weight=(1 - gamma) * beta
    )
    losses = {name: torch.tensor(value) for name, value in zip(LOSSES, (3.0, 2.0, 0.5, 4.0), strict=True)}
    first = {"contrast": 4.0, "structure": 8.0, "behavior": 0.25}
    published = gamma * 3 / 4 + (1 - gamma) * (beta * 2 / 8 + (1 - beta) * 0.5 / 0.25) + 0.05 * 4
    assert total_loss(losses, config, first).item() == pytest.approx(published)
    assert AutoencoderSettings.model_validate_json(config.model_dump_json()) == config


def test_beta_gamma_lambda_the_code_and_the_number_of_queries_are_swept_by_a_grid(tmp_path):
    plain = scenario_content()["autoencoders"]["plain"]
    del plain["structure_weight"]
    grid = {"weighting.beta": [0.0, 0.1], "weighting.gamma": [0.05], "cycle_weight": [0.0, 0.05], "latent": [2, 8],
            "num_queries": [16, 32]}  # fmt: skip
    content = scenario_content() | {"autoencoders": {"swept": plain | {"grid": grid}}}
    cells = read(tmp_path, content).autoencoders
    assert len(cells) == 16
    found = {
        (cell.structure_weight, cell.behavior_weight, cell.cycle_weight, cell.latent, cell.num_queries) for cell in cells.values()
    }
    assert len(found) == 16
    assert {cell.structure_weight for cell in cells.values()} == {0.0, 0.95 * 0.1}
    assert {cell.contrast_weight for cell in cells.values()} == {0.05}


@pytest.mark.parametrize(
    "used", [used for n in range(1, 5) for used in combinations(LOSSES, n) if used != ("cycle",)], ids="-".join
)
def test_every_combination_of_losses_trains(tmp_path, used):
    weights = {f"{name}_weight": 0.5 if name in used else 0.0 for name in LOSSES}
    data = autoencoder_data(config_of(**weights, steps=2), SPEC, checkpoints_of(planted_weights()), planted_images())
    curves = run(data, tmp_path / "state")[1].curves[0, -1]
    assert {name for name, value in zip(LOSSES, curves, strict=False) if value != 0} == set(used)
    assert curves.isfinite().all()
