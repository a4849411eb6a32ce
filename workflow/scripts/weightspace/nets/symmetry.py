"""Function-preserving permutations of hidden units, as gather maps over the flat weights.

Units are told by levels: permutations whose mixed-radix product permutes them. A hidden layer's units have one of their own;
what `add` joins moves together (PermutationSpec of Git Re-Basin: Ainsworth et al. 2023); after a flatten each unit's pixels
move as one block. Around a convolution in groups, groups are permuted, and units within a group, in all groups the same way;
so for a depthwise convolution incoming and outgoing units move together. Groups of which one does not divide the other, on the
same units, keep them where they are. Heads of attention are groups: they move, and features within a head, in all heads the same
way. Channels of a shortcut that zeros are put around stay in place, and so do inputs and outputs of the network.
"""

from functools import reduce
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Generator, Tensor

from weightspace.errors import InputError
from weightspace.nets.layers import LAYERS
from weightspace.nets.spec import NetSpec
from weightspace.nets.steps import IN, Level

Units = tuple[int, ...]  # levels, by their numbers


class Symmetry(NamedTuple):
    """What moves the flat index of each parameter, and the levels that may be permuted."""

    parameters: list[Units]
    sizes: list[int]  # of all levels
    free: list[int]  # in the order of their first parameter


class _Ties:
    """Levels that were found to move together, or to be products of others."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.fixed: set[int] = set()
        self.means: dict[int, Units] = {}  # what a level was replaced by

    def new(self, size: int, fixed: bool = False) -> int:
        self.sizes.append(size)
        if fixed:
            self.fixed.add(len(self.sizes) - 1)
        return len(self.sizes) - 1

    def levels(self, named: tuple[Level, ...], known: dict[str, Units]) -> Units:
        return tuple(n for one in named for n in (known[one.word] if one.word else [self.new(one.size, fixed=True)]))

    def of(self, units: Units) -> Units:
        """The same units by the levels that are left."""
        return tuple(part for level in units for part in (self.of(self.means[level]) if level in self.means else (level,)))

    def split(self, level: int, size: int) -> None:
        fixed = level in self.fixed
        self.means[level] = (self.new(size, fixed), self.new(self.sizes[level] // size, fixed))

    def tie(self, ours: Units, theirs: Units) -> Units:
        """Make both move alike, by splitting levels where one divides the other; where none does, both stay in place."""
        ours, theirs = self.of(ours), self.of(theirs)
        if not ours or not theirs or ours == theirs:
            return ours or theirs
        one, other = sorted((ours[0], theirs[0]), key=lambda level: (self.sizes[level], level))
        if one == other:
            return (one, *self.tie(ours[1:], theirs[1:]))
        if self.sizes[other] % self.sizes[one]:
            self.fixed.update(ours + theirs)
            return ours
        if self.sizes[one] < self.sizes[other]:
            self.split(other, self.sizes[one])
        elif other in self.fixed:
            self.means[one] = (other,)
        else:
            self.means[other] = (one,)
        return self.tie(ours, theirs)


def symmetry_of(spec: NetSpec) -> Symmetry:
    """How the layers' entries tie the units of a network."""
    ties, kept, parameters = _Ties(), [], []
    units: Units = (ties.new(spec.image_shape[0], fixed=True),)
    for op in spec.ops:
        route, known = LAYERS[op.kind].route, {"in": units}
        for level in (*op.made.takes, *op.made.gives):
            if level.word and level.word not in known:
                known[level.word] = (ties.new(level.size),)
        parameters += [ties.levels(parameter.units, known) for parameter in op.made.parameters]
        if op.made.takes != IN:
            ties.tie(units, ties.levels(op.made.takes, known))
        units = route(units, kept, ties.tie) if route else ties.levels(op.made.gives, known)
    ties.tie(units, (ties.new(spec.num_classes, fixed=True),))
    parameters = [ties.of(levels) for levels in parameters]
    free = dict.fromkeys(level for levels in parameters for level in levels if level not in ties.fixed)
    return Symmetry(parameters, ties.sizes, list(free))


def sample_permutations(spec: NetSpec, num: int, generator: Generator) -> list[Int[Tensor, "view _unit"]]:
    """`num` uniform permutations of each level that may be permuted: of a chain, each hidden layer's units."""
    symmetry = symmetry_of(spec)
    return [torch.rand(num, symmetry.sizes[level], generator=generator).argsort(dim=1) for level in symmetry.free]


def permutation_map(spec: NetSpec, permutations: list[Int[Tensor, "view _unit"]]) -> Int[Tensor, "view weight"]:
    """Index map whose `gather` over flat weights permutes them: unit k of a layer becomes its old unit permutation[k].

    All that belongs to units moves with them: rows, biases, norms with their running statistics, columns of the layers above.
    Raises InputError if no unit may move.
    """
    if not permutations:
        raise InputError("a network without hidden units that may move has no permuted views: use views: original")
    symmetry, num = symmetry_of(spec), len(permutations[0])
    moves = dict(zip(symmetry.free, permutations, strict=True))
    maps, offset = [], 0
    for levels in symmetry.parameters:
        rows = [moves[n] if n in moves else torch.arange(symmetry.sizes[n]).expand(num, -1) for n in levels]
        index = reduce(lambda whole, own: (whole.unsqueeze(2) * own.shape[1] + own.unsqueeze(1)).flatten(1), rows)
        maps.append(offset + index)
        offset += index.shape[1]
    return torch.cat(maps, dim=1)


def permuted(
    spec: NetSpec, permutations: list[Int[Tensor, "view _unit"]], index: Int[Tensor, "view token feature"]
) -> Int[Tensor, "view token feature"]:
    """`permutation_map` at these places alone: no map of the whole network is made."""
    symmetry, device = symmetry_of(spec), index.device
    moves, sizes = dict(zip(symmetry.free, permutations, strict=True)), [*symmetry.sizes, 1]
    orders = [moves[n] if n in moves else torch.arange(size).expand(len(index), -1) for n, size in enumerate(sizes)]
    orders, sizes = torch.cat(orders, dim=1).to(device), torch.tensor(sizes)
    most, single = max(map(len, symmetry.parameters)), len(sizes) - 1  # a level of one unit fills up the shorter ones
    levels = torch.tensor([(*levels, *(single,) * (most - len(levels))) for levels in symmetry.parameters])
    below = sizes[levels].flip(1).cumprod(1).flip(1)  # numbers of a parameter that have one place of the levels before
    ends = below[:, 0].cumsum(0)
    parameter = torch.bucketize(index, ends.to(device), right=True)
    of_levels = [sizes[levels], below // sizes[levels], (sizes.cumsum(0) - sizes)[levels]]
    moved = (ends - below[:, 0]).to(device)[parameter]
    rest = index - moved
    for columns in zip(*(each.T for each in of_levels), strict=True):
        size, stride, start = (column.to(device)[parameter] for column in columns)
        place = start + rest // stride % size
        moved = moved + stride * orders.gather(1, place.flatten(1)).view_as(place)
    return moved
