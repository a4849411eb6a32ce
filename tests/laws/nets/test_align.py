"""Alignment permutes units and changes no output; a permuted copy is found again; the objective never falls."""

from itertools import permutations, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from weightspace.errors import InputError
from weightspace.nets.align import align, cosine, objective
from weightspace.nets.forward import flatten, forward, unflatten
from weightspace.nets.spec import ARCHITECTURES, RESIDUAL_ARCHITECTURES, build_spec
from weightspace.nets.symmetry import permutation_map, sample_permutations, symmetry_of

SHIPPED = ARCHITECTURES | RESIDUAL_ARCHITECTURES
MOST_WEIGHTS = 300_000  # of the shipped networks that are tried
ODD = {
    "groups": ["conv 6 3 1", "activation", "conv 9 3 1 1 3", "activation", "conv 5 3", "flatten", "linear classes"],
    "groups in a row": [
        "conv 8 3 1",
        "conv 8 3 1 1 2",
        "activation",
        "conv 12 3 1 1 4",
        "activation",
        "flatten",
        "linear classes",
    ],
    "norms": ["conv 5 3 1", "layer_norm", "activation", "conv 4 3 1 2", "batch_norm", "flatten", "linear 7", "linear classes"],
    "branches": ["conv 6 3 1", "branch", "conv 5 3 1", "conv 6 1", "batch_norm", "add", "activation", "mean", "linear classes"],
    "one axis and the other": ["conv 6 3 1", "branch", "conv 6 3 1", "activation", "add", "activation", "mean", "linear classes"],
}  # in the last one the units of a convolution are those that it reads
FOUND_AGAIN = ["groups", "groups in a row", "norms", "branches"]


def spec_of(name, activation="gelu"):
    if name in ODD:
        return build_spec(ODD[name], activation, (2, 6, 5), 3)
    shape = (1, 8, 8) if name in ("mlp", "resnet8") or name.endswith("_digits") else (3, 32, 32)
    return build_spec(name, activation, shape, 10)


def mlp(*widths, inputs=3):
    layers = [layer for width in widths for layer in (f"linear {width}", "activation")]
    return build_spec(["flatten", *layers, "linear classes"], "relu", (1, 1, inputs), 2)


def random_weights(spec, num, seed=0):
    """Weights of order 1 per unit; variances are positive."""
    weights = torch.randn(num, spec.num_weights, generator=torch.Generator().manual_seed(seed))
    for name, tensor in unflatten(spec, weights).items():
        if name.endswith("running_var"):
            tensor.copy_(tensor.square() + 0.5)
        elif tensor.dim() > 2:
            tensor.div_(tensor[0, 0].numel() ** 0.5)
    return weights


def scrambled(spec, weights, seed=1):
    """Each network with its units in another order."""
    generator = torch.Generator().manual_seed(seed)
    return weights.gather(1, permutation_map(spec, sample_permutations(spec, len(weights), generator)))


# planted answers


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0, 1e-2])
@pytest.mark.parametrize("name", [*(each for each in SHIPPED if spec_of(each).num_weights <= MOST_WEIGHTS), *FOUND_AGAIN])
def test_a_permuted_copy_plus_noise_is_found_again(name, noise):
    spec = spec_of(name)
    original = random_weights(spec, 2)
    noisy = original + noise * random_weights(spec, 2, seed=7)
    aligned = align(spec, scrambled(spec, noisy), original)
    assert not torch.equal(scrambled(spec, noisy), noisy)
    assert torch.equal(aligned.weights, noisy)


@pytest.mark.parametrize("name", ["cnn_digits", "mlp", "norms"])
def test_of_many_permuted_copies_each_comes_back_to_the_one_reference(name):
    spec = spec_of(name)
    original = random_weights(spec, 1)
    copies = scrambled(spec, original.expand(16, -1))
    assert len(copies.unique(dim=0)) == 16
    assert torch.equal(align(spec, copies, original).weights, original.expand(16, -1))


def test_a_network_that_is_aligned_already_stays_as_it_is():
    spec = spec_of("cnn_digits")
    weights = random_weights(spec, 3)
    for ours in (weights, weights + 0.1 * random_weights(spec, 3, seed=1)):
        aligned = align(spec, ours, weights)
        assert torch.equal(aligned.weights, ours)
        assert torch.equal(aligned.maps, torch.arange(spec.num_weights).expand(3, -1))


# what does not change


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", ["cnn_digits", "resnet8", *ODD])
def test_aligning_moves_weights_and_no_output(name):
    spec = spec_of(name)
    ours, theirs = random_weights(spec, 2), random_weights(spec, 2, seed=5)
    aligned, images = align(spec, ours, theirs), torch.randn(1, 4, *spec.image_shape)
    before = forward(spec, ours, images)
    assert not torch.equal(aligned.weights, ours)
    assert torch.equal(ours.gather(1, aligned.maps), aligned.weights)
    assert torch.equal(aligned.maps.sort(1).values, torch.arange(spec.num_weights).expand(2, -1))
    assert (forward(spec, aligned.weights, images) - before).abs().max() <= 1e-9 * before.abs().max()


