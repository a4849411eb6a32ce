"""Samplers of codes: the published ones against their textbook form, the others by what is independent in them."""

import pytest
import torch
from weightspace.generation.samplers import SAMPLERS, draw_codes
from weightspace.generation.settings import GenerationSettings

ANCHORS, TOKENS, FEATURES = 7, 5, 3
OF_ONE_ANCHOR = ["kde_published", "kde_published_token", "kde_joint", "kde_pca"]
MANY = 40_000


def config_of(sampler, **changes):
    return GenerationSettings(autoencoder="planted", sampler=sampler, **changes)


def seeded(seed=5):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def anchors():
    return torch.randn(ANCHORS, TOKENS, FEATURES)


def of_one_density(data, num, bandwidth, generator):
    """Samples of a Gaussian kernel density of points [anchor, dimension], as the textbook has it: a point, and a shift."""
    points = torch.randint(len(data), (num,), generator=generator)
    return data[points] + bandwidth * torch.randn(num, data.shape[1], generator=generator)


# the published samplers: a density for each number or token, each sampled with the same seed


def test_the_published_sampler_is_a_density_for_each_number_all_sampled_with_one_seed(anchors):
    slow = torch.empty(9, TOKENS, FEATURES)
    for token in range(TOKENS):
        for feature in range(FEATURES):
            slow[:, token, feature] = of_one_density(anchors[:, token, [feature]], 9, 0.2, seeded()).squeeze(1)
    assert torch.equal(draw_codes(anchors, seeded(), 9, config_of("kde_published", bandwidth=0.2)).codes, slow)


def test_the_published_sampler_of_tokens_is_a_density_for_each_token_all_sampled_with_one_seed(anchors):
    slow = torch.stack([of_one_density(anchors[:, token], 9, 0.2, seeded()) for token in range(TOKENS)], dim=1)
    assert torch.equal(draw_codes(anchors, seeded(), 9, config_of("kde_published_token", bandwidth=0.2)).codes, slow)


def test_a_published_sample_is_one_anchor_plus_one_number(anchors):
    codes, parents = draw_codes(anchors, seeded(), 50, config_of("kde_published", bandwidth=0.2))
    shifts = (codes - anchors[parents]).flatten(1)
    torch.testing.assert_close(shifts, shifts[:, :1].expand_as(shifts))
    assert 0.1 < shifts[:, 0].std() < 0.3


# what is independent in the others


def places(codes, anchors):
    """For each number the anchor that it is nearest to; anchors are far apart."""
    return (codes.unsqueeze(1) - anchors).abs().argmin(1)


@pytest.mark.parametrize("sampler", ["kde_token", "kde_number"])
def test_tokens_of_an_independent_sampler_come_from_anchors_that_know_nothing_of_each_other(sampler):
    anchors = 10 * torch.arange(4.0).view(4, 1, 1).expand(4, 2, 2)
    codes = draw_codes(anchors, seeded(), MANY, config_of(sampler, bandwidth=0.1)).codes
    found = places(codes, anchors)
    pairs = torch.zeros(4, 4).index_put((found[:, 0, 0], found[:, 1, 0]), torch.ones(MANY), accumulate=True) / MANY
    torch.testing.assert_close(pairs, torch.full((4, 4), 1 / 16), rtol=0.08, atol=0)
    alike = (found[:, 0, 0] == found[:, 0, 1]).float().mean()
    assert alike == 1 if sampler == "kde_token" else abs(alike - 0.25) < 0.02


@pytest.mark.parametrize("sampler", ["kde_token", "kde_number", "kde_joint"])
def test_shifts_of_an_independent_sampler_know_nothing_of_each_other(sampler):
    one = torch.zeros(2, TOKENS, FEATURES)
    shifts = draw_codes(one, seeded(), MANY, config_of(sampler, bandwidth=0.2)).codes.flatten(1)
    correlations = torch.corrcoef(shifts.T)
    torch.testing.assert_close(correlations, torch.eye(len(correlations)), rtol=0, atol=0.03)
    torch.testing.assert_close(shifts.std(0), torch.full((len(correlations),), 0.2), rtol=0.03, atol=0)


