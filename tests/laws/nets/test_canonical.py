"""A canonical network is the same function, and the same whatever scales or signs its units had."""

import pytest
import torch
from weightspace.errors import InputError
from weightspace.nets.activations import ACTIVATIONS
from weightspace.nets.align import align
from weightspace.nets.canonical import MOST_SCALE, canonical, joints, rescaled
from weightspace.nets.forward import forward, unflatten
from weightspace.nets.spec import build_spec
from weightspace.nets.symmetry import permutation_map, sample_permutations

SCALED = [name for name, each in ACTIVATIONS.items() if each.scaling]
ODD = [name for name, each in ACTIVATIONS.items() if each.symmetry in ("odd", "odd_constant")]
OTHERS = [name for name in ACTIVATIONS if name not in SCALED + ODD]
LAYERS = {
    "mlp": ["flatten", "linear 6", "activation", "linear 5", "activation", "linear classes"],
    "pools": ["conv 4 3 1", "pool 2", "activation", "conv 5 2", "activation", "avg_pool 2", "flatten", "linear classes"],
    "means": ["conv 4 3 1", "activation", "conv 5 3 1 2", "activation", "mean", "linear 4", "activation", "linear classes"],
    "groups": ["conv 4 3 1", "activation", "conv 6 3 1 1 2", "activation", "conv 3 1", "activation", "mean", "linear classes"],
    "norms": ["conv 4 3", "batch_norm", "activation", "conv 5 2", "layer_norm", "activation", "flatten", "linear classes"],
    "branch": [
        "conv 4 3 1", "activation", "branch", "conv 5 3 1", "batch_norm", "activation", "conv 4 1", "add", "activation", "mean",
        "linear classes",
    ],
    "dropout": ["conv 4 3", "dropout 0.5", "activation", "flatten", "linear 5", "linear classes"],
}  # fmt: skip
CHANGED = {  # how many layers' units have a factor: where the activation scales, is odd, is odd but for a constant
    "mlp": (2, 2, 2), "pools": (2, 1, 1), "means": (3, 3, 2), "groups": (2, 2, 2), "norms": (2, 2, 2), "branch": (1, 1, 1),
    "dropout": (2, 2, 1),
}  # fmt: skip

pytestmark = pytest.mark.usefixtures("float64")


def spec_of(name, activation):
    return build_spec(LAYERS[name], activation, (2, 6, 6), 3)


def random_weights(spec, num=3):
    weights = torch.randn(num, spec.num_weights)
    for name, tensor in unflatten(spec, weights).items():
        if name.endswith("running_var"):
            tensor.copy_(tensor.square() + 0.5)
    return weights


def with_factors(spec, weights, draw):
    """The same functions: each joint's units times a factor, what reads them divided by it."""
    changed = weights.clone()
    named = unflatten(spec, changed)
    constant = ACTIVATIONS[spec.activation].constant
    for writer, _, reader in joints(spec):
        units = writer.made.shape[0]
        factor = draw(len(weights), units)
        for each in (named[parameter.name] for parameter in writer.made.parameters if parameter.learned):
            each.mul_(factor.view(len(weights), units, *[1] * (each.dim() - 2)))
        read = named[reader.made.parameters[0].name]
        blocks = read.view(len(weights), len(read[0]), units, -1)
        if constant:  # what reads constant - u in place of u
            named[reader.made.parameters[1].name].add_(constant * (blocks.sum(3) * (factor < 0).unsqueeze(1)).sum(2))
        blocks.div_(factor.view(len(weights), 1, units, 1))
    return changed


