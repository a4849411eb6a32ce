"""A stack of networks fitted to answers: which model answers which teacher's queries, and how well."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightspace.nets.forward import forward
from weightspace.nets.spec import NetSpec

BUDGET = 2**22  # activations at once when measuring


class Fit(NamedTuple):
    """Queries and answers, and the teacher that each model of a stack imitates."""

    x: Float[Tensor, "set query channel height width"]  # set: 1 where all teachers got the same queries
    y: Float[Tensor, "teacher query output"]
    owner: Int[Tensor, " model"]

    def inputs(self, models: Tensor) -> Float[Tensor, "set query channel height width"]:
        """Queries of some models."""
        return self.x if len(self.x) == 1 else self.x[self.owner[models]]

    def answers(self, models: Tensor) -> Float[Tensor, "model query output"]:
        """Answers that some models should give."""
        return self.y[self.owner[models]]

    def first(self, num: int) -> "Fit":
        """The same with the first `num` queries."""
        return self._replace(x=self.x[:, :num], y=self.y[:, :num])

    def of(self, models: Tensor) -> "Fit":
        """The same for some models alone."""
        return self._replace(owner=self.owner[models])


@torch.no_grad()
def squared_error(spec: NetSpec, weights: Float[Tensor, "model weight"], fit: Fit) -> Float[Tensor, " model"]:
    """Mean squared error of each model over queries and outputs."""
    num, total = fit.y.shape[1], torch.zeros(len(weights), dtype=weights.dtype, device=weights.device)
    for models in torch.arange(len(weights), device=weights.device).split(max(1, BUDGET // (num * largest_layer(spec)))):
        for x, y in query_chunks(fit.inputs(models), fit.answers(models), max(1, BUDGET // (len(models) * largest_layer(spec)))):
            total[models] += (forward(spec, weights[models], x) - y).square().sum((1, 2))
    return total / (num * fit.y.shape[2])


def finite_first(error: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """Errors to choose by: one that is no number is the largest, so that a diverged model is never the best one."""
    return torch.where(error.isnan(), torch.inf, error)


def query_chunks(x: Tensor, y: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Queries and answers in pieces of at most `size` queries."""
    return zip(x.split(size, dim=1), y.split(size, dim=1), strict=True)


def largest_layer(spec: NetSpec) -> int:
    """Numbers per query in the widest place of a network, at least those of its input."""
    channels, height, width = spec.image_shape
    pixels = height * width
    return max([channels * pixels, *(layer.out * (pixels if len(layer.fan_in) == 3 else 1) for layer in spec.layers)])
