"""A predictor is NeRN's: its features, its size, PyTorch's initial weights; in a stack it is as it is alone."""

from math import cos, pi, sin

import pytest
import torch
from torch import nn
from weightspace.nets.forward import forward, unflatten
from weightspace.predictor import model
from weightspace.predictor.model import embedding, initial_predictor, predict, predict_all, predictor_spec

SPEC = predictor_spec(levels=3, hidden=7, size=3)


def drawn(models=3):
    generator = torch.Generator().manual_seed(0)
    return torch.stack([initial_predictor(SPEC, generator) for _ in range(models)])


def module_of(spec, weights):
    """The same predictor as an ordinary torch module."""
    layers = [nn.Linear(layer.fan_in[0], layer.out) for layer in spec.layers]
    for parameter, value in zip(nn.Sequential(*layers).parameters(), unflatten(spec, weights).values(), strict=True):
        parameter.data = value.clone()
    return nn.Sequential(*(module for layer in layers for module in (layer, nn.ReLU())))[:-1]


def test_features_are_sines_and_cosines_coordinate_by_coordinate():
    features = embedding(torch.tensor([[20, 511, 7]]), 0.76, 40)[0]
    expected = [f(pi * 0.76**i * p) for p in (20, 511, 7) for i in range(40) for f in (sin, cos)]
    assert features.dtype == torch.float32
    torch.testing.assert_close(features, torch.tensor(expected), rtol=0, atol=1e-7)


def test_the_first_sine_of_integers_is_zero():
    coordinates = torch.arange(300).reshape(100, 3)
    features = embedding(coordinates, 0.76, 40).view(100, 3, 40, 2)
    assert features[:, :, 0, 0].abs().max() < 1e-12
    torch.testing.assert_close(features.square().sum(-1), torch.ones(100, 3, 40))


@pytest.mark.parametrize("hidden", [140, 160, 240, 1024])
def test_published_sizes_of_predictors(hidden):
    spec = predictor_spec(40, hidden, 3)
    assert spec.num_weights == 3 * hidden**2 + 253 * hidden + 9
    assert spec.shapes["linear1.weight"] == (hidden, 240)
    assert spec.shapes["linear5.weight"] == (9, hidden)
    assert hidden != 140 or spec.num_weights == 94_229


def test_first_weights_are_those_of_pytorchs_linear_layers():
    torch.manual_seed(5)
    layers = [nn.Linear(layer.fan_in[0], layer.out) for layer in SPEC.layers]
    expected = nn.utils.parameters_to_vector(nn.Sequential(*layers).parameters())
    torch.testing.assert_close(initial_predictor(SPEC, torch.Generator().manual_seed(5)), expected.detach())


@pytest.mark.parametrize("sets", [1, 3])
def test_predictions_are_those_of_a_torch_module_and_of_the_stack_as_networks(sets):
    weights, features = drawn(), torch.randn(sets, 11, 18)
    predicted = predict(SPEC, weights, features)
    for n, own in enumerate(weights):
        torch.testing.assert_close(predicted[n], module_of(SPEC, own)(features[n % sets]))
    torch.testing.assert_close(predicted, forward(SPEC, weights, features.view(sets, 11, 18, 1, 1)))


def test_a_kernel_is_what_its_row_of_the_table_gives():
    weights, table = drawn(), torch.randn(10, 18)
    rank = torch.stack([torch.randperm(10) for _ in range(3)])
    expected = predict(SPEC, weights, table[rank])
    torch.testing.assert_close(predict_all(SPEC, weights, table, rank), expected)


def test_kernels_of_a_whole_network_do_not_depend_on_the_stack(monkeypatch):
    monkeypatch.setattr(model, "TABLE_ROWS", 4)
    weights, table, rank = drawn(), torch.randn(10, 18), torch.arange(10).expand(3, -1)
    whole = predict_all(SPEC, weights, table, rank)
    alone = torch.cat([predict_all(SPEC, own, table, rank[:1]) for own in weights.split(1)])
    assert torch.equal(whole, alone)
