"""Align networks of one spec: permute the units of each towards a reference, by weight matching."""

from collections.abc import Container
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from weightspace.errors import InputError
from weightspace.nets.forward import learned, unflatten
from weightspace.nets.spec import NetSpec
from weightspace.nets.symmetry import Symmetry, Units, permutation_map, symmetry_of
from weightspace.rng import generator_for

MOST_SWEEPS = 100
LEAST_GAIN = 1e-12  # of the product of both networks' norms: less is rounding
STEPS = 2.0**40  # of the largest inner product of two units: whole numbers, which an assignment adds up without rounding
TIE = 8  # steps, times both indices: more than rounding can make of units that are alike, which so keep their order


class Aligned(NamedTuple):
    """Networks with their units in the places of the references'."""

    weights: Float[Tensor, "model weight"]
    orders: list[Int[Tensor, "model _unit"]]  # of each level that may be permuted, as `permutation_map` takes them
    maps: Int[Tensor, "model weight"]  # the given weights gathered by them are these
    objectives: Float64[Tensor, "sweep model"]  # of the start that was kept: before the first sweep, then after each


def align(spec: NetSpec, weights: Float[Tensor, "model weight"], reference: Float[Tensor, "reference weight"]) -> Aligned:
    """Permute the units of each network towards its reference, or towards the one reference of all.

    Weight matching (Ainsworth et al. 2023, "Git Re-Basin", algorithm 1): level after level is assigned anew while the others are
    held, as long as `objective` grows. Each assignment is the best one, the end is a local optimum. Where a level moves two
    axes of one parameter, the objective is not linear in it: the best step of its linear part is taken if the objective grows.

    Two starts are tried, and the one that ends higher is kept, the first where both end alike: units as they are, and units
    assigned from the images on, each level by what reaches it from levels that are assigned already. From the second one a
    permuted copy is found again wherever its units differ in what comes in.

    The order of the levels is drawn anew in each sweep, the same for all networks on all machines. All is in float64 on the CPU.
    Raises InputError if a weight is not finite.
    """
    if not (weights.isfinite().all() and reference.isfinite().all()):
        raise InputError("networks with weights that are not finite cannot be aligned")
    symmetry, num = symmetry_of(spec), len(weights)
    if not symmetry.free:
        same = torch.arange(spec.num_weights, device=weights.device).expand(num, -1)
        return Aligned(weights, [], same, objective(spec, weights, reference).expand(1, num))
    target = [piece.expand(num, *piece.shape[1:]) for piece in _pieces(spec, symmetry, reference)]
    as_given, forward = (_started(spec, symmetry, weights) for _ in range(2))
    _assign_forward(symmetry, forward, target)
    both = _Match(*([torch.cat(pair) for pair in zip(*parts, strict=True)] for parts in zip(as_given, forward, strict=True)))
    traces = _ascend(symmetry, both, [piece.repeat(2, *[1] * (piece.dim() - 1)) for piece in target]).unflatten(1, (2, num))
    kept, each = (traces[-1, 1] > traces[-1, 0] + _least_gain(as_given, target)).long(), torch.arange(num)
    orders = [order.unflatten(0, (2, num))[kept, each] for order in both.orders]
    maps = permutation_map(spec, orders).to(weights.device)
    return Aligned(weights.gather(1, maps), orders, maps, traces[:, kept, each])


def objective(
    spec: NetSpec, weights: Float[Tensor, "model weight"], reference: Float[Tensor, "reference weight"]
) -> Float64[Tensor, " model"]:
    """Inner product with the reference over learned weights: the larger, the smaller is the distance of permuted networks."""
    return (weights.double() * reference.double() * learned(spec).to(weights.device)).sum(1).cpu()


def cosine(
    spec: NetSpec, weights: Float[Tensor, "model weight"], reference: Float[Tensor, "model weight"]
) -> Float64[Tensor, " model"]:
    """The objective over the norms of both, which permutations leave as they are."""
    norms = [objective(spec, each, each).sqrt() for each in (weights, reference)]
    return objective(spec, weights, reference) / (norms[0] * norms[1])


class _Match(NamedTuple):
    """Networks whose units are moved, in place."""

    pieces: list[Float64[Tensor, "model ..."]]
    orders: list[Int[Tensor, "model unit"]]  # of each free level: where a unit was, as `permutation_map` takes it


def _started(spec: NetSpec, symmetry: Symmetry, weights: Float[Tensor, "model weight"]) -> _Match:
    orders = [torch.arange(symmetry.sizes[level]).repeat(len(weights), 1) for level in symmetry.free]
    return _Match(_pieces(spec, symmetry, weights), orders)


def _pieces(spec: NetSpec, symmetry: Symmetry, weights: Float[Tensor, "model weight"]) -> list[Float64[Tensor, "model ..."]]:
    """Each parameter with an axis for each of its levels; running statistics are 0, for they count nothing."""
    shapes = [[symmetry.sizes[level] for level in levels] for levels in symmetry.parameters]
    parameters = unflatten(spec, weights.detach().cpu().double() * learned(spec)).values()
    return [piece.reshape(len(weights), *shape).clone() for piece, shape in zip(parameters, shapes, strict=True)]