@pytest.mark.parametrize("components", [1, 3, None])
def test_shifts_in_a_subspace_lie_in_it(anchors, components):
    flat = anchors.flatten(1)
    codes, parents = draw_codes(anchors, seeded(), 60, config_of("kde_pca", bandwidth=0.5, components=components))
    _, _, directions = torch.linalg.svd(flat - flat.mean(0), full_matrices=False)
    basis = directions[: components or ANCHORS - 1]
    shifts = codes.flatten(1) - flat[parents]
    torch.testing.assert_close(shifts @ basis.T @ basis, shifts, rtol=1e-4, atol=1e-5)
    assert torch.linalg.matrix_rank(shifts, rtol=1e-4) == len(basis)


def test_a_start_has_the_mean_and_deviation_of_the_anchors(anchors):
    codes, parents = draw_codes(anchors, seeded(), MANY, config_of("gaussian_start"))
    torch.testing.assert_close(codes.mean(0), anchors.mean(0), rtol=0, atol=0.05)
    torch.testing.assert_close(codes.std(0), anchors.std(0), rtol=0.03, atol=0)
    assert parents is None


# laws of all densities


@pytest.mark.parametrize("sampler", OF_ONE_ANCHOR)
def test_without_a_bandwidth_samples_are_anchors(anchors, sampler):
    codes, parents = draw_codes(anchors, seeded(), 30, config_of(sampler, bandwidth=0.0))
    assert torch.equal(codes, anchors[parents])
    assert len(parents.unique()) > 3


@pytest.mark.parametrize("sampler", ["kde_token", "kde_number"])
def test_without_a_bandwidth_every_number_is_that_of_an_anchor(anchors, sampler):
    codes = draw_codes(anchors, seeded(), 30, config_of(sampler, bandwidth=0.0)).codes
    assert (codes.unsqueeze(1) == anchors).any(1).all()
    whole = (codes.unsqueeze(1) == anchors).all(3).any(1)  # tokens that are those of one anchor
    assert whole.all() == (sampler == "kde_token")


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "kde_pca"])
def test_in_deviations_samples_do_not_depend_on_the_units_of_codes(anchors, sampler):
    units, config = torch.rand(TOKENS, FEATURES) * 9 + 1, config_of(sampler, bandwidth=0.3, unit="deviation")
    codes, scaled = (draw_codes(each, seeded(), 20, config).codes for each in (anchors, anchors * units))
    torch.testing.assert_close(scaled, codes * units, rtol=1e-4, atol=1e-5)


def test_in_deviations_a_subspace_is_filled_as_the_anchors_fill_it():
    anchors = torch.randn(400, 1, 2) @ torch.tensor([[3.0, 0.0], [2.0, 0.5]])
    codes, parents = draw_codes(anchors, seeded(), MANY, config_of("kde_pca", bandwidth=0.5, unit="deviation"))
    shifts = (codes - anchors[parents]).flatten(1)
    torch.testing.assert_close(torch.cov(shifts.T), 0.25 * torch.cov(anchors.flatten(1).T), rtol=0.05, atol=0.02)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_two_anchors_and_one_sample_are_enough(sampler):
    codes = draw_codes(torch.randn(2, TOKENS, FEATURES), seeded(), 1, config_of(sampler)).codes
    assert codes.shape == (1, TOKENS, FEATURES)
    assert codes.isfinite().all()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_equal_anchors_are_no_harm(sampler):
    codes = draw_codes(torch.ones(5, TOKENS, FEATURES), seeded(), 4, config_of(sampler, unit="deviation")).codes
    assert torch.equal(codes, torch.ones(4, TOKENS, FEATURES))
