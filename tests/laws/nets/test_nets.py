"""Networks as data: published sizes, torch's own layers as the slow reference, and refusals in words."""

from math import prod, sqrt

import pytest
import torch
from architectures import SHAPES, spec_of
from torch import nn
from weightspace.errors import InputError
from weightspace.nets.activations import ACTIVATIONS
from weightspace.nets.forward import flatten, forward, unflatten
from weightspace.nets.init import INITS, initial_weights
from weightspace.nets.spec import ARCHITECTURES, build_spec


class Erf(nn.Module):
    def forward(self, z):
        return torch.erf(z)


class G(nn.Module):
    def forward(self, z):
        return 1 / (1 + torch.exp(-4 * z)) + torch.log1p(torch.exp(z))


TORCH_ACTIVATIONS = {
    "relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "tanh": nn.Tanh, "erf": Erf, "gelu": nn.GELU, "silu": nn.SiLU,
    "softplus": nn.Softplus, "sigmoid": nn.Sigmoid, "elu": nn.ELU, "g": G,
}  # fmt: skip
NUM_MODELS = 3


def torch_net(architecture, activation, image_shape, num_classes):
    """The same layers as plain torch modules, sizes found by running them."""
    hidden, modules = torch.zeros(1, *image_shape), []
    for text in ARCHITECTURES[architecture]:
        kind, *sizes = text.split()
        out, *rest = (num_classes if size == "classes" else int(size) for size in sizes or ["0"])
        modules.append({
            "conv": lambda out=out, rest=rest, h=hidden: nn.Conv2d(h.shape[1], out, *rest),
            "linear": lambda out=out, h=hidden: nn.Linear(h.shape[1], out),
            "pool": lambda out=out: nn.MaxPool2d(out),
            "flatten": nn.Flatten,
            "activation": TORCH_ACTIVATIONS[activation],
        }[kind]())  # fmt: skip
        hidden = modules[-1](hidden)
    return nn.Sequential(*modules)


def flat(net):
    return torch.cat([parameter.detach().flatten() for parameter in net.parameters()])


# sizes


@pytest.mark.parametrize(
    ("architecture", "published"),
    [
        ("cnn", [(8, 1, 5, 5), (6, 8, 5, 5), (4, 6, 2, 2), (20, 36), (10, 20)]),
        ("cnn2", [(6, 3, 5, 5), (9, 6, 5, 5), (6, 9, 2, 2), (20, 54), (10, 20)]),
        ("cnn3", [(16, 3, 3, 3), (32, 16, 3, 3), (15, 32, 3, 3), (20, 60), (10, 20)]),
        ("lenet5", [(6, 3, 5, 5), (16, 6, 5, 5), (120, 400), (84, 120), (10, 84)]),
    ],
)
def test_layer_shapes_are_the_published_ones(architecture, published):
    assert [layer.weight_shape for layer in spec_of(architecture).layers] == published


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_spec_has_the_parameters_of_torchs_own_layers(architecture):
    net = torch_net(architecture, "relu", SHAPES[architecture], 10)
    assert list(spec_of(architecture).shapes.values()) == [tuple(parameter.shape) for parameter in net.parameters()]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_layers_lie_one_after_the_other_in_the_flat_vector(architecture):
    spec, end = spec_of(architecture), 0
    for layer in spec.layers:
        assert layer.offset == end
        assert layer.size == prod(layer.weight_shape) + layer.out
        end += layer.size
    assert end == spec.num_weights == sum(prod(shape) for shape in spec.shapes.values())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_description_builds_the_same_spec(architecture):
    spec = spec_of(architecture, "tanh")
    assert build_spec(**spec.description) == spec


