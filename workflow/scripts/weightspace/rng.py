"""Seeds from identity: the same job draws the same numbers in every process, on every machine."""

from hashlib import sha256

import torch


def seed_for(*identity: str | int | float) -> int:
    """Seed in [0, 2^32) of whatever `identity` names: sha256 of its repr, first four bytes."""
    return int.from_bytes(sha256(repr(identity).encode()).digest()[:4], "big")


def generator_for(*identity: str | int | float) -> torch.Generator:
    """CPU generator seeded by `identity`; draw on the CPU and move, so that devices agree."""
    return torch.Generator().manual_seed(seed_for(*identity))
