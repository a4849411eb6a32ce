"""Each control differs from the original by exactly the error asked for, in its own way."""

from itertools import pairwise

import pytest
import torch
from weightspace.errors import InputError
from weightspace.predictor.equal_error import KINDS, at_equal_error, low_pass, noise, shrunk, truncated
from weightspace.predictor.kernels import layout_of, to_kernels
from weightspace.predictor.spectra import grid_of, high_frequency_share
from weightspace.rng import generator_for

SHAPES = {
    "conv1.weight": (8, 3, 3, 3),
    "conv2.weight": (6, 8, 5, 5),
    "conv3.weight": (7, 6, 1, 1),
    "linear4.weight": (9, 60),  # blocks of 25, 25 and 10
    "linear5.weight": (1, 7),
}
LAYOUT = layout_of(SHAPES, None, True)
MODELS = 3


def stacks(relative_error=0.1, dtype=torch.float32):
    originals = {name: torch.randn(MODELS, *shape, dtype=dtype) for name, shape in SHAPES.items()}
    scale = relative_error * torch.tensor([1.0, 0.5, 0.2], dtype=dtype)
    changed = {name: w + torch.randn_like(w) * scale.view(-1, *[1] * (w.ndim - 1)) for name, w in originals.items()}
    return originals, changed


def ranks():
    pieces = [torch.stack([torch.randperm(part.num_kernels) + part.begin for _ in range(MODELS)]) for part in LAYOUT.parts]
    return torch.cat(pieces, 1)


def generators(models=range(MODELS)):
    return [generator_for("control", model) for model in models]


def distance(ours, theirs):
    return (ours - theirs).double().flatten(1).norm(dim=1)


@pytest.mark.parametrize(("relative_error", "dtype"), [(0.5, torch.float32), (0.5, torch.float64), (1e-4, torch.float64)])
@pytest.mark.parametrize("kind", KINDS)
def test_every_layer_of_every_model_has_the_error_of_the_predicted_one(kind, relative_error, dtype):
    originals, predicted = stacks(relative_error, dtype)
    changed = at_equal_error(kind, LAYOUT, originals, predicted, ranks(), generators())
    assert changed.keys() == SHAPES.keys()
    for name, weights in originals.items():
        assert torch.allclose(distance(changed[name], weights), distance(predicted[name], weights), rtol=1e-5, atol=0)
        assert (changed[name].shape, changed[name].dtype) == (weights.shape, weights.dtype)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stack_is_changed_as_each_of_its_models_alone(kind):
    (originals, predicted), rank = stacks(), ranks()
    whole = at_equal_error(kind, LAYOUT, originals, predicted, rank, generators())
    for model in range(MODELS):
        own = slice(model, model + 1)
        pair = ({n: w[own] for n, w in originals.items()}, {n: w[own] for n, w in predicted.items()})
        alone = at_equal_error(kind, LAYOUT, *pair, rank[own], generators([model]))
        assert all(torch.allclose(alone[name], whole[name][own], atol=1e-6) for name in SHAPES)


@pytest.mark.parametrize("kind", KINDS)
def test_no_error_is_no_change(kind):
    originals, _ = stacks()
    changed = at_equal_error(kind, LAYOUT, originals, originals, ranks(), generators())
    assert all(torch.allclose(changed[name], weights, rtol=0, atol=2e-6) for name, weights in originals.items())


@pytest.mark.parametrize("kind", ["truncated", "low_pass"])
def test_an_error_above_the_norm_leaves_nothing(kind):
    originals, _ = stacks()
    beyond = {name: 3 * weights for name, weights in originals.items()}
    changed = at_equal_error(kind, LAYOUT, originals, beyond, ranks(), generators())
    assert all(weights.abs().max() < 1e-6 for weights in changed.values())


def test_other_kinds_are_refused():
    with pytest.raises(InputError, match="there is no control 'blur' at equal error, only noise, truncated, shrunk, low_pass"):
        at_equal_error("blur", LAYOUT, *stacks(), ranks(), generators())


