"""Function-preserving permutations of hidden units, as gather maps over the flat weights."""

from math import prod

import torch
from jaxtyping import Int
from torch import Generator, Tensor

from weightspace.errors import InputError
from weightspace.nets.spec import NetSpec


def sample_permutations(spec: NetSpec, num: int, generator: Generator) -> list[Int[Tensor, "view _unit"]]:
    """`num` uniform permutations of each hidden layer's units."""
    return [torch.rand(num, layer.out, generator=generator).argsort(dim=1) for layer in spec.layers[:-1]]


def permutation_map(spec: NetSpec, permutations: list[Int[Tensor, "view _unit"]]) -> Int[Tensor, "view weight"]:
    """Index map whose `gather` over flat weights permutes them: unit k of a layer becomes its old unit permutation[k].

    A layer's rows move with its own permutation, its incoming weights with that of the layer below; after a
    flatten, each channel's block of pixels moves as one. Raises InputError if there is no hidden layer.
    """
    if not permutations:
        raise InputError("a network without hidden layers has no permuted views: use views: original")
    num = len(permutations[0])
    below, maps = torch.zeros(num, 1, dtype=torch.long), []
    for layer, own in zip(spec.layers, [*permutations, None], strict=True):
        fan_in = prod(layer.fan_in)
        block = fan_in // below.shape[1]
        rows = torch.arange(layer.out).expand(num, -1) if own is None else own
        columns = (below.unsqueeze(2) * block + torch.arange(block)).flatten(1)
        maps += [layer.offset + (rows.unsqueeze(2) * fan_in + columns.unsqueeze(1)).flatten(1)]
        maps += [layer.offset + layer.out * fan_in + rows]
        below = rows
    return torch.cat(maps, dim=1)