def factors_for(activation):
    """Positive factors, or signs."""
    if activation in SCALED:
        return lambda *shape: torch.rand(shape) * 3 + 0.1
    return lambda *shape: torch.randint(2, shape) * 2.0 - 1


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("activation", SCALED + ODD)
def test_a_rescaled_network_is_the_same_function_and_has_the_same_canonical_one(name, activation):
    spec = spec_of(name, activation)
    weights, images = random_weights(spec), torch.randn(1, 5, *spec.image_shape)
    changed = rescaled(spec, weights, torch.Generator().manual_seed(0))
    assert not torch.equal(changed, weights)
    torch.testing.assert_close(forward(spec, changed, images), forward(spec, weights, images), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(canonical(spec, changed), canonical(spec, weights), rtol=1e-9, atol=1e-9)


def test_random_scales_are_log_uniform_and_of_float32_networks_float32():
    spec = build_spec(["flatten", "linear 5000", "activation", "linear classes"], "relu", (1, 1, 1), 2)
    weights = torch.ones(1, spec.num_weights, dtype=torch.float32)
    changed = rescaled(spec, weights, torch.Generator().manual_seed(0))
    assert changed.dtype == torch.float32
    logs = changed[0, :5000].double().log2()
    assert logs.abs().max() <= 1.0001 * torch.tensor(MOST_SCALE).log2()
    assert logs.std() == pytest.approx(12**-0.5 * 2, rel=0.05)
    assert logs.mean().abs() < 0.03


@pytest.mark.parametrize("activation", OTHERS)
def test_units_that_can_have_no_other_scale_or_sign_are_named(activation):
    with pytest.raises(InputError, match=activation):
        rescaled(spec_of("mlp", activation), random_weights(spec_of("mlp", activation)), torch.Generator())


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("activation", SCALED + ODD)
def test_the_function_stays_and_the_weights_do_not(name, activation):
    spec = spec_of(name, activation)
    weights, images = random_weights(spec), torch.randn(1, 5, *spec.image_shape)
    changed = canonical(spec, weights)
    assert not torch.equal(changed, weights)
    torch.testing.assert_close(forward(spec, changed, images), forward(spec, weights, images), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("activation", SCALED + ODD)
def test_networks_that_differ_by_scales_or_signs_become_one(name, activation):
    spec = spec_of(name, activation)
    weights = random_weights(spec)
    others = with_factors(spec, weights, factors_for(activation))
    assert not torch.equal(others, weights)
    torch.testing.assert_close(canonical(spec, others), canonical(spec, weights), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(canonical(spec, canonical(spec, weights)), canonical(spec, weights), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("activation", OTHERS)
def test_networks_without_such_a_symmetry_stay_as_they_are(name, activation):
    spec = spec_of(name, activation)
    weights = random_weights(spec)
    assert torch.equal(canonical(spec, weights), weights)


@pytest.mark.parametrize("name", LAYERS)
def test_the_layers_that_are_changed_are_those_that_one_layer_alone_reads(name):
    found = [len(list(joints(spec_of(name, activation)))) for activation in ("relu", "tanh", "sigmoid")]
    assert tuple(found) == CHANGED[name]


@pytest.mark.parametrize("activation", SCALED + ODD)
def test_units_have_norm_1_or_a_positive_largest_weight(activation):
    spec = spec_of("mlp", activation)
    named = unflatten(spec, canonical(spec, random_weights(spec)))
    for layer in ("linear1", "linear2"):
        rows = torch.cat([named[f"{layer}.weight"], named[f"{layer}.bias"].unsqueeze(2)], dim=2)
        if activation in SCALED:
            torch.testing.assert_close(rows.norm(dim=2), torch.ones(rows.shape[:2]))
        else:
            assert (rows.amax(2) == rows.abs().amax(2)).all()


@pytest.mark.parametrize("activation", SCALED + ODD)
def test_units_of_zeros_stay_and_the_given_weights_too(activation):
    spec = spec_of("mlp", activation)
    weights = random_weights(spec).float()
    unflatten(spec, weights)["linear1.weight"][:, 2] = 0
    unflatten(spec, weights)["linear1.bias"][:, 2] = 0
    before = weights.clone()
    changed = canonical(spec, weights)
    assert torch.equal(weights, before)
    assert changed.dtype == torch.float32
    assert changed.isfinite().all()
    assert not unflatten(spec, changed)["linear1.weight"][:, 2].any()


@pytest.mark.parametrize(("activation", "layer"), [("tanh", "pool 2"), ("sigmoid", "pool 2"), ("sigmoid", "avg_pool 2 1")])
def test_signs_are_not_turned_before_maxima_nor_constants_before_padding(activation, layer):
    spec = build_spec(["conv 4 3 1", "activation", layer, "flatten", "linear classes"], activation, (2, 6, 6), 3)
    weights = random_weights(spec)
    assert torch.equal(canonical(spec, weights), weights)


@pytest.mark.parametrize("activation", SCALED + ODD)
def test_a_copy_with_other_factors_and_its_units_in_another_order_is_found_again(activation):
    spec = spec_of("mlp", activation)
    weights = random_weights(spec)
    maps = permutation_map(spec, sample_permutations(spec, len(weights), torch.Generator().manual_seed(1)))
    copies = with_factors(spec, weights, factors_for(activation)).gather(1, maps)
    found = align(spec, canonical(spec, copies), canonical(spec, weights)).weights
    torch.testing.assert_close(found, canonical(spec, weights), rtol=1e-9, atol=1e-9)