# forward


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("shared", [False, True], ids=["own images", "shared images"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_stack_puts_out_what_each_model_does_in_plain_torch(architecture, activation, shared):
    shape = SHAPES[architecture]
    nets = [torch_net(architecture, activation, shape, 10) for _ in range(NUM_MODELS)]
    images = torch.randn(1 if shared else NUM_MODELS, 4, *shape)
    logits = forward(spec_of(architecture, activation), torch.stack([flat(net) for net in nets]), images)
    alone = torch.stack([net(x) for net, x in zip(nets, images.expand(NUM_MODELS, *images.shape[1:]), strict=True)])
    torch.testing.assert_close(logits, alone, rtol=1e-10, atol=1e-12)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_one_model_in_a_stack_moves_no_output_of_another(architecture):
    spec, images = spec_of(architecture), torch.randn(1, 4, *SHAPES[architecture])
    weights = torch.randn(NUM_MODELS, spec.num_weights)
    broken = weights.clone()
    broken[1] = torch.nan
    before, after = forward(spec, weights, images), forward(spec, broken, images)
    assert torch.equal(before[[0, 2]], after[[0, 2]])
    assert after[1].isnan().all()


def test_the_tables_of_activations_are_the_same():
    assert ACTIVATIONS.keys() == TORCH_ACTIVATIONS.keys()


# flat and named


@pytest.mark.parametrize("stack", [(), (3,), (2, 3)], ids=str)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_flatten_and_unflatten_undo_each_other(architecture, stack):
    spec = spec_of(architecture)
    weights = torch.randn(*stack, spec.num_weights)
    parameters = unflatten(spec, weights)
    assert {name: tuple(p.shape) for name, p in parameters.items()} == {n: (*stack, *s) for n, s in spec.shapes.items()}
    assert torch.equal(flatten(spec, parameters), weights)
    assert torch.equal(flatten(spec, dict(reversed(parameters.items()))), weights)


# init


MOMENTS = {  # mean, variance, smallest, largest of a weight with `n` inputs
    "kaiming_uniform": lambda n: (0, 2 / n, -sqrt(6 / n), sqrt(6 / n)),
    "kaiming_normal": lambda n: (0, 2 / n, -torch.inf, torch.inf),
    "uniform": lambda n: (0.5, 1 / 12, 0, 1),
    "normal": lambda n: (0, 1, -torch.inf, torch.inf),
}


@pytest.mark.parametrize("init", INITS)
def test_initial_weights_have_the_papers_moments_and_bounds(init):
    spec = build_spec(["conv 60 5", "flatten", "linear 40", "activation", "linear classes"], "relu", (8, 7, 7), 300)
    parameters = unflatten(spec, initial_weights(spec, init, torch.Generator().manual_seed(0)))
    for layer in spec.layers:
        weight = parameters[f"{layer.name}.weight"].double()
        mean, variance, low, high = MOMENTS[init](prod(layer.fan_in))
        error = 5 / sqrt(weight.numel())
        assert abs(weight.mean() - mean) < error * sqrt(variance)
        assert abs(weight.var() / variance - 1) < error * sqrt(2)
        assert low <= weight.min() < weight.max() <= high


@pytest.mark.parametrize("init", INITS)
def test_initial_biases_are_a_hundredth(init):
    spec = spec_of("cnn")
    parameters = unflatten(spec, initial_weights(spec, init, torch.Generator().manual_seed(0)))
    biases = torch.cat([parameter for name, parameter in parameters.items() if name.endswith("bias")])
    assert torch.equal(biases, torch.full_like(biases, 0.01))


@pytest.mark.parametrize("init", INITS)
def test_initial_weights_come_from_the_generator_alone(init):
    spec = spec_of("cnn_digits")
    ours, again, other = (initial_weights(spec, init, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(ours, again)
    assert not torch.equal(ours, other)


# refusals


BAD_LAYERS = {
    "unknown name": ("cnn4", "no architecture 'cnn4'"),
    "no layers": ([], "linear classes"),
    "no last layer": (["flatten", "linear 10"], "linear classes"),
    "conv without kernel": (["conv 8", "flatten", "linear classes"], "'conv 8'"),
    "conv of 0 units": (["conv 0 3", "flatten", "linear classes"], "'conv 0 3'"),
    "negative kernel": (["conv 8 -3", "flatten", "linear classes"], "'conv 8 -3'"),
    "pool of a fraction": (["pool 2.5", "flatten", "linear classes"], "'pool 2.5'"),
    "linear without size": (["flatten", "linear", "linear classes"], "'linear'"),
    "activation with a name": (["flatten", "activation relu", "linear classes"], "'activation relu'"),
    "two spaces": (["flatten", "linear  5", "linear classes"], "'linear  5'"),
    "capital": (["Flatten", "linear classes"], "'Flatten'"),
    "unknown kind": (["droppout 0.2", "flatten", "linear classes"], "'droppout 0.2'"),
    "empty layer": (["", "flatten", "linear classes"], "''"),
    "linear on pixels": (["linear classes"], "'linear classes'"),
    "conv on a vector": (["flatten", "conv 8 3", "linear classes"], "'conv 8 3'"),
    "pool on a vector": (["flatten", "pool 2", "linear classes"], "'pool 2'"),
    "flatten twice": (["flatten", "flatten", "linear classes"], "'flatten'"),
    "kernel wider than the image": (["conv 8 9", "flatten", "linear classes"], "8 x 8 pixels"),
    "pool wider than the image": (["pool 9", "flatten", "linear classes"], "8 x 8 pixels"),
    "no pixel left": (["pool 4", "conv 8 3", "flatten", "linear classes"], "2 x 2 pixels"),
}


@pytest.mark.parametrize(("architecture", "told"), BAD_LAYERS.values(), ids=BAD_LAYERS)
def test_a_layer_that_does_not_read_or_fit_is_named(architecture, told):
    with pytest.raises(InputError) as error:
        build_spec(architecture, "relu", (1, 8, 8), 10)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


# symmetry


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_has_the_identity_of_its_class_and_no_other(name):
    activation, z = ACTIVATIONS[name], torch.linspace(-4, 4, 161)
    plus, minus = activation.function(z), activation.function(-z)
    residuals = {
        "odd": plus + minus,
        "odd_constant": plus + minus - (plus + minus).mean(),
        "even_linear": plus - minus - z * ((plus - minus) @ z) / (z @ z),
    }
    holds = {symmetry for symmetry, residual in residuals.items() if residual.abs().max() < 1e-12}
    assert holds - ({"odd_constant"} if activation.symmetry == "odd" else set()) == {activation.symmetry} - {"none"}
    if activation.symmetry == "even_linear":
        torch.testing.assert_close(plus - minus, activation.slope * z)
    if activation.symmetry == "odd_constant":
        torch.testing.assert_close(plus + minus, torch.full_like(z, activation.constant))
    assert activation.scaling == bool((activation.function(3 * z) - 3 * plus).abs().max() < 1e-12)


@pytest.mark.usefixtures("float64")
def test_padding_is_torchs():
    spec = build_spec(["conv 3 3 1", "activation", "flatten", "linear classes"], "relu", (2, 5, 4), 4)
    net = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(60, 4))
    images = torch.randn(1, 6, 2, 5, 4)
    torch.testing.assert_close(forward(spec, flat(net).unsqueeze(0), images)[0], net(images[0]))
