"""Residual networks as data: published counts, a textbook network in plain torch as the slow reference, laws of the notation."""

from math import prod, sqrt

import pytest
import torch
import torch.nn.functional as F
from architectures import RESNETS, SHAPES, spec_of
from torch import nn
from weightspace.errors import InputError
from weightspace.nets.forward import flatten, forward, move_statistics, unflatten
from weightspace.nets.init import initial_weights
from weightspace.nets.spec import ARCHITECTURES, RESIDUAL_ARCHITECTURES, build_spec
from weightspace.nets.steps import Training

NUM_MODELS, BATCH, CLASSES = 3, 4, 10


class Padding(nn.Module):
    """Option A of He et al. 2016: every second pixel, and channels of zeros, half of them before the others."""

    def __init__(self, missing):
        super().__init__()
        self.missing = missing

    def forward(self, x):
        zeros = torch.zeros_like(x[:, : self.missing // 2, ::2, ::2])
        return torch.cat([zeros, x[:, :, ::2, ::2], zeros], dim=1)


class Block(nn.Module):
    """He et al. 2016, figure 2, with a projection or padding where the shapes differ."""

    def __init__(self, inside, outside, stride, option):
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outside)
        self.shortcut = nn.Sequential()
        if inside != outside and option == "a":
            self.shortcut = Padding(outside - inside)
        elif inside != outside:
            self.shortcut = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))

    def forward(self, x):
        one = self.norm1(self.conv1(x))
        two = self.norm2(self.conv2(one.relu()))
        total = two + self.shortcut(x)
        self.maps = [one, two, total]
        return total.relu()


class ResNet(nn.Module):
    """Stem, stages of blocks, mean over pixels, one linear layer."""

    def __init__(self, stem, pool, widths, blocks, option="b"):
        super().__init__()
        self.stem, self.norm, self.pool = stem, nn.BatchNorm2d(widths[0]), pool
        stages = []
        for stage, (inside, outside) in enumerate(zip([widths[0], *widths], widths, strict=False)):
            strides = [2 if stage else 1, *[1] * (blocks[stage] - 1)]
            stages += [Block(outside if n else inside, outside, stride, option) for n, stride in enumerate(strides)]
        self.blocks = nn.Sequential(*stages)
        self.head = nn.Linear(widths[-1], CLASSES)

    def forward(self, x):
        first = self.norm(self.stem(x))
        hidden = self.blocks(self.pool(first.relu()))
        self.maps = [first, *(one for block in self.blocks for one in block.maps)]
        return self.head(hidden.mean((2, 3)))


def cifar(channels, widths, blocks, option="b"):
    return ResNet(nn.Conv2d(channels, widths[0], 3, 1, 1, bias=False), nn.Identity(), widths, blocks, option)


TEXTBOOK = {
    "resnet8": lambda: cifar(1, [8, 16, 32], [1, 1, 1]),
    "resnet20": lambda: cifar(3, [16, 32, 64], [3, 3, 3]),
    "resnet56": lambda: cifar(3, [16, 32, 64], [9, 9, 9]),
    "resnet20_a": lambda: cifar(3, [16, 32, 64], [3, 3, 3], "a"),
    "resnet56_a": lambda: cifar(3, [16, 32, 64], [9, 9, 9], "a"),
    "resnet18": lambda: ResNet(nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.MaxPool2d(3, 2, 1), [64, 128, 256, 512], [2, 2, 2, 2]),
    "resnet18_cifar": lambda: cifar(3, [64, 128, 256, 512], [2, 2, 2, 2]),
    "resnet34_cifar": lambda: cifar(3, [64, 128, 256, 512], [3, 4, 6, 3]),
}
SMALL = [name for name in TEXTBOOK if name != "resnet34_cifar"]
assert list(TEXTBOOK) == RESNETS


def textbook_stack(architecture):
    """Textbook networks with statistics of their own, in training mode."""
    nets = [TEXTBOOK[architecture]() for _ in range(NUM_MODELS)]
    for net in nets:
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor, low, high in ((module.weight, 0.5, 1.5), (module.bias, -1, 1), (module.running_mean, -1, 1)):
                    nn.init.uniform_(tensor, low, high)
                nn.init.uniform_(module.running_var, 0.5, 2)
    return nets


def tensors_of(net):
    """Weights of a textbook network in the order of its layers, running statistics beside scale and shift."""
    for module in net.modules():
        names = ("weight", "bias", "running_mean", "running_var") if not list(module.children()) else ()
        yield from (tensor for name in names if (tensor := getattr(module, name, None)) is not None)


def flat(nets):
    return torch.stack([torch.cat([tensor.detach().flatten() for tensor in tensors_of(net)]) for net in nets])


# counts


