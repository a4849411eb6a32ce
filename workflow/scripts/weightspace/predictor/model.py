"""Predictors: small networks from a kernel's coordinate to its weights, many as one stack.

A stack is flat weights [model, weight] of one spec, as any other stack of networks here: linear1.weight (hidden, features),
linear1.bias, to linear5 (Ashkenazi et al. 2023, NeRN).
"""

from math import pi, prod, sqrt

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from weightspace.nets.forward import unflatten
from weightspace.nets.spec import NetSpec, build_spec

NUM_HIDDEN = 4  # layers
TABLE_ROWS = 4096  # of the table of coordinates, predicted at once


def embedding(coordinates: Int[Tensor, "kernel 3"], base: float, levels: int) -> Float[Tensor, "kernel feature"]:
    """Features of coordinates p, level by level, sine then cosine: sin(pi base^i p), cos(pi base^i p) for i = 0 .. levels - 1.

    Coordinates are not normalized. Angles are float64, so that those of large coordinates keep their digits; features float32.
    """
    frequencies = pi * base ** torch.arange(levels, dtype=torch.float64, device=coordinates.device)
    angles = coordinates.double().unsqueeze(-1) * frequencies
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1).float()


def predictor_spec(levels: int, hidden: int, size: int) -> NetSpec:
    """A predictor as a spec: 6 levels features, four hidden layers of relu, size^2 numbers.

    It has 3 h^2 + (6 levels + 4 + size^2) h + size^2 weights: 94,229 for 40 levels, h = 140 and size 3.
    """
    layers = ["flatten", *NUM_HIDDEN * [f"linear {hidden}", "activation"], "linear classes"]
    return build_spec(layers, "relu", (6 * levels, 1, 1), size**2)


def initial_predictor(spec: NetSpec, generator: Generator) -> Float[Tensor, " weight"]:
    """PyTorch's default of a linear layer: weights and biases uniform within 1 / sqrt(fan_in)."""
    pieces = []
    for layer in spec.layers:
        bound = 1 / sqrt(prod(layer.fan_in))
        for num in (layer.out * prod(layer.fan_in), layer.out):
            pieces.append(torch.empty(num).uniform_(-bound, bound, generator=generator))
    return torch.cat(pieces)


def predict(
    spec: NetSpec, weights: Float[Tensor, "model weight"], features: Float[Tensor, "sets batch feature"]
) -> Float[Tensor, "model batch element"]:
    """Kernels that each predictor puts out for its own features, or for the same ones where `sets` is 1."""
    parameters = unflatten(spec, weights)
    hidden = features.expand(len(weights), -1, -1)
    for n, layer in enumerate(spec.layers):
        bias = parameters[f"{layer.name}.bias"].unsqueeze(1)
        hidden = torch.baddbmm(bias, hidden if n == 0 else hidden.relu(), parameters[f"{layer.name}.weight"].mT)
    return hidden


@torch.no_grad()
def predict_all(
    spec: NetSpec,
    weights: Float[Tensor, "model weight"],
    table: Float[Tensor, "row feature"],
    rank: Int[Tensor, "model kernel"],
) -> Float[Tensor, "model kernel element"]:
    """Kernels of whole networks, in the networks' own order: kernel n is what row rank[n] of the table gives.

    Each model alone, its first to its last row of the table, TABLE_ROWS at a time, each layer one torch.addmm. So a model's
    kernels do not depend on its stack, and can be made again bit for bit on the same machine.
    """
    kernels = []
    for own, order in zip(weights.split(1), rank, strict=True):
        first, last = int(order.min()), int(order.max())
        rows = [_predict_alone(spec, own, part) for part in table[first : last + 1].split(TABLE_ROWS)]
        kernels.append(torch.cat(rows)[order - first])
    return torch.stack(kernels)


def _predict_alone(spec: NetSpec, weights: Tensor, features: Tensor) -> Float[Tensor, "row element"]:
    parameters, hidden = unflatten(spec, weights), features
    for n, layer in enumerate(spec.layers):
        weight, bias = parameters[f"{layer.name}.weight"][0], parameters[f"{layer.name}.bias"][0]
        hidden = torch.addmm(bias, hidden if n == 0 else hidden.relu_(), weight.T)
    return hidden
