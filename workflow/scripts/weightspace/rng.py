"""Generators from identity: the same job draws the same numbers in every process, on every machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightspace.lazily import torch
from weightspace.seeds import seed_for

if TYPE_CHECKING:
    from torch import Generator


def generator_for(*identity: str | int | float) -> Generator:
    """CPU generator seeded by `identity`; draw on the CPU and move, so that devices agree."""
    return torch.Generator().manual_seed(seed_for(*identity))
