"""Permutations of hidden units move weights and nothing else."""

import pytest
import torch
from architectures import RESNETS, TRANSFORMERS, spec_of
from hypothesis import given
from hypothesis import strategies as st
from weightspace.nets.activations import ACTIVATIONS
from weightspace.nets.forward import forward, unflatten
from weightspace.nets.spec import ARCHITECTURES, build_spec
from weightspace.nets.steps import Training
from weightspace.nets.symmetry import permutation_map, permuted, sample_permutations, symmetry_of

VIEWS = 3


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def permuted_stack(spec):
    """Models, the same under a permutation each, and the maps."""
    weights = torch.randn(VIEWS, spec.num_weights) / 5
    maps = permutation_map(spec, sample_permutations(spec, VIEWS, seeded()))
    return weights, weights.gather(1, maps), maps


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, "resnet8", "resnet20_a", "vit_digits"])
def test_places_of_a_map_are_those_of_the_whole_map(architecture):
    spec = spec_of(architecture)
    permutations = sample_permutations(spec, VIEWS, seeded())
    maps = permutation_map(spec, permutations)
    index = torch.randint(spec.num_weights, (VIEWS, 50, 7), generator=seeded(1))
    index.view(-1)[:2] = torch.tensor([0, spec.num_weights - 1])
    assert torch.equal(permuted(spec, permutations, index).flatten(1), maps.gather(1, index.flatten(1)))


@pytest.mark.slow
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


ODD = {  # layers before the last one, and the sizes of what is permuted
    "groups": (["conv 6 3 1", "activation", "conv 9 3 1 1 3", "activation", "conv 5 3", "flatten"], [3, 2, 3, 5]),
    "groups in a row": (
        ["conv 8 3 1", "activation", "conv 8 3 1 1 2", "activation", "conv 12 3 1 1 4", "activation", "flatten"],
        [2, 4, 2, 2, 3],
    ),
    "groups that do not divide each other": (
        ["conv 6 3 1", "conv 6 1 0 1 2", "conv 6 1 0 1 3", "conv 4 1", "flatten"],
        [3, 2, 4],
    ),
    "groups of the image's channels": (["conv 8 3 1 1 2", "activation", "mean"], [4]),
    "depthwise": (
        ["conv 6 3", "batch_norm", "activation", "conv 6 3 1 1 6", "batch_norm", "activation", "conv 5 1", "mean"],
        [6, 5],
    ),
    "depthwise, two each": (["conv 4 3", "activation", "conv 8 3 1 2 4", "activation", "flatten", "linear 6"], [4, 2, 6]),
    "a branch of the image": (["branch", "conv 5 3 1", "activation", "conv 4 3 1", "add", "activation", "mean"], [5]),
    "branches in branches": (
        [
            "conv 6 3 1",
            "branch",
            "conv 6 3 1",
            "activation",
            "branch",
            "conv 7 1",
            "conv 6 1",
            "add",
            "add",
            "activation",
            "mean",
        ],
        [6, 7],
    ),
    "a branch whose groups are half as many": (
        ["conv 8 1", "branch", "conv 8 3 1 1 4", "activation", "conv 8 3 1 1 2", "add", "activation", "flatten"],
        [2, 2, 2, 2],
    ),
    "a shortcut in groups": (
        ["conv 4 1", "branch", "conv 6 3 1 2 2", "batch_norm", "add", "activation", "conv 3 1", "flatten"],
        [2, 2, 3, 3],
    ),
    "norms and average pools": (
        [
            "conv 5 3 1",
            "layer_norm",
            "activation",
            "avg_pool 3 1 2",
            "conv 4 3 1 2",
            "flatten",
            "layer_norm",
            "linear 7",
            "layer_norm",
        ],
        [5, 4, 7],
    ),
    "dropout and overlapping pools": (["conv 5 3", "pool 3 1 2", "dropout 0.5", "activation", "flatten", "dropout 0.2"], [5]),
    "channels of zeros": (
        ["conv 4 3 1", "branch", "conv 6 3 1 2", "activation", "conv 7 3 1", "batch_norm", "add_padded", "conv 5 1", "mean"],
        [6, 5],
    ),
    "pixels left out": (
        ["conv 4 3 1", "branch", "conv 6 3 1 2", "activation", "conv 4 3 1", "add_padded", "conv 5 1", "mean"],
        [4, 6, 5],
    ),
    "attention": (["conv 5 2", "sequence", "position_embedding", "linear 18", "attention 2", "mean"], [5, 2, 3]),
    "attention in one head": (["sequence", "linear 6", "attention 1", "linear 7", "activation", "mean"], [2, 7]),
    "heads of one feature": (["sequence", "linear 12", "attention 4", "linear 7", "layer_norm", "mean"], [4, 7]),
    "attention after attention": (["conv 7 2", "sequence", "linear 18", "attention 2", "attention 1", "mean"], [7]),
    "attention of groups": (["conv 8 3 1", "conv 12 3 1 1 2", "sequence", "attention 2", "linear 3", "mean"], [4, 3]),
    "a branch around attention": (
        ["conv 8 3 1", "sequence", "branch", "layer_norm", "linear 24", "attention 4", "add", "linear 5", "mean"],
        [4, 2, 5],
    ),
    "batch norm of the image": (["batch_norm", "conv 5 3", "activation", "batch_norm", "flatten"], [5]),
}