def test_noise_has_zero_mean_over_draws_and_no_direction():
    draws = 4000
    error = torch.full((draws,), 2.0, dtype=torch.float64)
    changes = noise(torch.zeros(draws, 2, 3), error, [generator_for(n) for n in range(draws)]).flatten(1)
    deviation = 2 / 6**0.5  # of each number
    assert (changes.mean(0).abs() < 5 * deviation / draws**0.5).all()
    covariance = changes.T @ changes / draws
    assert torch.allclose(covariance, deviation**2 * torch.eye(6), atol=6 * deviation**2 / draws**0.5)


def test_shrinking_leaves_the_direction():
    weights = torch.randn(2, 5, 4)
    smaller = shrunk(weights, weights.flatten(1).norm(dim=1) / 4)
    assert torch.allclose(smaller, 0.75 * weights)
    assert torch.equal(shrunk(torch.zeros(1, 3), torch.ones(1)), torch.zeros(1, 3))


@pytest.mark.parametrize("rank", [0, 1, 3, 7])
def test_truncation_at_the_error_of_a_rank_is_the_best_matrix_of_that_rank(rank):
    weights = torch.randn(2, 8, 4, 3, 3, dtype=torch.float64)
    left, values, right = torch.linalg.svd(weights.flatten(2), full_matrices=False)
    best = (left[..., :rank] * values[:, None, :rank]) @ right[:, :rank]
    result = truncated(weights, values[:, rank:].square().sum(1).sqrt())
    assert torch.allclose(result.flatten(2), best, atol=1e-7)


def test_truncation_between_two_ranks_shrinks_one_singular_value_only():
    weights = torch.randn(1, 8, 30, dtype=torch.float64)
    values = torch.linalg.svdvals(weights)[0]
    error = (values[6:].square().sum() + (0.3 * values[5]) ** 2).sqrt()
    after = torch.linalg.svdvals(truncated(weights, error.view(1)))[0]
    expected = torch.cat([values[:5], 0.7 * values[5:6], torch.zeros(2, dtype=torch.float64)])
    assert torch.allclose(after.sort().values, expected.sort().values, atol=1e-7)


@pytest.mark.parametrize("layer", range(4))
def test_low_pass_takes_high_frequencies_in_the_ranks_order_first(layer):
    part = LAYOUT.parts[layer]
    kernels = to_kernels(LAYOUT, stacks()[0])[:, part.rows].double()
    rank = ranks()[:, part.rows] - part.begin
    norm = kernels.flatten(1).norm(dim=1)
    shares, lost = [], []
    for share in (0.0, 0.2, 0.4, 0.6, 0.98):
        smooth = low_pass(part, kernels, LAYOUT.mask[part.rows], rank, share * norm)
        shares.append(high_frequency_share(grid_of(part, smooth, rank)))
        lost.append((smooth - kernels).flatten(1).norm(dim=1) / norm)
    expected = torch.tensor([0.0, 0.2, 0.4, 0.6, 0.98], dtype=torch.float64)
    assert torch.allclose(torch.stack(lost), expected.unsqueeze(1), atol=1e-9)
    assert all((after < before).all() for before, after in pairwise(shares[:-1]))
    if len(LAYOUT.mask[part.rows].unique(dim=0)) == 1:  # padding of some kernels cuts waves off
        assert (shares[-1] < 1e-12).all()


def test_low_pass_leaves_a_slow_wave_and_takes_a_fast_one():
    (part,) = layout_of({"conv1.weight": (16, 16, 3, 3)}, None, False).parts
    row, column = torch.arange(16, dtype=torch.float64)[:, None], torch.arange(16, dtype=torch.float64)
    slow, fast = (torch.cos(2 * torch.pi * waves * (row + column) / 16).reshape(1, 256, 1).expand(1, 256, 9) for waves in (1, 6))
    rank = torch.randperm(256).unsqueeze(0)
    planted = (slow + fast)[:, rank[0]]  # what lies at a kernel's rank
    mask = torch.ones(256, 9, dtype=torch.bool)
    assert torch.allclose(low_pass(part, planted, mask, rank, fast.flatten(1).norm(dim=1)), slow[:, rank[0]], atol=1e-7)