@pytest.mark.parametrize(
    ("architecture", "shape", "classes", "published"),
    [  # convolutions, their weights, their kernels; NeRN's table
        ("resnet20", (3, 32, 32), 10, (21, 270_256, 32_304)),
        ("resnet56", (3, 32, 32), 10, (57, 850_864, 96_816)),
        ("resnet18", (3, 224, 224), 1000, (20, 11_166_912, 1_392_832)),
    ],
)
def test_convolutions_are_the_published_ones(architecture, shape, classes, published):
    spec = build_spec(architecture, "relu", shape, classes)
    convolutions = [layer for layer in spec.layers if len(layer.fan_in) == 3]
    weights = sum(prod(layer.weight_shape) for layer in convolutions)
    kernels = sum(layer.out * layer.fan_in[0] for layer in convolutions)
    assert (len(convolutions), weights, kernels) == published


def test_the_convolutions_of_resnet18_that_nern_predicts_are_the_published_ones():
    layers = [layer for layer in build_spec("resnet18", "relu", (3, 224, 224), 1000).layers if layer.fan_in[1:] == (3, 3)]
    assert len(layers) == 16
    assert sum(layer.size for layer in layers) == 10_985_472
    assert sum(layer.out * layer.fan_in[0] for layer in layers) == 1_220_608


@pytest.mark.parametrize("architecture", RESNETS)
def test_shapes_are_those_of_the_textbook_in_order(architecture):
    spec = spec_of(architecture)
    assert list(spec.shapes.values()) == [tuple(tensor.shape) for tensor in tensors_of(TEXTBOOK[architecture]())]
    assert spec.num_weights == sum(prod(shape) for shape in spec.shapes.values())


@pytest.mark.parametrize("architecture", RESNETS)
def test_every_name_is_numbered_by_the_layers_before_it(architecture):
    names = list(dict.fromkeys(name.partition(".")[0] for name in spec_of(architecture).shapes))
    assert [int(name.strip("abcdefghijklmnopqrstuvwxyz_")) for name in names] == list(range(1, len(names) + 1))
    norms = [name for name in names if "norm" in name]
    assert len(norms) == len(names) // 2  # all but the last layer have one
    wide = architecture.startswith(("resnet18", "resnet34"))
    shortcuts = 0 if architecture.endswith("_a") else 3 if wide else 2
    assert sum(name.startswith("shortcut_norm") for name in names) == shortcuts


@pytest.mark.parametrize("architecture", RESNETS)
def test_layers_lie_where_their_offset_says(architecture):
    spec = spec_of(architecture)
    weights = torch.arange(float(spec.num_weights))
    for layer in spec.layers:
        piece = weights[layer.offset : layer.offset + layer.size]
        assert torch.equal(unflatten(spec, weights)[f"{layer.name}.weight"].flatten(), piece[: prod(layer.weight_shape)])


@pytest.mark.parametrize("architecture", RESNETS)
def test_a_description_builds_the_same_spec(architecture):
    spec = spec_of(architecture)
    assert build_spec(**spec.description) == spec


@pytest.mark.parametrize("stack", [(), (3,), (2, 3)], ids=str)
def test_flatten_and_unflatten_undo_each_other(stack):
    spec = spec_of("resnet8")
    weights = torch.randn(*stack, spec.num_weights)
    assert torch.equal(flatten(spec, unflatten(spec, weights)), weights)


# forward


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)], ids=str)
@pytest.mark.parametrize("shared", [False, True], ids=["own images", "shared images"])
@pytest.mark.parametrize("architecture", SMALL)
def test_a_stack_puts_out_what_each_textbook_network_does(architecture, shared, dtype, tolerance):
    nets = [net.to(dtype).eval() for net in textbook_stack(architecture)]
    images = torch.randn(1 if shared else NUM_MODELS, BATCH, *SHAPES[architecture], dtype=dtype)
    maps = []
    with torch.no_grad():
        logits = forward(spec_of(architecture), flat(nets), images, maps=maps)
        alone = torch.stack([net(x) for net, x in zip(nets, images.expand(NUM_MODELS, -1, -1, -1, -1), strict=True)])
    assert (logits - alone).abs().max() <= tolerance * alone.abs().max()
    assert len(maps) == len(nets[0].maps)
    for ours, *theirs in zip(maps, *(net.maps for net in nets), strict=True):
        assert (ours - torch.stack(theirs)).abs().max() <= tolerance * ours.abs().max()


