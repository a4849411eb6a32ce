"""Measures of smoothness give the planted answer: rank one, constant, checkerboard, sorted."""

import pytest
import torch
from weightspace.predictor.kernels import layout_of, to_kernels
from weightspace.predictor.spectra import (
    frequency,
    grid_of,
    high_frequency_share,
    largest_share,
    largest_tenth_share,
    measure_layers,
    neighbor_cosine,
    singular_values,
    stable_rank,
)


def test_a_matrix_of_rank_one_has_all_its_spectrum_in_one_value():
    values = singular_values(torch.randn(3, 16, 1, 1, 1) * torch.randn(3, 1, 4, 3, 3))
    assert values.shape == (3, 16)
    for measure in (largest_share, largest_tenth_share, stable_rank):
        assert measure(values).tolist() == pytest.approx([1, 1, 1], rel=1e-5)


def test_an_orthogonal_matrix_has_its_spectrum_spread_evenly():
    weights = torch.linalg.qr(torch.randn(1, 40, 40, dtype=torch.float64)).Q
    values = singular_values(weights)
    assert largest_share(values).item() == pytest.approx(1 / 40)
    assert largest_tenth_share(values).item() == pytest.approx(4 / 40)
    assert stable_rank(values).item() == pytest.approx(40)


def test_a_tenth_of_the_values_is_rounded_up():
    values = torch.tensor([[4.0, 3.0, 2.0, 1.0]])
    assert largest_tenth_share(values).item() == pytest.approx(0.4)
    assert largest_tenth_share(torch.ones(25)).item() == pytest.approx(3 / 25)
    assert stable_rank(values).item() == pytest.approx(30 / 16)


@pytest.mark.parametrize(("filters", "channels"), [(8, 6), (16, 16), (2, 4)])
def test_a_constant_grid_has_no_high_frequency_and_a_checkerboard_has_nothing_else(filters, channels):
    constant = torch.randn(9).expand(filters, channels, 9)
    sign = (-1.0) ** (torch.arange(filters)[:, None] + torch.arange(channels))
    assert high_frequency_share(constant) < 1e-12
    assert high_frequency_share(constant * sign.unsqueeze(-1)) > 1 - 1e-12


@pytest.mark.parametrize(("waves", "share"), [(2, 0), (4, 0), (5, 1), (8, 1)])
def test_half_nyquist_lies_at_a_quarter_of_a_wave_per_kernel(waves, share):
    along = torch.cos(2 * torch.pi * waves * torch.arange(16) / 16)
    for grid in (along[:, None].expand(16, 5), along.expand(5, 16)):
        assert high_frequency_share(grid.unsqueeze(-1)).item() == pytest.approx(share, abs=1e-10)


def test_white_noise_has_the_share_of_frequencies_that_are_high():
    high = (frequency(64, 64) > 0.25).double().mean()
    assert high_frequency_share(torch.randn(64, 64, 9)).item() == pytest.approx(high.item(), abs=0.01)


def slow_cosine(grid):
    """Pair by pair."""
    cosines = []
    for f in range(len(grid)):
        for c in range(len(grid[0])):
            for g, d in ((f + 1, c), (f, c + 1)):
                if g < len(grid) and d < len(grid[0]):
                    cosines.append(torch.nn.functional.cosine_similarity(grid[f, c], grid[g, d], dim=0))
    return torch.stack(cosines).mean()


def test_neighbor_cosine_equals_a_loop_over_pairs():
    grid = torch.randn(3, 4, 5, 9, dtype=torch.float64)
    assert torch.allclose(neighbor_cosine(grid), torch.stack([slow_cosine(own) for own in grid]))


def test_equal_directions_have_cosine_one_and_zero_kernels_none():
    grid = torch.rand(4, 5, 1) * torch.randn(9)
    assert neighbor_cosine(grid).item() == pytest.approx(1)
    assert neighbor_cosine(torch.zeros(4, 5, 9)) == 0
    assert neighbor_cosine(grid[:1, :1]).isnan()


def test_a_kernel_lies_where_its_rank_says():
    (part,) = layout_of({"conv1.weight": (4, 3, 3, 3)}, None, False).parts
    kernels = torch.randn(2, 12, 9)
    rank = torch.stack([torch.randperm(12), torch.randperm(12)])
    grid = grid_of(part, kernels, rank)
    for model in range(2):
        for n in range(12):
            assert torch.equal(grid[model].flatten(0, 1)[rank[model, n]], kernels[model, n])


def test_layers_are_measured_apart_and_sorting_them_lowers_high_frequencies():
    shapes = {"conv1.weight": (8, 8, 3, 3), "conv2.weight": (6, 8, 1, 1), "linear3.weight": (5, 20)}
    layout = layout_of(shapes, None, True)
    parameters = {name: torch.randn(3, *shape) for name, shape in shapes.items()}
    means = to_kernels(layout, parameters).sum(-1)
    rank = torch.empty(means.shape, dtype=torch.long)
    for part in layout.parts:
        rank[:, part.rows] = means[:, part.rows].argsort(-1).argsort(-1) + part.begin
    measures = measure_layers(layout, parameters, rank)
    assert list(measures) == list(shapes)
    for name, weights in parameters.items():
        assert torch.allclose(measures[name]["stable_rank"], stable_rank(singular_values(weights)))
    before, after = (measures["conv2.weight"][f"high_frequency_share{suffix}"] for suffix in ("", "_ordered"))
    assert (after < before).all()
    assert (measures["conv2.weight"]["neighbor_cosine_ordered"] > measures["conv2.weight"]["neighbor_cosine"]).all()
