"""How numbers of a stack of models lie: the two ways in which images do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from einops import rearrange

from weightspace.lazily import torch
from weightspace.nets.steps import Op

if TYPE_CHECKING:
    from torch import Tensor


def by_model(op: Op, hidden: Tensor) -> Tensor:
    """[model, batch, channel, h, w] of images; sequences and vectors are so already."""
    return rearrange(hidden, "b (m c) h w -> m b c h w", c=op.inside[0]) if len(op.inside) == 3 else hidden


def joined(hidden: Tensor) -> Tensor:
    """Inverse of `by_model`."""
    if hidden.dim() < 5:
        return hidden
    return rearrange(hidden, "m b c h w -> b (m c) h w").contiguous(memory_format=torch.channels_last)