def test_resnet20_has_28_feature_maps_and_none_of_a_shortcut():
    spec, maps = spec_of("resnet20"), []
    forward(spec, torch.rand(1, spec.num_weights), torch.randn(1, 2, *SHAPES["resnet20"]), maps=maps)
    assert len(maps) == 28
    assert len({one.data_ptr() for one in maps}) == 28


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("architecture", ["resnet8", "resnet20", "resnet20_a"])
def test_in_training_logits_gradients_and_statistics_are_those_of_each_textbook_network(architecture):
    spec, nets = spec_of(architecture), textbook_stack(architecture)
    images, labels = torch.randn(NUM_MODELS, BATCH, *SHAPES[architecture]), torch.randint(CLASSES, (BATCH,))
    weights = flat(nets).requires_grad_()
    before, statistics = weights.detach().clone(), {}
    logits = forward(spec, weights, images, training=Training(statistics))
    (gradient,) = torch.autograd.grad(sum(F.cross_entropy(row, labels) for row in logits), weights)
    assert torch.equal(weights.detach(), before)
    moved = before.clone()
    move_statistics(spec, moved, statistics)
    for n, net in enumerate(nets):
        alone = net(images[n])
        torch.testing.assert_close(logits[n], alone, rtol=1e-10, atol=1e-11)
        F.cross_entropy(alone, labels).backward()
        learned = [torch.zeros_like(tensor) if tensor.grad is None else tensor.grad for tensor in tensors_of(net)]
        torch.testing.assert_close(gradient[n], torch.cat([one.flatten() for one in learned]), rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(moved, flat(nets), rtol=1e-10, atol=1e-11)


@pytest.mark.usefixtures("float64")
def test_gradients_through_running_statistics_are_those_of_the_textbook():
    spec, nets = spec_of("resnet8"), [net.eval() for net in textbook_stack("resnet8")]
    images, weights = torch.randn(1, BATCH, *SHAPES["resnet8"]), flat(nets).requires_grad_()
    (gradient,) = torch.autograd.grad(forward(spec, weights, images).square().sum(), weights)
    for n, net in enumerate(nets):
        net(images[0]).square().sum().backward()
        learned = [torch.zeros_like(tensor) if tensor.grad is None else tensor.grad for tensor in tensors_of(net)]
        torch.testing.assert_close(gradient[n], torch.cat([one.flatten() for one in learned]), rtol=1e-9, atol=1e-11)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("training", [False, True], ids=["running statistics", "batch statistics"])
def test_one_model_in_a_stack_moves_no_output_of_another(training):
    spec, images = spec_of("resnet8"), torch.randn(1, BATCH, *SHAPES["resnet8"])
    weights = flat(textbook_stack("resnet8"))
    broken = weights.clone()
    broken[1] = torch.nan
    before, after = (forward(spec, w, images, training=Training({} if training else None)) for w in (weights, broken))
    assert torch.equal(before[[0, 2]], after[[0, 2]])
    assert after[1].isnan().all()


def test_each_layer_of_weights_is_observed_once():
    spec, seen = spec_of("resnet8"), []
    weights = initial_weights(spec, "kaiming_normal", torch.Generator(), None).expand(2, -1)
    forward(spec, weights, torch.randn(1, BATCH, *SHAPES["resnet8"]), lambda op, before, after: seen.append((op, after.shape)))
    assert [op.weights for op, _ in seen] == spec.layers
    assert [shape[1] for op, shape in seen if op.kind == "conv"] == [2 * op.weights.out for op, _ in seen if op.kind == "conv"]


@pytest.mark.parametrize("architecture", ["cnn_digits", "cnn"])
def test_feature_maps_of_a_plain_network_are_its_convolutions(architecture):
    spec = build_spec(architecture, "relu", (1, 28, 28), CLASSES)
    seen, maps = [], []
    weights, images = torch.randn(1, spec.num_weights), torch.randn(1, 2, 1, 28, 28)
    forward(spec, weights, images, lambda op, _, after: seen.append((op.kind, after)), maps)
    torch.testing.assert_close(maps, [after.unsqueeze(0) for kind, after in seen if kind == "conv"])


# notation


CHAINS = {
    "stride": (["conv 6 3 1 2"], [nn.Conv2d(4, 6, 3, 2, 1)]),
    "groups": (["conv 6 3 1 1 2"], [nn.Conv2d(4, 6, 3, 1, 1, groups=2)]),
    "depthwise": (["conv 4 3 1 2 4", "batch_norm"], [nn.Conv2d(4, 4, 3, 2, 1, groups=4, bias=False), nn.BatchNorm2d(4)]),
    "pool with padding": (["pool 3 1 2"], [nn.MaxPool2d(3, 2, 1)]),
    "pool with padding at its own stride": (["pool 2 1"], [nn.MaxPool2d(2, 2, 1)]),
    "overlapping pool": (["pool 3 0 1"], [nn.MaxPool2d(3, 1)]),
    "batch norm first": (["batch_norm", "conv 3 3"], [nn.BatchNorm2d(4), nn.Conv2d(4, 3, 3)]),
    "batch norm after an activation": (
        ["conv 3 3", "activation", "batch_norm"],
        [nn.Conv2d(4, 3, 3), nn.ReLU(), nn.BatchNorm2d(3)],
    ),
}


@pytest.mark.parametrize("shared", [False, True], ids=["own images", "shared images"])
@pytest.mark.parametrize(("layers", "modules"), CHAINS.values(), ids=CHAINS)
def test_a_layer_does_what_torchs_own_does(layers, modules, shared):
    spec = build_spec([*layers, "flatten", "linear classes"], "relu", (4, 7, 6), CLASSES)
    body = nn.Sequential(*modules, nn.Flatten())
    net = nn.Sequential(body, nn.Linear(body(torch.zeros(2, 4, 7, 6)).shape[1], CLASSES)).eval()
    weights, images = flat([net, net]), torch.randn(1 if shared else 2, BATCH, 4, 7, 6)
    assert weights.shape[1] == spec.num_weights
    assert not spec.plain
    alone = torch.stack([net(x) for x in images.expand(2, -1, -1, -1, -1)])
    torch.testing.assert_close(forward(spec, weights, images), alone, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("float64")
def test_branches_within_branches_add_up():
    spec = build_spec(["branch", "branch", "add", "branch", "add", "add", "mean", "linear classes"], "relu", (2, 3, 3), CLASSES)
    images, weights = torch.randn(1, BATCH, 2, 3, 3), torch.randn(2, spec.num_weights)
    parameters = unflatten(spec, weights)
    expected = 5 * images.mean((3, 4)) @ parameters["linear1.weight"].mT + parameters["linear1.bias"].unsqueeze(1)
    torch.testing.assert_close(forward(spec, weights, images), expected)


def test_only_chains_that_every_stage_knows_are_plain():
    assert all(build_spec(name, "relu", (1, 28, 28), 10).plain for name in ARCHITECTURES)
    assert not any(spec_of(name).plain for name in RESIDUAL_ARCHITECTURES)


BAD_LAYERS = {
    "sizes after a batch norm": (["batch_norm 8"], "'batch_norm 8'"),
    "stride of 0": (["conv 8 3 1 0"], "'conv 8 3 1 0'"),
    "too many sizes": (["conv 8 3 1 1 1 1"], "'conv 8 3 1 1 1 1'"),
    "channels that groups do not divide": (["conv 8 3 1 1 3"], "'conv 8 3 1 1 3'"),
    "filters that groups do not divide": (["conv 7 3 1 1 2"], "'conv 7 3 1 1 2'"),
    "padding wider than the pool": (["pool 2 2"], "'pool 2 2'"),
    "batch norm of a vector": (["flatten", "batch_norm"], "'batch_norm'"),
    "mean of a vector": (["flatten", "mean"], "'mean'"),
    "branch of a vector": (["flatten", "branch"], "'branch'"),
    "branch without sum": (["branch", "conv 4 3 1"], "'branch'"),
    "sum without branch": (["add"], "'add'"),
    "padded sum without branch": (["add_padded"], "'add_padded'"),
    "padded sum with fewer channels": (["branch", "conv 3 3 1 2", "add_padded"], "cannot make 3 channels of 4"),
    "padded sum across shapes that no stride relates": (["branch", "conv 4 2", "add_padded"], "no stride"),
    "sum across shapes that no stride relates": (["branch", "conv 4 2", "add"], "no stride"),
}


@pytest.mark.parametrize(("layers", "told"), BAD_LAYERS.values(), ids=BAD_LAYERS)
def test_a_layer_that_does_not_read_or_fit_is_named(layers, told):
    with pytest.raises(InputError) as error:
        build_spec([*layers, "mean", "linear classes"], "relu", (4, 8, 8), CLASSES)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


# initial weights


def test_batch_norms_start_as_the_identity_and_biases_within_torchs_bounds():
    spec = spec_of("resnet20")
    parameters = unflatten(spec, initial_weights(spec, "kaiming_normal", torch.Generator().manual_seed(0), None))
    starts = {"weight": 1, "bias": 0, "running_mean": 0, "running_var": 1}
    for name, tensor in parameters.items():
        layer, _, part = name.partition(".")
        if "norm" in layer:
            assert torch.equal(tensor, torch.full_like(tensor, starts[part]))
        elif part == "bias":
            bound = 1 / sqrt(parameters[f"{layer}.weight"].shape[1])
            assert 0.5 * bound < tensor.abs().max() <= bound
        else:
            fan_in = tensor[0].numel()
            assert abs(tensor.square().mean() * fan_in / 2 - 1) < 5 * sqrt(2 / tensor.numel())