def test_running_statistics_move_with_their_units_and_count_nothing():
    spec = spec_of("resnet8")
    ours, theirs = random_weights(spec, 2), random_weights(spec, 2, seed=5)
    changed = ours.clone()
    for name, tensor in unflatten(spec, changed).items():
        if "running" in name:
            tensor.mul_(1000)
    assert torch.equal(align(spec, changed, theirs).maps, align(spec, ours, theirs).maps)
    assert torch.equal(objective(spec, changed, theirs), objective(spec, ours, theirs))


def test_networks_without_hidden_layers_stay_as_they_are():
    spec = build_spec(["flatten", "linear classes"], "relu", (1, 2, 2), 3)
    weights = random_weights(spec, 2)
    aligned = align(spec, weights, random_weights(spec, 1, seed=1))
    assert torch.equal(aligned.weights, weights)
    assert torch.equal(weights.gather(1, aligned.maps), weights)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("which", [0, 1])
def test_weights_that_are_not_finite_are_refused(value, which):
    spec = spec_of("cnn_digits")
    networks = [random_weights(spec, 2), random_weights(spec, 2)]
    networks[which][1, 5] = value
    with pytest.raises(InputError, match="not finite cannot be aligned"):
        align(spec, *networks)


# the objective


@st.composite
def random_layers(draw):
    """Chains, with norms and branches in some."""
    convolutions = draw(st.lists(st.integers(1, 6), max_size=2))
    layers = []
    for width in convolutions:
        layers += [f"conv {width} 3 1", *draw(st.sampled_from([[], ["batch_norm"], ["layer_norm"]])), "activation"]
        if draw(st.booleans()):
            layers += ["branch", f"conv {width} 3 1", "activation", *draw(st.sampled_from([[], [f"conv {width} 1"]])), "add"]
    widths = draw(st.lists(st.integers(1, 7), max_size=2))
    layers += ["flatten", *(layer for width in widths for layer in (f"linear {width}", "activation"))]
    return [*layers, "linear classes"]


@pytest.mark.slow
@settings(max_examples=25)
@given(random_layers(), st.integers(0, 99))
def test_the_objective_never_falls_and_is_that_of_what_comes_back(layers, seed):
    spec = build_spec(layers, "tanh", (2, 4, 3), 3)
    ours, theirs = random_weights(spec, 3, seed), random_weights(spec, 3, seed + 100)
    aligned = align(spec, ours, theirs)
    assert (aligned.objectives[1:] >= aligned.objectives[:-1]).all()
    torch.testing.assert_close(aligned.objectives[-1], objective(spec, aligned.weights, theirs), rtol=1e-10, atol=1e-10)
    assert (aligned.objectives[-1] >= objective(spec, ours, theirs) - 1e-9).all()


@pytest.mark.slow
@settings(max_examples=25)
@given(random_layers(), st.integers(0, 99))
def test_no_level_alone_can_be_put_better(layers, seed):
    """A local optimum: two units of one level exchanged, the objective is no higher."""
    spec = build_spec(layers, "tanh", (2, 4, 3), 3)
    ours, theirs = random_weights(spec, 1, seed), random_weights(spec, 1, seed + 100)
    symmetry, aligned = symmetry_of(spec), align(spec, ours, theirs)
    if any(levels.count(level) > 1 for levels in symmetry.parameters for level in symmetry.free):
        return  # not linear in that level
    for n, level in enumerate(symmetry.free):
        for one, other in product(range(symmetry.sizes[level]), repeat=2):
            orders = [torch.arange(symmetry.sizes[each]).unsqueeze(0) for each in symmetry.free]
            orders[n][0, [one, other]] = orders[n][0, [other, one]]
            exchanged = aligned.weights.gather(1, permutation_map(spec, orders))
            assert objective(spec, exchanged, theirs) <= aligned.objectives[-1] + 1e-6


@pytest.mark.parametrize("seed", range(5))
def test_of_one_hidden_layer_it_is_the_best_of_all_permutations(seed):
    spec = mlp(5)
    ours, theirs = random_weights(spec, 1, seed), random_weights(spec, 1, seed + 50)
    orders = torch.tensor(list(permutations(range(5))))
    every = ours.expand(len(orders), -1).gather(1, permutation_map(spec, [orders]))
    aligned = align(spec, ours, theirs)
    assert torch.equal(aligned.weights[0], every[objective(spec, every, theirs).argmax()])
    assert len(aligned.objectives) <= 3  # one sweep that moves units, and one that moves none


