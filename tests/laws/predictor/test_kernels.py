"""Kernels are the weights, cut up: joined again they are the same, and there are as many as published."""

from math import prod

import pytest
import torch
from weightspace.errors import InputError
from weightspace.nets.spec import build_spec
from weightspace.predictor.kernels import from_kernels, layout_of, to_kernels

MIXED = {
    "conv1.weight": (4, 3, 5, 5),
    "conv1.bias": (4,),
    "norm2.weight": (4,),
    "conv3.weight": (6, 2, 3, 3),  # two groups
    "conv4.weight": (6, 6, 1, 1),
    "linear5.weight": (7, 60),
    "linear5.bias": (7,),
}


def drawn(shapes, models=2):
    return {name: torch.randn(models, *shape) for name, shape in shapes.items()}


def resnet(name):
    size = 224 if name == "resnet18" else 32
    return build_spec(name, "relu", (3, size, size), 10).shapes


@pytest.mark.parametrize("linear", [True, False])
@pytest.mark.parametrize("sizes", [None, [3], [1, 5]])
def test_joined_kernels_are_the_weights_again(sizes, linear):
    layout, parameters = layout_of(MIXED, sizes, linear), drawn(MIXED)
    joined = from_kernels(layout, to_kernels(layout, parameters))
    kinds = {f"conv{n}.weight" for n, size in ((1, 5), (3, 3), (4, 1)) if sizes is None or size in sizes}
    assert joined.keys() == kinds | ({"linear5.weight"} if linear else set())
    for name, weight in joined.items():
        assert torch.equal(weight, parameters[name])


def test_the_mask_is_where_weights_are_and_elsewhere_kernels_are_zero():
    layout = layout_of(MIXED, None, True)
    ones = to_kernels(layout, {name: torch.ones(1, *shape) for name, shape in MIXED.items()})
    assert torch.equal(ones[0], layout.mask.float())
    assert layout.num_weights == sum(prod(part.shape) for part in layout.parts)
    assert layout.mask.shape == (layout.num_kernels, layout.size**2)


def test_a_small_kernel_is_the_center_of_the_large_one():
    layout = layout_of({"conv1.weight": (2, 3, 1, 1), "conv2.weight": (1, 2, 5, 5)}, None, False)
    parameters = drawn({part.name: part.shape for part in layout.parts}, models=1)
    kernels = to_kernels(layout, parameters).view(-1, 5, 5)
    assert torch.equal(kernels[:6, 2, 2], parameters["conv1.weight"].flatten())
    assert int(layout.mask[:6].sum()) == 6


def test_a_layer_of_small_kernels_alone_has_outputs_of_nine():
    assert layout_of({"conv1.weight": (2, 3, 1, 1)}, None, False).size == 3


def test_each_kernel_has_its_coordinate():
    layout, parameters = layout_of(MIXED, [3, 5], True), drawn(MIXED)
    kernels = to_kernels(layout, parameters)
    assert len(layout.coordinates.unique(dim=0)) == layout.num_kernels
    for kernel, (layer, filter_, channel) in zip(kernels[1], layout.coordinates.tolist(), strict=True):
        row = parameters[layout.parts[layer].name][1, filter_]
        if row.ndim == 1:  # a block of 25 inputs
            block = row[25 * channel : 25 * (channel + 1)]
            assert torch.equal(kernel[: len(block)], block)
        else:
            rim = (5 - row.shape[-1]) // 2
            inside = kernel.view(5, 5)[rim : 5 - rim, rim : 5 - rim]
            assert torch.equal(inside, row[channel])


def test_gradients_pass_to_the_kernels():
    layout = layout_of(MIXED, None, True)
    kernels = torch.randn(1, layout.num_kernels, 25, requires_grad=True)
    sum(weight.sum() for weight in from_kernels(layout, kernels).values()).backward()
    assert torch.equal(kernels.grad[0], layout.mask.float())


@pytest.mark.parametrize(
    ("shapes", "sizes", "says"),
    [
        ({"conv1.weight": (2, 1, 2, 2)}, None, "conv1.weight are 2 x 2"),
        ({"conv1.weight": (2, 1, 3, 1)}, None, "3 x 1"),
        ({"conv1.weight": (2, 1, 3, 3)}, [5], "nothing to predict"),
        ({"linear1.weight": (2, 9), "norm2.weight": (2,)}, None, "nothing to predict"),
    ],
)
def test_what_cannot_be_predicted_is_said(shapes, sizes, says):
    with pytest.raises(InputError, match=says):
        layout_of(shapes, sizes, False)


def test_even_kernels_stay_out_where_sizes_are_named():
    layout = layout_of({"conv1.weight": (8, 1, 3, 3), "conv2.weight": (12, 8, 2, 2)}, [3], False)
    assert [part.name for part in layout.parts] == ["conv1.weight"]


@pytest.mark.parametrize(
    ("name", "sizes", "layers", "kernels", "weights"),
    [  # predictor.md, from the official code
        ("resnet20", None, 21, 32_304, 270_256),
        ("resnet56", None, 57, 96_816, 850_864),
        ("resnet18", [3], 16, 1_220_608, 10_985_472),
    ],
)
def test_published_counts(name, sizes, layers, kernels, weights):
    layout = layout_of(resnet(name), sizes, False)
    assert (len(layout.parts), layout.num_kernels, layout.num_weights) == (layers, kernels, weights)
