"""Vision transformers as data: plain torch as the slow reference, one network of a stack by itself, laws of the notation."""

import pytest
import torch
import torch.nn.functional as F
from architectures import SHAPES, TRANSFORMERS, spec_of
from torch import nn
from weightspace.errors import InputError
from weightspace.nets.forward import forward, unflatten
from weightspace.nets.init import initial_weights
from weightspace.nets.spec import build_spec
from weightspace.nets.steps import Training

NUM_MODELS, BATCH, CLASSES = 3, 4, 10
SIZES = {"vit": (4, 64, 4, 4), "vit_digits": (2, 16, 2, 2)}  # patch, width, blocks, heads


class Positions(nn.Module):
    """Dosovitskiy et al. 2021, equation 1, without a class token."""

    def __init__(self, num, width):
        super().__init__()
        self.embedding = nn.Parameter(torch.zeros(num, width))

    def forward(self, x):
        return x.flatten(2).transpose(1, 2) + self.embedding


class Block(nn.Module):
    """Equations 2 and 3."""

    def __init__(self, width, heads):
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.units = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        hidden = self.norm1(x)
        x = x + self.attention(hidden, hidden, hidden, need_weights=False)[0]
        return x + self.units(self.norm2(x))


class Mean(nn.Module):
    def forward(self, x):
        return x.mean(1)


