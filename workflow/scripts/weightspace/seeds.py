"""Seeds from identity, without torch: the settings are checked in every process."""

from hashlib import sha256


def seed_for(*identity: str | int | float) -> int:
    """Seed in [0, 2^32) of whatever `identity` names: sha256 of its repr, first four bytes."""
    return int.from_bytes(sha256(repr(identity).encode()).digest()[:4], "big")
