"""Activation functions, and the symmetry that each gives a neuron (Martinelli et al. 2024, symmetry classes)."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

LEAK = 0.01  # slope of leaky_relu below 0, torch's default


class Activation(NamedTuple):
    """A function and its identities, which decide how far a neuron's weights can be told from its outputs.

    odd: f(-z) = -f(z), so (w, a) is (-w, -a). odd_constant: f(-z) = constant - f(z), the same and a constant.
    even_linear: f(-z) = f(z) - slope z, so (w, a) is (-w, a) and an affine function. scaling: f(c z) = c f(z) for c > 0.
    """

    function: Callable[[Tensor], Tensor]
    text: str  # of the function of x in torch
    symmetry: Literal["none", "odd", "odd_constant", "even_linear"] = "none"
    constant: float = 0.0
    slope: float = 0.0
    scaling: bool = False


def sigmoid_softplus(z: Tensor) -> Tensor:
    """sigmoid(4z) + softplus(z), the asymmetric function g of Expand-and-Cluster."""
    return torch.sigmoid(4 * z) + F.softplus(z)


ACTIVATIONS: dict[str, Activation] = {
    "relu": Activation(F.relu, "F.relu(x)", "even_linear", slope=1.0, scaling=True),
    "leaky_relu": Activation(F.leaky_relu, "F.leaky_relu(x)", "even_linear", slope=1 + LEAK, scaling=True),
    "tanh": Activation(torch.tanh, "torch.tanh(x)", "odd"),
    "erf": Activation(torch.erf, "torch.erf(x)", "odd"),
    "gelu": Activation(F.gelu, "F.gelu(x)", "even_linear", slope=1.0),
    "silu": Activation(F.silu, "F.silu(x)", "even_linear", slope=1.0),
    "softplus": Activation(F.softplus, "F.softplus(x)", "even_linear", slope=1.0),
    "sigmoid": Activation(torch.sigmoid, "torch.sigmoid(x)", "odd_constant", constant=1.0),
    "elu": Activation(F.elu, "F.elu(x)"),
    "g": Activation(sigmoid_softplus, "torch.sigmoid(4 * x) + F.softplus(x)"),
}