def textbook(ours, theirs):
    """Git Re-Basin's algorithm 1 for [w1, b1, w2, b2, w3, b3], layer by layer in their order until nothing moves."""
    w, r = [each.clone().double() for each in ours], [each.double() for each in theirs]
    moved = True
    while moved:
        moved = False
        for k in (0, 2):
            affinity = r[k] @ w[k].T + torch.outer(r[k + 1], w[k + 1]) + r[k + 2].T @ w[k + 2]
            _, order = linear_sum_assignment(affinity.numpy(), maximize=True)
            if affinity[range(len(order)), order].sum() > affinity.trace() + 1e-12:
                w[k], w[k + 1], w[k + 2], moved = w[k][order], w[k + 1][order], w[k + 2][:, order], True
    return w


@pytest.mark.slow
def test_it_reaches_what_the_textbook_reaches_and_seldom_less_than_the_best_of_all_permutations():
    spec, best = mlp(4, 3, inputs=6), 0
    for seed in range(30):
        ours, theirs = random_weights(spec, 1, seed), random_weights(spec, 1, seed + 50)
        parts = [[each[0] for each in unflatten(spec, weights).values()] for weights in (ours, theirs)]
        plain = dict(zip(spec.shapes, (each.unsqueeze(0) for each in textbook(*parts)), strict=True))
        found = align(spec, ours, theirs).objectives[-1]
        pairs = list(product(permutations(range(4)), permutations(range(3))))
        orders = [torch.tensor(level) for level in zip(*pairs, strict=True)]
        every = objective(spec, ours.expand(len(pairs), -1).gather(1, permutation_map(spec, orders)), theirs)
        assert found >= objective(spec, flatten(spec, plain), theirs) - 1e-9 or found >= every.max() - 1e-6
        assert found <= every.max() + 1e-9
        best += bool(found >= every.max() - 1e-6)
    assert best >= 25


def test_cosine_is_1_of_a_network_and_itself_whatever_its_scale_and_below_1_of_others():
    spec = spec_of("norms")
    ours, theirs = random_weights(spec, 3), random_weights(spec, 3, seed=1)
    torch.testing.assert_close(cosine(spec, 3 * ours, ours), torch.ones(3, dtype=torch.float64))
    assert (cosine(spec, ours, theirs).abs() < 0.9).all()


# the same wherever it runs


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cnn_digits", "resnet8", *ODD])
def test_a_network_is_aligned_the_same_in_whatever_stack(name):
    spec = spec_of(name)
    ours, theirs = random_weights(spec, 3), random_weights(spec, 3, seed=5)
    whole = align(spec, ours, theirs)
    torch.manual_seed(17)
    for n in range(3):
        alone = align(spec, ours[n : n + 1], theirs[n : n + 1])
        assert torch.equal(alone.maps[0], whole.maps[n])
        torch.testing.assert_close(alone.objectives[-1, 0], whole.objectives[-1, n], rtol=1e-12, atol=0)
    one = align(spec, ours, theirs[:1])
    assert torch.equal(one.maps, align(spec, ours, theirs[:1].expand(3, -1)).maps)


def with_twins(spec, seed):
    """Networks in which units are equal, and others do nothing at all."""
    weights = random_weights(spec, 2, seed).double()
    named = unflatten(spec, weights)
    for layer in spec.layers[:-1]:
        weight, bias = named[f"{layer.name}.weight"], named[f"{layer.name}.bias"]
        weight[:, 1:3], bias[:, 1:3] = weight[:, :1].clone(), bias[:, :1].clone()
        weight[:, 3:5], bias[:, 3:5] = 0, 0
    for layer in spec.layers[1:]:
        weight = named[f"{layer.name}.weight"]
        per_unit = weight.shape[2] // [each.out for each in spec.layers if each.offset < layer.offset][-1]
        blocks = weight.unflatten(2, (-1, per_unit))
        blocks[:, :, 1:3] = blocks[:, :, :1].clone()
        blocks[:, :, 3:5] = 0
    return weights


@pytest.mark.parametrize("name", ["cnn_digits", "mlp"])
@pytest.mark.parametrize("seed", range(3))
def test_the_last_bits_do_not_choose_among_equal_units(name, seed):
    """Another machine adds products up in another order: this is a hundred times what that can do."""
    spec = spec_of(name)
    ours, theirs = scrambled(spec, with_twins(spec, seed)), with_twins(spec, seed + 50)
    maps = align(spec, ours, theirs).maps
    for _ in range(3):
        nearly = [each * (1 + 1e-13 * torch.randn_like(each)) for each in (ours, theirs)]
        assert torch.equal(align(spec, *nearly).maps, maps)