def _assign_forward(symmetry: Symmetry, match: _Match, target: list[Tensor]) -> None:
    """Assign each level by the parameters whose other levels are in place already, the first ones being those of the images.

    Where there are none, as for groups of units, by those of which one level more is not in place: two groups are as alike as
    their units are in the order that suits both best.
    """
    placed = set(range(len(symmetry.sizes))) - set(symmetry.free)
    for level in symmetry.free:
        others = [{*levels} - placed - {level} if len({*levels}) == len(levels) else None for levels in symmetry.parameters]
        others = [each if level in levels else None for each, levels in zip(others, symmetry.parameters, strict=True)]
        inner = min((each for each in others if each is not None and len(each) < 2), key=len, default=set())
        read = {n for n, each in enumerate(others) if each == inner}
        products = (_nested_products if inner else _products)(symmetry, match, target, (level, *inner), read)
        _move(symmetry, match, level, _assigned(products))
        placed.add(level)


def _ascend(symmetry: Symmetry, match: _Match, target: list[Tensor]) -> Float64[Tensor, "sweep model"]:
    """Sweep over the levels until none is assigned anew in any network; the objective at the start and after each sweep."""
    least, levels = _least_gain(match, target), [level for level in symmetry.free if symmetry.sizes[level] > 1]
    trace = [_inner(match.pieces, target)]
    for sweep in range(MOST_SWEEPS):
        moved = False
        for n in torch.randperm(len(levels), generator=generator_for("align", sweep)).tolist():
            order = _assigned(_products(symmetry, match, target, (levels[n],), range(len(target))))
            gains = _gain(symmetry, match, target, levels[n], order)
            keep = torch.arange(order.shape[1]).expand_as(order)
            _move(symmetry, match, levels[n], torch.where((gains > least).unsqueeze(1), order, keep))
            moved |= bool((gains > least).any())
        trace.append(_inner(match.pieces, target))
        if not moved:
            break
    return torch.stack(trace)


def _products(
    symmetry: Symmetry, match: _Match, target: list[Tensor], levels: Units, read: Container[int]
) -> Float64[Tensor, "model unit unit"]:
    """Inner products of each unit of the target with each of ours, over the parameters to read."""
    (level,) = levels
    num, size = len(target[0]), symmetry.sizes[level]
    products = torch.zeros(num, size, size, dtype=torch.double)
    for n, axis in _axes(symmetry, level):
        if n in read:
            theirs, ours = (piece.movedim(axis, 1).reshape(num, size, -1) for piece in (target[n], match.pieces[n]))
            products += theirs @ ours.mT
    return products


def _nested_products(
    symmetry: Symmetry, match: _Match, target: list[Tensor], levels: Units, read: Container[int]
) -> Float64[Tensor, "model group group"]:
    """The same of groups, the units within each pair of groups in the order that makes theirs largest."""
    num, sizes = len(target[0]), [symmetry.sizes[level] for level in levels]
    products = torch.zeros(num, sizes[0], sizes[0], sizes[1], sizes[1], dtype=torch.double)
    for n, axis in _axes(symmetry, levels[0]):
        if n in read:
            axes = (axis, symmetry.parameters[n].index(levels[1]) + 1)
            theirs, ours = (piece.movedim(axes, (1, 2)).reshape(num, *sizes, -1) for piece in (target[n], match.pieces[n]))
            products += torch.einsum("miar,mjbr->mijab", theirs, ours)
    within = products.flatten(0, 2)
    return within.gather(2, _assigned(within).unsqueeze(2)).sum((1, 2)).view(num, sizes[0], sizes[0])


def _assigned(products: Float64[Tensor, "model unit unit"]) -> Int[Tensor, "model unit"]:
    """For each unit of the target one of ours, so that their inner products add up to the most."""
    largest, index = products.abs().amax((1, 2), keepdim=True), torch.arange(products.shape[1])
    steps = (products / torch.where(largest > 0, largest, 1.0) * STEPS).round() + TIE * torch.outer(index, index)
    return torch.stack([torch.as_tensor(linear_sum_assignment(each, maximize=True)[1]) for each in steps.numpy()])


def _gain(
    symmetry: Symmetry, match: _Match, target: list[Tensor], level: int, order: Int[Tensor, "model unit"]
) -> Float64[Tensor, " model"]:
    """What the objective gains if a level's units are put in this order."""
    touched = sorted({n for n, _ in _axes(symmetry, level)})
    before = [match.pieces[n] for n in touched]
    after = [_reordered(match.pieces[n], symmetry.parameters[n], level, order) for n in touched]
    return _inner([new - old for new, old in zip(after, before, strict=True)], [target[n] for n in touched])


def _move(symmetry: Symmetry, match: _Match, level: int, order: Int[Tensor, "model unit"]) -> None:
    for n in {n for n, _ in _axes(symmetry, level)}:
        match.pieces[n].copy_(_reordered(match.pieces[n], symmetry.parameters[n], level, order))
    place = symmetry.free.index(level)
    match.orders[place].copy_(match.orders[place].gather(1, order))


def _axes(symmetry: Symmetry, level: int) -> list[tuple[int, int]]:
    """Each parameter that a level moves, and the axis of its piece."""
    return [(n, axis) for n, levels in enumerate(symmetry.parameters) for axis, own in enumerate(levels, 1) if own == level]


def _reordered(piece: Tensor, levels: Units, level: int, order: Int[Tensor, "model unit"]) -> Tensor:
    models = torch.arange(len(piece)).unsqueeze(1)
    for axis, own in enumerate(levels, 1):
        if own == level:
            piece = piece.movedim(axis, 1)[models, order].movedim(1, axis)
    return piece


def _inner(pieces: list[Tensor], target: list[Tensor]) -> Float64[Tensor, " model"]:
    return sum((ours * theirs).flatten(1).sum(1) for ours, theirs in zip(pieces, target, strict=True))


def _least_gain(match: _Match, target: list[Tensor]) -> Float64[Tensor, " model"]:
    return LEAST_GAIN * (_inner(match.pieces, match.pieces) * _inner(target, target)).sqrt()
