"""At how many positions a network has tokens, without a layout of them."""

from weightspace.autoencoder.settings_within import Extent
from weightspace.nets.spec import NetSpec
from weightspace.token_rows import BatchNormTokens, longest_row, token_rows


def extent_of(spec: NetSpec, token_size: int | None = None, batch_norm: BatchNormTokens = "all") -> Extent:
    """Positions of a network's tokens of so many entries, or of the longest unit's where `token_size` is None."""
    rows, size = token_rows(spec, batch_norm), token_size or longest_row(spec, batch_norm)
    return Extent(sum(units * -(-numbers // size) for units, numbers in rows), len(rows), max(units for units, _ in rows))