def any_spec(name):
    """A shipped network, or an odd one."""
    if name in ODD:
        return build_spec([*ODD[name][0], "linear classes"], "gelu", (4, 7, 6), 3)
    return spec_of(name, "gelu", 3)


def random_weights(spec, num):
    """Weights of order 1, whatever they are; variances are positive."""
    weights = torch.randn(num, spec.num_weights)
    for parameter in spec.parameters:
        tensor = unflatten(spec, weights)[parameter.name]
        tensor.copy_(tensor.square() + 0.5 if parameter.name.endswith("running_var") else tensor)
        if len(parameter.shape) > 1:
            tensor.div_(tensor[0][0].numel() ** 0.5)
    return weights


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", [*ARCHITECTURES, *(name for name in RESNETS if "cifar" not in name), *TRANSFORMERS, *ODD])
def test_permuting_units_of_any_network_moves_its_weights_and_no_output(name):
    spec = any_spec(name)
    weights = random_weights(spec, 2)
    maps = permutation_map(spec, sample_permutations(spec, 2, seeded(1)))
    assert torch.equal(maps.sort(1).values, torch.arange(spec.num_weights).expand(2, -1))
    permuted, images = weights.gather(1, maps), torch.randn(1, 4, *spec.image_shape)
    assert (permuted != weights).any(1).all()
    for training in (Training(), Training({})):  # running statistics, and the batch's
        ours, theirs = (forward(spec, stack, images, training=training) for stack in (permuted, weights))
        assert theirs.std() > 1e-3
        assert (ours - theirs).abs().max() <= 1e-9 * theirs.abs().max()


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", ["resnet8", "vit_digits", *ODD])
def test_each_level_alone_moves_weights_and_no_output(name):
    spec = any_spec(name)
    weights, images = random_weights(spec, 1), torch.randn(1, 4, *spec.image_shape)
    before, symmetry = forward(spec, weights, images), symmetry_of(spec)
    levels = [n for n, level in enumerate(symmetry.free) if symmetry.sizes[level] > 1]
    for n in levels[:8]:
        turned = [torch.arange(symmetry.sizes[level]).unsqueeze(0) for level in symmetry.free]
        turned[n] = turned[n].roll(1, 1)
        permuted = weights.gather(1, permutation_map(spec, turned))
        assert not torch.equal(permuted, weights)
        torch.testing.assert_close(forward(spec, permuted, images), before, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ODD)
def test_what_moves_together_is_one_permutation(name):
    symmetry = symmetry_of(any_spec(name))
    assert [symmetry.sizes[level] for level in symmetry.free if symmetry.sizes[level] > 1] == ODD[name][1]


@pytest.mark.parametrize("architecture", RESNETS)
def test_a_residual_network_has_a_permutation_for_each_width_and_each_block(architecture):
    spec = any_spec(architecture)
    symmetry, widths = symmetry_of(spec), {layer.out for layer in spec.layers[:-1]}
    tied = 0 if architecture.endswith("_a") else len(widths)  # channels of zeros say which channels of a sum are which
    assert len(symmetry.free) == tied + sum(op.kind.startswith("add") for op in spec.ops)


@pytest.mark.parametrize(("architecture", "sizes"), [("vit", [64, *[4, 16, 256] * 4]), ("vit_digits", [16, *[2, 8, 64] * 2])])
def test_a_transformer_has_a_permutation_for_its_width_its_heads_and_its_units(architecture, sizes):
    symmetry = symmetry_of(any_spec(architecture))
    assert [symmetry.sizes[level] for level in symmetry.free] == sizes


@pytest.mark.slow
@given(st.lists(st.integers(1, 6), min_size=1, max_size=3), st.integers(1, 3), st.booleans(), st.integers(0, 99))
def test_any_widths_keep_their_outputs(widths, channels, convolution, seed):
    layers = [f"conv {channels} 2", "activation", "pool 2"] if convolution else []
    layers += ["flatten", *(layer for width in widths for layer in (f"linear {width}", "activation")), "linear classes"]
    spec = build_spec(layers, "tanh", (2, 5, 5), 3)
    weights = torch.randn(2, spec.num_weights, dtype=torch.float64, generator=seeded(seed))
    images = torch.randn(1, 3, 2, 5, 5, dtype=torch.float64, generator=seeded(seed))
    permuted = weights.gather(1, permutation_map(spec, sample_permutations(spec, 2, seeded(seed))))
    torch.testing.assert_close(forward(spec, permuted, images), forward(spec, weights, images), rtol=1e-9, atol=1e-10)
