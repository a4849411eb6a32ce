"""Which numbers of a network are tokens, and how many, from its shapes alone."""

from math import prod
from typing import Literal

from weightspace.nets.spec import NetSpec
from weightspace.nets.steps import Op, Parameter

BatchNormTokens = Literal["none", "affine", "all"]  # of each batch norm: none, scale and shift, or statistics too


def is_token(op: Op, parameter: Parameter, batch_norm: BatchNormTokens) -> bool:
    """Whether the rows that begin with a parameter are tokens."""
    is_batch_norm = not all(each.learned for each in op.made.parameters)
    return not is_batch_norm or batch_norm == "all" or (batch_norm == "affine" and parameter.learned)


def token_rows(spec: NetSpec, batch_norm: BatchNormTokens = "all") -> list[tuple[int, int]]:
    """Units of each layer of tokens, and the numbers of each of them."""
    rows: list[tuple[int, int]] = []
    for op in spec.ops:
        for parameter in op.made.parameters:
            units, size = parameter.shape[0], prod(parameter.shape)
            if parameter.beside and is_token(op, parameter, batch_norm):
                units, numbers = rows.pop()
                rows.append((units, numbers + size // units))
            elif is_token(op, parameter, batch_norm):
                rows.append((units, size // units))
    return rows


def longest_row(spec: NetSpec, batch_norm: BatchNormTokens = "all") -> int:
    """Numbers of the longest unit, which then fits into one token."""
    return max(numbers for _, numbers in token_rows(spec, batch_norm))
