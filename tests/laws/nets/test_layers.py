"""Kinds of layers: torch's own as the slow reference, strict notation, dropout that no company and no interruption changes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from weightspace.errors import InputError
from weightspace.nets.forward import flatten, forward, unflatten
from weightspace.nets.init import initial_weights
from weightspace.nets.layers import LAYERS, WRITTEN, read
from weightspace.nets.spec import MOST_WEIGHTS, build_spec
from weightspace.nets.steps import Training

SHAPE, CLASSES, NUM_MODELS, BATCH = (4, 6, 5), 3, 3, 7
DROPPED = [
    "conv 6 3",
    "dropout 0.3",
    "activation",
    "flatten",
    "dropout 0.5",
    "linear 8",
    "activation",
    "dropout 0.2",
    "linear classes",
]


# the new kinds, as torch has them


def varied(module):
    """The module with weights of its own wherever it has some."""
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    return module


MODULES = {
    "layer_norm of images": (["layer_norm", "flatten"], lambda: nn.Sequential(nn.LayerNorm(SHAPE), nn.Flatten()), 120),
    "layer_norm of vectors": (["flatten", "layer_norm"], lambda: nn.Sequential(nn.Flatten(), nn.LayerNorm(120)), 120),
    "layer_norm of units": (
        ["flatten", "linear 9", "layer_norm", "activation"],
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(120, 9), nn.LayerNorm(9), nn.ReLU()),
        9,
    ),
    "avg_pool": (["avg_pool 2", "flatten"], lambda: nn.Sequential(nn.AvgPool2d(2), nn.Flatten()), 24),
    "avg_pool with padding and stride": (
        ["avg_pool 3 1 2", "flatten"],
        lambda: nn.Sequential(nn.AvgPool2d(3, 2, 1), nn.Flatten()),
        36,
    ),
    "both after a convolution": (
        ["conv 8 3 1", "layer_norm", "activation", "avg_pool 2 0 1", "flatten"],
        lambda: nn.Sequential(
            nn.Conv2d(4, 8, 3, padding=1), nn.LayerNorm((8, 6, 5)), nn.ReLU(), nn.AvgPool2d(2, 1), nn.Flatten()
        ),
        160,
    ),
}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("shared", [False, True], ids=["own images", "shared images"])
@pytest.mark.parametrize(("layers", "body", "features"), MODULES.values(), ids=MODULES)
def test_a_stack_puts_out_what_each_model_does_in_torch(layers, body, features, shared):
    spec = build_spec([*layers, "linear classes"], "relu", SHAPE, CLASSES)
    nets = [varied(nn.Sequential(body(), nn.Linear(features, CLASSES))) for _ in range(NUM_MODELS)]
    weights = torch.stack([nn.utils.parameters_to_vector(net.parameters()).detach() for net in nets])
    images = torch.randn(1 if shared else NUM_MODELS, BATCH, *SHAPE)
    assert [*spec.shapes.values()] == [tuple(parameter.shape) for parameter in nets[0].parameters()]
    alone = torch.stack([net(x) for net, x in zip(nets, images.expand(NUM_MODELS, *images.shape[1:]), strict=True)])
    torch.testing.assert_close(forward(spec, weights, images), alone, rtol=1e-10, atol=1e-11)


def test_a_layer_norm_starts_as_torchs():
    spec = build_spec(["layer_norm", "flatten", "layer_norm", "linear classes"], "relu", SHAPE, CLASSES)
    parameters = unflatten(spec, initial_weights(spec, "normal", torch.Generator()))
    for name in ("layer_norm1", "layer_norm2"):
        assert torch.equal(parameters[f"{name}.weight"], torch.ones_like(parameters[f"{name}.weight"]))
        assert torch.equal(parameters[f"{name}.bias"], torch.zeros_like(parameters[f"{name}.bias"]))


# dropout


def dropped(spec, weights, images, seeds, step=1):
    return forward(spec, weights, images, training=Training(seeds=seeds, step=(step,)))


def stack_of(spec, num=NUM_MODELS):
    return torch.stack([initial_weights(spec, "kaiming_normal", torch.Generator().manual_seed(n)) for n in range(num)])


def test_dropout_is_off_in_evaluation():
    spec = build_spec(DROPPED, "relu", SHAPE, CLASSES)
    without = build_spec([layer for layer in DROPPED if "dropout" not in layer], "relu", SHAPE, CLASSES)
    weights, images = stack_of(spec), torch.randn(1, BATCH, *SHAPE)
    assert torch.equal(forward(spec, weights, images), forward(without, weights, images))
    assert not torch.equal(dropped(spec, weights, images, [1, 2, 3]), forward(spec, weights, images))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("layers", [["dropout 0.3", "flatten"], ["flatten", "dropout 0.3"]], ids=["images", "vectors"])
@pytest.mark.parametrize("sets", [1, 2])
def test_dropout_makes_a_share_zero_and_keeps_the_mean(layers, sets):
    spec = build_spec([*layers, "linear classes"], "relu", (40, 5, 5), 1000)
    weights = torch.zeros(2, spec.num_weights)
    weights.view(2, -1)[:, : 1000 * 1000].unflatten(1, (1000, 1000)).diagonal(dim1=1, dim2=2).fill_(1)
    images = torch.rand(sets, 50, 40, 5, 5) + 1
    features = dropped(spec, weights, images, [5, 6])  # the network puts out its features
    whole = images.flatten(2).expand(2, -1, -1)
    zero = features == 0
    torch.testing.assert_close(features[~zero], whole[~zero] / 0.7)
    error = 5 / 50_000**0.5
    assert ((zero.double().mean((1, 2)) - 0.3).abs() < error * 0.21**0.5).all()
    assert ((features / whole).mean((1, 2)) - 1).abs().max() < error * (0.3 / 0.7) ** 0.5
    assert not torch.equal(zero[0], zero[1])


def test_layers_and_steps_drop_each_its_own():
    spec = build_spec(["flatten", "dropout 0.5", "dropout 0.5", "linear classes"], "relu", (1, 40, 50), CLASSES)
    weights, images = stack_of(spec, 1), torch.ones(1, 4, 1, 40, 50)
    one, again, other = (dropped(spec, weights, images, [5], step) for step in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    weights = torch.cat([torch.ones(1, 2000 * CLASSES), torch.zeros(1, CLASSES)], dim=1) / 4
    assert abs(dropped(spec, weights, images, [5]).mean() / 500 - 1) < 0.1  # half of a half is left, and counts fourfold


def test_no_model_drops_by_who_is_beside_it():
    spec, images = build_spec(DROPPED, "relu", SHAPE, CLASSES), torch.randn(NUM_MODELS, BATCH, *SHAPE)
    weights = stack_of(spec)
    whole = dropped(spec, weights, images, [7, 8, 9])
    pair = dropped(spec, weights[[2, 0]], images[[2, 0]], [9, 7])
    assert torch.equal(whole[[2, 0]], pair)


# notation


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("conv 8 3", (8, 3, 0, 1, 1)),
        ("conv 8 3 1 2 4", (8, 3, 1, 2, 4)),
        ("conv classes 3", (CLASSES, 3, 0, 1, 1)),
        ("pool 3", (3, 0, 3)),
        ("pool 3 1", (3, 1, 3)),
        ("avg_pool 3 1 2", (3, 1, 2)),
        ("linear classes", (CLASSES,)),
        ("dropout 0.25", (0.25,)),
        ("layer_norm", ()),
    ],
)
def test_sizes_that_are_left_out_have_their_defaults(text, sizes):
    kind, read_sizes = read(text, CLASSES)
    assert kind == text.split()[0]
    assert tuple(read_sizes.values()) == sizes


UNREADABLE = [
    "linear classesclasses", "linear 1classes", "linear 08", "linear 0", "linear +5", "linear 5.0", "linear 5 5", "linear ",
    " linear 5", "linear 5 ", "linear 5\n", "linear ５", "linear 99999999999999", "linear -5", "conv 3 classes",
    "pool classes", "conv 8 3 1 1 1 1", "conv 8 3 01", "conv 8 3 -1", "conv 8 3 1 0", "batch_norm 8", "layer_norm 8",
    "avg_pool", "avg_pool 2 0 0", "dropout", "dropout 0", "dropout 0.0", "dropout 1", "dropout 1.5", "dropout .5",
    "dropout 30", "dropout 0.5 2", "swap", "classes", "activation relu", "",
]  # fmt: skip


@pytest.mark.parametrize("text", UNREADABLE)
def test_a_layer_that_does_not_read_is_named_with_all_that_do(text):
    with pytest.raises(InputError) as error:
        build_spec(["flatten", text, "linear classes"], "relu", (1, 8, 8), CLASSES)
    assert f"layer {text!r} does not read" in str(error.value)
    assert all(LAYERS[kind].notation in str(error.value) for kind in WRITTEN)


@pytest.mark.slow
@given(st.text("clinear 05.\n", max_size=12))
def test_any_text_is_read_or_refused(text):
    try:
        kind, _ = read(text, CLASSES)
    except InputError:
        return
    assert text.split(" ")[0] == kind


@pytest.mark.parametrize(
    "layers", [["flatten", "linear 100000000", "activation"], ["conv 99999 3", "conv 99999 3", "flatten"]], ids=str
)
def test_a_network_too_large_for_any_machine_is_refused_before_it_is_made(layers):
    with pytest.raises(InputError, match=f"weights, {MOST_WEIGHTS:,} at most"):
        build_spec([*layers, "linear classes"], "relu", (1, 28, 28), CLASSES)


def test_numbers_of_a_norm_lie_between_those_of_their_neighbors():
    spec = build_spec(["conv 2 3", "layer_norm", "flatten", "linear classes"], "relu", SHAPE, CLASSES)
    weights = torch.arange(float(spec.num_weights)).unsqueeze(0)
    named = unflatten(spec, weights)
    assert [*named] == ["conv1.weight", "conv1.bias", "layer_norm2.weight", "layer_norm2.bias", "linear3.weight", "linear3.bias"]
    assert torch.equal(flatten(spec, named), weights)
    assert [layer.name for layer in spec.layers] == ["conv1", "linear3"]
    assert torch.equal(named["linear3.weight"].flatten()[0], weights[0, spec.layers[1].offset])
