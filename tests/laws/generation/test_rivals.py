"""Rivals: soups of one, ends of lines, norms of noise and covariances are what they are said to be; nothing given is changed."""

import pandas as pd
import pytest
import torch
import weightspace.generation.flow
from corner_images import planted_images
from weightspace.coded import CodedZoo
from weightspace.errors import InputError
from weightspace.generation.flow import flow_samples
from weightspace.generation.rival_settings import RivalSettings
from weightspace.generation.rivals import RIVALS, by_closeness, deviations, gaussian, noised, noised_by, pca_gaussian, principal
from weightspace.nets.between import aligned_to_first, interpolate, soup
from weightspace.nets.forward import learned, unflatten
from weightspace.nets.spec import build_spec
from weightspace.nets.symmetry import permutation_map, sample_permutations

PLAIN = ["conv 3 3", "activation", "flatten", "linear 5", "activation", "linear classes"]
NORMED = ["conv 3 3", "batch_norm", "activation", "flatten", "linear classes"]
NUMBERS = {"noise": {"size": 0.1}, "soup": {"members": 3}}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def random_weights(spec, num, seed=0):
    weights = torch.randn(num, spec.num_weights, generator=generator(seed)) / 2
    for name, tensor in unflatten(spec, weights).items():
        if name.endswith("running_var"):
            tensor.copy_(tensor.square() + 0.5)
    return weights


def planted(num=5, anchors=None, layers=PLAIN):
    """A zoo with random weights, whose code halves them."""
    spec = build_spec(layers, "relu", (1, 6, 6), 3)
    weights = random_weights(spec, num)
    about = pd.DataFrame({"model": range(num), "init": "kaiming_uniform"})
    return CodedZoo(
        spec, weights, about, weights, about, planted_images(), torch.arange(num) if anchors is None else torch.tensor(anchors),
        lambda weights: weights.unsqueeze(1), lambda code: code.squeeze(1) / 2, lambda weights: weights,
    )  # fmt: skip


def made(problem, kind, num=4, seed=0, **settings):
    config = RivalSettings(generation="planted", kind=kind, num=num, **NUMBERS.get(kind, {}) | settings)
    return RIVALS[kind](problem, config, generator(seed))


def copies(spec, network, num):
    """One network in several orders of its units."""
    every = network.repeat(num, 1)
    return every.gather(1, permutation_map(spec, sample_permutations(spec, num, generator(1))))


@pytest.mark.parametrize("layers", [PLAIN, NORMED])
@pytest.mark.parametrize("kind", [kind for kind in RIVALS if kind != "flow"])
def test_each_rival_makes_as_many_float32_networks_and_leaves_the_zoo_as_it_is(kind, layers):
    problem = planted(layers=layers)
    before = problem.train.clone()
    for num in (1, 4, 7):
        networks = made(problem, kind, num)
        assert networks.shape == (num, problem.spec.num_weights)
        assert networks.dtype == torch.float32
        assert networks.isfinite().all()
    assert torch.equal(problem.train, before)
    assert torch.equal(made(problem, kind), made(problem, kind))


def test_anchors_come_from_the_anchors_alone_and_all_of_them_before_one_comes_twice():
    problem = planted(anchors=[1, 3, 4])
    first, again = made(problem, "anchors", 6).split(3)
    assert torch.equal(first, again)
    assert {tuple(each) for each in first.tolist()} == {tuple(each) for each in problem.anchor_weights.tolist()}


def test_reconstructions_are_decoded_codes_and_equal_noise_is_as_far_away():
    problem = planted(num=1, layers=NORMED)
    assert torch.equal(made(problem, "reconstructions", 1), problem.train / 2)
    counted = learned(problem.spec)
    difference = made(problem, "equal_noise", 3) - problem.train
    torch.testing.assert_close(difference.norm(dim=1), (problem.train[:, counted] / 2).norm(dim=1).expand(3))
    assert not difference[:, ~counted].any()


# noise


def test_deviations_are_those_of_each_parameter_tensor_and_0_of_running_statistics():
    problem = planted(layers=NORMED)
    found = unflatten(problem.spec, deviations(problem.spec, problem.train))
    for parameter, tensor in zip(problem.spec.parameters, unflatten(problem.spec, problem.train).values(), strict=True):
        for own, network in zip(found[parameter.name], tensor, strict=True):
            expected = network.std(correction=0) if parameter.learned else torch.tensor(0.0)
            torch.testing.assert_close(own, expected.expand_as(own))


def test_noise_has_the_deviation_that_its_size_says():
    weights, unit = torch.zeros(1, 200_000), torch.tensor([[1.0, 3.0]]).repeat_interleave(100_000, 1)
    for half, expected in zip(noised(weights, unit, 0.2, generator())[0].split(100_000), (0.2, 0.6), strict=True):
        assert half.std() == pytest.approx(expected, rel=0.01)
        assert abs(half.mean()) < 0.01
    absolute = made(planted(), "noise", 5, size=0.04, unit="one") - made(planted(), "anchors", 5)
    assert absolute.std() == pytest.approx(0.04, rel=0.1)