def textbook(architecture):
    """The network with weights of its own wherever it has some."""
    patch, width, blocks, heads = SIZES[architecture]
    channels, height, side = SHAPES[architecture]
    net = nn.Sequential(
        nn.Conv2d(channels, width, patch, patch),
        Positions((height // patch) * (side // patch), width),
        *(Block(width, heads) for _ in range(blocks)),
        nn.LayerNorm(width),
        Mean(),
        nn.Linear(width, CLASSES),
    )
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=1 if parameter.dim() == 1 else 2 * parameter[0].numel() ** -0.5)
    return net


def flat(nets):
    return torch.stack([nn.utils.parameters_to_vector(net.parameters()).detach() for net in nets])


@pytest.mark.parametrize("architecture", TRANSFORMERS)
def test_shapes_are_those_of_the_textbook_in_order(architecture):
    spec = spec_of(architecture, "gelu")
    assert list(spec.shapes.values()) == [tuple(parameter.shape) for parameter in textbook(architecture).parameters()]


@pytest.mark.parametrize("architecture", TRANSFORMERS)
def test_a_description_builds_the_same_spec(architecture):
    spec = spec_of(architecture, "gelu")
    assert build_spec(**spec.description) == spec
    assert not spec.plain


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("shared", [False, True], ids=["own images", "shared images"])
@pytest.mark.parametrize("architecture", TRANSFORMERS)
def test_a_stack_puts_out_what_each_textbook_network_does(architecture, shared):
    spec, nets = spec_of(architecture, "gelu"), [textbook(architecture) for _ in range(NUM_MODELS)]
    images = torch.randn(1 if shared else NUM_MODELS, BATCH, *SHAPES[architecture])
    own = images.expand(NUM_MODELS, *images.shape[1:])
    with torch.no_grad():
        logits = forward(spec, flat(nets), images)
        textbooks = torch.stack([net(x) for net, x in zip(nets, own, strict=True)])
        alone = torch.cat([forward(spec, flat([net]), x.unsqueeze(0)) for net, x in zip(nets, own, strict=True)])
    assert textbooks.std() > 0.1
    torch.testing.assert_close(logits, textbooks, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(logits, alone, rtol=1e-10, atol=1e-10)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("architecture", TRANSFORMERS)
def test_gradients_in_training_are_those_of_each_textbook_network(architecture):
    spec, nets = spec_of(architecture, "gelu"), [textbook(architecture) for _ in range(NUM_MODELS)]
    images, labels = torch.randn(NUM_MODELS, BATCH, *SHAPES[architecture]), torch.randint(CLASSES, (BATCH,))
    weights, statistics = flat(nets).requires_grad_(), {}
    logits = forward(spec, weights, images, training=Training(statistics, [1, 2, 3]))
    (gradient,) = torch.autograd.grad(sum(F.cross_entropy(row, labels) for row in logits), weights)
    for net, x, ours in zip(nets, images, gradient, strict=True):
        F.cross_entropy(net(x), labels).backward()
        theirs = torch.cat([parameter.grad.flatten() for parameter in net.parameters()])
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-10)
    assert not statistics


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_a_stack_trains_as_each_of_its_networks_alone_and_learns():
    spec = spec_of("vit_digits", "gelu")
    rates = torch.tensor([0.05, 0.1, 0.2]).unsqueeze(1)
    start = torch.stack([initial_weights(spec, "kaiming_uniform", torch.Generator().manual_seed(n)) for n in range(3)]).double()
    images, labels = torch.randn(1, 20, *SHAPES["vit_digits"]), torch.randint(CLASSES, (20,))

    def trained(weights, rates):
        losses = []
        for step in range(15):
            leaf = weights.detach().requires_grad_()
            logits = forward(spec, leaf, images, training=Training({}, [0] * len(leaf), (step,)))
            each = F.cross_entropy(logits.flatten(0, 1), labels.repeat(len(leaf)), reduction="none").view(len(leaf), -1).mean(1)
            weights = weights - rates * torch.autograd.grad(each.sum(), leaf)[0]
            losses.append(each.detach())
        return weights, torch.stack(losses)

    together, losses = trained(start, rates)
    alone = torch.cat([trained(start[n : n + 1], rates[n : n + 1])[0] for n in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-8, atol=1e-10)
    assert (losses[-1] < 0.8 * losses[0]).all()
    moved = unflatten(spec, together - start)
    assert all(part.flatten(1).abs().amax(1).min() > 0 for part in moved.values())  # position embeddings too


@pytest.mark.usefixtures("float64")
def test_one_model_in_a_stack_moves_no_output_of_another():
    spec, images = spec_of("vit_digits", "gelu"), torch.randn(1, BATCH, *SHAPES["vit_digits"])
    weights = flat([textbook("vit_digits") for _ in range(NUM_MODELS)])
    broken = weights.clone()
    broken[1] = torch.nan
    before, after = forward(spec, weights, images), forward(spec, broken, images)
    assert torch.equal(before[[0, 2]], after[[0, 2]])
    assert after[1].isnan().all()


def test_a_transformer_starts_with_norms_that_change_nothing_and_without_positions():
    spec = spec_of("vit_digits", "gelu")
    parameters = unflatten(spec, initial_weights(spec, "kaiming_uniform", torch.Generator().manual_seed(0)))
    for name, tensor in parameters.items():
        layer, _, part = name.partition(".")
        if "layer_norm" in layer or part == "embedding":
            assert torch.equal(tensor, torch.full_like(tensor, float(part == "weight")))
        elif part == "weight":
            assert 0.8 < tensor.abs().max() / (6 / tensor[0].numel()) ** 0.5 <= 1


def test_each_layer_of_weights_is_observed_once_and_only_the_patches_are_a_map():
    spec, seen, maps = spec_of("vit_digits", "gelu"), [], []
    weights = initial_weights(spec, "kaiming_normal", torch.Generator(), None).expand(2, -1)
    images = torch.randn(1, BATCH, *SHAPES["vit_digits"])
    forward(spec, weights, images, lambda op, before, after: seen.append((op, before.shape, after.shape)), maps)
    assert [op.weights for op, _, _ in seen] == spec.layers
    assert [one.shape for one in maps] == [(2, BATCH, 16, 4, 4)]
    between = [(before, after) for op, before, after in seen if op.kind == "linear"][:2]
    assert between == [((2, BATCH, 16, 16), (2, BATCH, 16, 48)), ((2, BATCH, 16, 16), (2, BATCH, 16, 16))]


@pytest.mark.usefixtures("float64")
def test_dropout_of_a_sequence_acts_in_training_alone():
    layers = ["conv 8 2", "sequence", "dropout 0.5", "mean", "linear classes"]
    spec, without = (build_spec(one, "relu", (1, 8, 8), CLASSES) for one in (layers, layers[:2] + layers[3:]))
    weights, images = torch.randn(2, spec.num_weights), torch.randn(1, BATCH, 1, 8, 8)
    assert torch.equal(forward(spec, weights, images), forward(without, weights, images))
    dropped = forward(spec, weights, images, training=Training(seeds=[1, 2]))
    assert (dropped != forward(spec, weights, images)).all()
    alone = forward(spec, weights[1:], images, training=Training(seeds=[2]))
    torch.testing.assert_close(dropped[1:], alone)


BAD_LAYERS = {
    "heads that do not divide": (["sequence", "linear 24", "attention 3", "mean"], "'attention 3' cannot divide 24 features"),
    "features that are no three times as many": (
        ["sequence", "linear 32", "attention 4", "mean"],
        "'attention 4' cannot divide",
    ),
    "attention without heads": (["sequence", "attention", "mean"], "'attention' does not read"),
    "attention among pixels": (["attention 1", "mean"], "layer 'attention 1' does not fit"),
    "attention in a vector": (["flatten", "attention 1"], "layer 'attention 1' does not fit"),
    "positions of an image": (["position_embedding", "mean"], "layer 'position_embedding' does not fit"),
    "sequence twice": (["sequence", "sequence", "mean"], "layer 'sequence' does not fit"),
    "convolution of a sequence": (["sequence", "conv 8 3", "mean"], "layer 'conv 8 3' does not fit"),
    "batch norm of a sequence": (["sequence", "batch_norm", "mean"], "layer 'batch_norm' does not fit"),
    "sum of an image and a sequence": (["branch", "sequence", "add", "mean"], "cannot add shapes"),
    "sum of sequences of other width": (["sequence", "branch", "linear 5", "add", "mean"], "cannot add shapes"),
    "padded sum of sequences": (["sequence", "branch", "linear 5", "add_padded", "mean"], "cannot add shapes"),
    "classes for each position": (["sequence", "linear 5"], "put 'mean' before it"),
}


@pytest.mark.parametrize(("layers", "told"), BAD_LAYERS.values(), ids=BAD_LAYERS)
def test_a_layer_that_does_not_read_or_fit_is_named(layers, told):
    with pytest.raises(InputError) as error:
        build_spec([*layers, "linear classes"], "relu", (4, 8, 8), CLASSES)
    assert told in str(error.value)
    assert "\n" not in str(error.value)
