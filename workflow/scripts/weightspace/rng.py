"""Generators from identity: the same job draws the same numbers in every process, on every machine."""

import torch

from weightspace.seeds import seed_for


def generator_for(*identity: str | int | float) -> torch.Generator:
    """CPU generator seeded by `identity`; draw on the CPU and move, so that devices agree."""
    return torch.Generator().manual_seed(seed_for(*identity))
