"""Permutations of hidden units move weights and nothing else."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from weightspace.nets.activations import ACTIVATIONS
from weightspace.nets.forward import forward, unflatten
from weightspace.nets.spec import ARCHITECTURES, build_spec
from weightspace.nets.symmetry import permutation_map, sample_permutations

SHAPES = {"cnn": (1, 28, 28), "cnn3": (3, 32, 32), "lenet5": (3, 32, 32), "mlp": (2, 5, 4), "cnn_digits": (1, 8, 8)}
VIEWS = 3


def spec_of(architecture, activation="relu"):
    return build_spec(architecture, activation, SHAPES[architecture], 10)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def permuted_stack(spec):
    """Models, the same under a permutation each, and the maps."""
    weights = torch.randn(VIEWS, spec.num_weights) / 5
    maps = permutation_map(spec, sample_permutations(spec, VIEWS, seeded()))
    return weights, weights.gather(1, maps), maps


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_permuting_units_moves_weights_and_no_output(architecture, activation):
    spec = spec_of(architecture, activation)
    weights, permuted, _ = permuted_stack(spec)
    images = torch.randn(1, 4, *spec.image_shape)
    assert not torch.equal(permuted, weights)
    torch.testing.assert_close(forward(spec, permuted, images), forward(spec, weights, images), rtol=1e-9, atol=1e-10)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_permuting_a_layers_rows_and_not_the_next_ones_columns_does_move_outputs(architecture):
    spec = spec_of(architecture)
    weights = torch.randn(VIEWS, spec.num_weights) / 5
    images = torch.randn(1, 4, *spec.image_shape)
    wrong = weights.clone()
    for name, rows in unflatten(spec, wrong).items():
        if name.startswith(spec.layers[0].name):
            rows.copy_(rows.flip(1))
    difference = forward(spec, wrong, images) - forward(spec, weights, images)
    assert difference.abs().amax((1, 2)).min() > 1e-3


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_unit_takes_its_row_and_bias_from_the_unit_that_the_permutation_names(architecture):
    spec = spec_of(architecture)
    permutations = sample_permutations(spec, VIEWS, seeded())
    weights = torch.randn(VIEWS, spec.num_weights)
    before = unflatten(spec, weights)
    after = unflatten(spec, weights.gather(1, permutation_map(spec, permutations)))
    first = spec.layers[0]
    for view in range(VIEWS):
        for part in ("weight", "bias"):
            name = f"{first.name}.{part}"
            assert torch.equal(after[name][view], before[name][view][permutations[0][view]])
        for layer, own in zip(spec.layers, permutations, strict=False):
            assert torch.equal(after[f"{layer.name}.bias"][view], before[f"{layer.name}.bias"][view][own[view]])
        head = f"{spec.layers[-1].name}.bias"
        assert torch.equal(after[head][view], before[head][view])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_map_is_a_permutation_of_the_weights(architecture):
    spec = spec_of(architecture)
    maps = permutation_map(spec, sample_permutations(spec, VIEWS, seeded()))
    assert torch.equal(maps.sort(1).values, torch.arange(spec.num_weights).expand(VIEWS, -1))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_inverse_permutations_undo(architecture):
    spec = spec_of(architecture)
    permutations = sample_permutations(spec, VIEWS, seeded())
    weights = torch.randn(VIEWS, spec.num_weights)
    there = weights.gather(1, permutation_map(spec, permutations))
    assert not torch.equal(there, weights)
    assert torch.equal(there.gather(1, permutation_map(spec, [p.argsort(dim=1) for p in permutations])), weights)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_permutations_in_order_change_nothing(architecture):
    spec = spec_of(architecture)
    identity = [torch.arange(layer.out).expand(1, -1) for layer in spec.layers[:-1]]
    assert torch.equal(permutation_map(spec, identity), torch.arange(spec.num_weights).expand(1, -1))


def test_sampled_permutations_are_uniform_and_from_the_generator_alone():
    spec = build_spec(["flatten", "linear 3", "activation", "linear classes"], "relu", (1, 2, 2), 2)
    (sample,) = sample_permutations(spec, 6000, seeded())
    _, counts = sample.unique(dim=0, return_counts=True)
    assert len(counts) == 6
    assert (counts - 1000).abs().max() < 5 * 1000**0.5
    assert torch.equal(sample, sample_permutations(spec, 6000, seeded())[0])
    assert not torch.equal(sample, sample_permutations(spec, 6000, seeded(1))[0])


@given(st.lists(st.integers(1, 6), min_size=1, max_size=3), st.integers(1, 3), st.booleans(), st.integers(0, 99))
def test_any_widths_keep_their_outputs(widths, channels, convolution, seed):
    layers = [f"conv {channels} 2", "activation", "pool 2"] if convolution else []
    layers += ["flatten", *(layer for width in widths for layer in (f"linear {width}", "activation")), "linear classes"]
    spec = build_spec(layers, "tanh", (2, 5, 5), 3)
    weights = torch.randn(2, spec.num_weights, dtype=torch.float64, generator=seeded(seed))
    images = torch.randn(1, 3, 2, 5, 5, dtype=torch.float64, generator=seeded(seed))
    permuted = weights.gather(1, permutation_map(spec, sample_permutations(spec, 2, seeded(seed))))
    torch.testing.assert_close(forward(spec, permuted, images), forward(spec, weights, images), rtol=1e-9, atol=1e-10)
