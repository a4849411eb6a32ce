"""The weights that a predictor holds, cut into kernels of one size, each with its coordinate."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from weightspace.predictor.selection import output_size, predicted_layers


class Part(NamedTuple):
    """One predicted layer; its kernels are rows begin .. begin + num_kernels, filter by filter, channel by channel."""

    name: str  # of the parameter, such as conv3.weight
    shape: tuple[int, ...]  # (out, in / groups, kernel, kernel) or (out, in)
    filters: int
    channels: int  # of a linear layer: blocks of size * size inputs
    kernel: int  # side of its kernels; a linear layer's fill the output
    begin: int

    @property
    def num_kernels(self) -> int:
        return self.filters * self.channels

    @property
    def rows(self) -> slice:
        """Its kernels among those of the layout."""
        return slice(self.begin, self.begin + self.num_kernels)


class Layout(NamedTuple):
    """What of a network is predicted, in the order of its parameters."""

    parts: tuple[Part, ...]
    size: int  # side of the kernel that the predictor puts out

    @property
    def num_kernels(self) -> int:
        return sum(part.num_kernels for part in self.parts)

    @property
    def num_weights(self) -> int:
        """Weights that are predicted: P of NeRN."""
        return int(self.mask.sum())

    @property
    def mask(self) -> Bool[Tensor, "kernel element"]:
        """True where an output is a weight."""
        ones = {part.name: torch.ones(1, *part.shape) for part in self.parts}
        return to_kernels(self, ones)[0].bool()

    @property
    def coordinates(self) -> Int[Tensor, "kernel 3"]:
        """Layer among the predicted ones, filter and channel of each kernel, from 0."""
        grids = [
            torch.cartesian_prod(torch.tensor([n]), torch.arange(part.filters), torch.arange(part.channels))
            for n, part in enumerate(self.parts)
        ]
        return torch.cat(grids)


def layout_of(shapes: dict[str, tuple[int, ...]], kernel_sizes: Sequence[int] | None, linear: bool) -> Layout:
    """Where the kernels of the predicted layers lie, of a network whose parameters have such shapes.

    The predictor puts out the largest kernel, 3 x 3 at least. Raises InputError as `predicted_layers`.
    """
    chosen = predicted_layers(shapes, kernel_sizes, linear)
    size = output_size(chosen)
    parts, begin = [], 0
    for name, shape in chosen.items():
        channels, kernel = shape[1:3] if len(shape) == 4 else (-(-shape[1] // size**2), size)
        parts.append(Part(name, shape, shape[0], channels, kernel, begin))
        begin += parts[-1].num_kernels
    return Layout(tuple(parts), size)


def to_kernels(layout: Layout, parameters: dict[str, Float[Tensor, "model ..."]]) -> Float[Tensor, "model kernel element"]:
    """Kernels of all predicted layers: smaller ones centered among zeros, rows of linear layers in blocks, zeros at the end."""
    return torch.cat([_cut(part, layout.size, parameters[part.name]) for part in layout.parts], dim=1)


def _cut(part: Part, size: int, weight: Tensor) -> Float[Tensor, "model kernel element"]:
    rim = (size - part.kernel) // 2
    missing = (rim,) * 4 if len(part.shape) == 4 else (0, part.channels * size**2 - part.shape[1])
    return F.pad(weight, missing).reshape(len(weight), part.num_kernels, size**2)


def from_kernels(layout: Layout, kernels: Float[Tensor, "model kernel element"]) -> dict[str, Float[Tensor, "model ..."]]:
    """Predicted parameters by name, new tensors; inverse of `to_kernels` on them."""
    return {part.name: _join(part, layout.size, kernels[:, part.rows]) for part in layout.parts}


def _join(part: Part, size: int, kernels: Tensor) -> Float[Tensor, "model ..."]:
    if len(part.shape) == 2:
        return kernels.reshape(len(kernels), part.filters, -1)[..., : part.shape[1]].contiguous()
    inside = slice((size - part.kernel) // 2, (size + part.kernel) // 2)
    return kernels.reshape(len(kernels), part.filters, part.channels, size, size)[..., inside, inside].contiguous()