def test_noise_of_a_norm_has_that_norm_and_of_none_is_none():
    weights, norms = torch.randn(3, 50, generator=generator()), torch.tensor([0.5, 0.0, 7.0])
    moved = noised_by(weights, torch.rand(3, 50, generator=generator(1)), norms, generator())
    torch.testing.assert_close((moved - weights).norm(dim=1), norms)
    still = noised_by(weights, torch.zeros(3, 50), norms, generator())
    assert torch.equal(still, weights)


# soups and lines


def test_a_soup_of_one_is_the_network_itself():
    weights = random_weights(planted().spec, 4).unsqueeze(1)
    assert torch.equal(soup(weights), weights[:, 0])
    assert torch.equal(soup(aligned_to_first(planted().spec, weights)), weights[:, 0])


@pytest.mark.parametrize("size", [2, 4])
def test_an_aligned_soup_of_permuted_copies_is_the_network_and_a_raw_one_is_not(size):
    spec = planted().spec
    group = copies(spec, random_weights(spec, 1), size).unsqueeze(0)
    torch.testing.assert_close(soup(aligned_to_first(spec, group)), group[:, 0])
    assert (soup(group) - group[:, 0]).abs().max() > 0.1


def test_a_soup_is_of_different_anchors_and_too_few_are_named():
    problem = planted(anchors=[0, 2, 3])
    torch.testing.assert_close(made(problem, "soup", 1, aligned=False), problem.anchor_weights.mean(0, keepdim=True))
    with pytest.raises(InputError, match="4 networks .* there are 3"):
        made(problem, "soup", members=4)


def test_a_soup_keeps_mean_statistics_unless_they_are_measured_anew():
    problem = planted(layers=NORMED)._replace(with_statistics=lambda weights: torch.full_like(weights, 7.0))
    assert (made(problem, "soup") == 7.0).all()
    assert not (made(problem, "soup", reset=False) == 7.0).any()


def test_a_line_begins_and_ends_at_its_ends():
    ours, theirs = random_weights(planted().spec, 2).split(1)
    line = interpolate(ours, theirs, torch.tensor([0.0, 1.0]))[0]
    assert torch.equal(line, torch.cat([ours, theirs]))


def test_the_best_point_of_an_aligned_line_between_copies_is_the_network():
    problem = planted(num=2)
    problem = problem._replace(train=copies(problem.spec, problem.train[:1], 2))
    for network in made(problem, "line", 3):
        assert min((network - each).abs().max() for each in problem.train) < 1e-6


def test_a_line_goes_to_the_nearest_and_of_a_drawn_again_anchor_to_the_next():
    points = torch.tensor([[0.0], [1.0], [1.0], [10.0]])
    assert by_closeness(points).tolist() == [[1, 2, 3], [2, 0, 3], [1, 0, 3], [1, 2, 0]]
    with pytest.raises(InputError, match="two anchors"):
        made(planted(num=1), "line")


# distributions


def test_a_gaussian_of_each_weight_has_means_and_deviations_and_no_covariance(float64):
    weights = torch.randn(400, 1, generator=generator()) * torch.tensor([[1.0, 2.0, 0.0]]) + 3.0
    drawn = gaussian(weights, 40_000, generator())
    torch.testing.assert_close(drawn.mean(0), weights.mean(0), atol=0.05, rtol=0.01)
    torch.testing.assert_close(drawn.std(0), weights.std(0), atol=1e-9, rtol=0.02)
    assert abs(torch.corrcoef(drawn[:, :2].T)[0, 1]) < 0.02


def test_a_pca_gaussian_with_all_directions_has_the_covariance(float64):
    weights = torch.randn(6, 10, generator=generator())
    found = principal(weights)
    torch.testing.assert_close(found.directions.T @ found.directions, torch.cov(weights.T))
    torch.testing.assert_close(found.weights(found.coordinates), weights)
    torch.testing.assert_close(torch.cov(found.coordinates.T), torch.eye(5), atol=1e-9, rtol=0)
    drawn = pca_gaussian(weights, 40_000, generator())
    torch.testing.assert_close(torch.cov(drawn.T), torch.cov(weights.T), atol=0.05, rtol=0)


@pytest.mark.parametrize("kind", ["gaussian", "pca_gaussian", "flow"])
def test_of_one_model_or_of_duplicates_a_distribution_is_that_model(kind):
    problem = planted(num=1)
    for train in (problem.train, problem.train.repeat(4, 1)):
        torch.testing.assert_close(made(problem._replace(train=train), kind), problem.train.expand(4, -1))


@pytest.mark.slow
def test_a_flow_finds_two_clusters_that_a_gaussian_does_not(monkeypatch):
    monkeypatch.setattr(weightspace.generation.flow, "STEPS", 400)
    data = torch.tensor([[-2.0, 0.0], [2.0, 0.0]]).repeat(50, 1) + 0.1 * torch.randn(100, 2, generator=generator())
    made = flow_samples(data, 200, generator())
    assert (made[:, 0].abs() > 1).float().mean() > 0.9
    assert 0.3 < (made[:, 0] > 0).float().mean() < 0.7
