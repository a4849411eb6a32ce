"""Which key of a state dict is which parameter of a spec: by name, else by shape and order."""

import re
from itertools import pairwise
from typing import NamedTuple

from weightspace.errors import InputError
from weightspace.nets.spec import NetSpec
from weightspace.zoo.state_files import State, natural

LEAVES = ("weight", "bias", "running_mean", "running_var")  # how the parameters of a layer are named, in our order

Shapes = tuple[tuple[int, ...], ...]


class Keys(NamedTuple):
    """Keys of one layer of a file, or of a spec, and their shapes; known names first, in our order."""

    layer: str
    keys: tuple[str, ...]
    shapes: Shapes


def layers_of(shapes: dict[str, tuple[int, ...]]) -> list[Keys]:
    """Keys by layer, in the order in which layers come first: what stands before the last point, else underscore, is a layer."""
    found: dict[str, list[str]] = {}
    for key in shapes:
        found.setdefault(_split(key)[0], []).append(key)
    grouped = []
    for layer, keys in found.items():
        keys.sort(key=_place)
        grouped.append(Keys(layer, tuple(keys), tuple(shapes[key] for key in keys)))
    return grouped


def match_keys(spec: NetSpec, state: State, order: list[str] | None = None) -> dict[str, str]:
    """Key of each parameter of the spec; keys that are none of them are left over.

    Keys that are named as ours are taken by name. Else layers are told by the shapes of all that they hold, and several of
    the same shapes by their order: the one in which the file has them, where it has one and all shapes follow it, or that of
    the numbers in their names. `order` names layers in the spec's order instead. Raises InputError, without the file's name,
    where a layer is missing, or two could be each other.
    """
    shapes = {key: tuple(tensor.shape) for key, tensor in state.tensors.items()}
    if all(shapes.get(name) == shape for name, shape in spec.shapes.items()):
        return {name: name for name in spec.shapes}
    ours, theirs = layers_of(spec.shapes), layers_of(shapes)
    if order is not None:
        chosen = _named(theirs, order, len(ours))
    else:
        chosen = _ordered(ours, theirs, state.ordered)
    for mine, other in zip(ours, chosen, strict=True):
        if mine.shapes != other.shapes:
            raise InputError(f"layer {other.layer!r} has shapes {told(other.shapes)}, {mine.layer!r} needs {told(mine.shapes)}")
    return {name: key for mine, other in zip(ours, chosen, strict=True) for name, key in zip(mine.keys, other.keys, strict=True)}


def told(shapes: Shapes) -> str:
    """Shapes as people write them: 8x1x5x5, 8."""
    return ", ".join("x".join(map(str, shape)) or "scalar" for shape in shapes)


def _split(key: str) -> tuple[str, str]:
    layer, _, leaf = key.rpartition("." if "." in key else "_")
    return layer, leaf


def _place(key: str) -> int:
    leaf = _split(key)[1]
    return LEAVES.index(leaf) if leaf in LEAVES else len(LEAVES)


def _named(theirs: list[Keys], order: list[str], number: int) -> list[Keys]:
    """Layers in the order that the settings name them in."""
    known = {layer.layer: layer for layer in theirs}
    if missing := [name for name in order if name not in known]:
        raise InputError(f"there is no layer {missing[0]!r}, only {', '.join(known)}")
    if len(order) != number:
        raise InputError(f"{len(order)} layers are named, the architecture has {number}")
    return [known[name] for name in order]


def _ordered(ours: list[Keys], theirs: list[Keys], ordered: bool) -> list[Keys]:
    """A layer of the file for each of the spec's."""
    wanted = [layer.shapes for layer in ours]
    kept = [layer for layer in theirs if layer.shapes in wanted]
    in_order = ordered and [layer.shapes for layer in kept] == wanted
    queues = {}
    for shapes in dict.fromkeys(wanted):
        alike = [layer for layer in kept if layer.shapes == shapes]
        mine = [layer.layer for layer in ours if layer.shapes == shapes]
        if len(alike) < len(mine):
            there = ", ".join(f"{layer.layer!r} ({told(layer.shapes)})" for layer in alike or theirs)
            raise InputError(f"there is no layer of shapes {told(shapes)} for {mine[len(alike)]!r}, only {there}")
        if len(alike) > len(mine):
            raise InputError(f"layers {_listed(alike)} are all of shapes {told(shapes)}, and {', '.join(mine)} alone needs them")
        queues[shapes] = iter(_sorted_alike(alike, in_order, ordered))
    return [next(queues[shapes]) for shapes in wanted]


def _sorted_alike(alike: list[Keys], in_order: bool, ordered: bool) -> list[Keys]:
    """Layers of equal shapes in their order; raises InputError that names two of them where it is not known."""
    numbered = sorted(alike, key=lambda layer: natural(layer.layer))
    differ = [(one, other) for one, other in pairwise(alike) if _words(one.layer) != _words(other.layer)]
    turned = [(one, other) for one, other in zip(alike, numbered, strict=True) if one.layer != other.layer]
    doubtful = turned if ordered and not differ else [] if in_order else differ
    if doubtful:
        one, other = sorted((layer.layer for layer in doubtful[0]), key=natural)
        raise InputError(
            f"layers {one!r} and {other!r} have the same shapes, {told(alike[0].shapes)}, and nothing tells which comes first: "
            "name all layers in the architecture's order with `layers`"
        )
    return alike if in_order else numbered


def _words(layer: str) -> str:
    """A name with its numbers left open."""
    return re.sub(r"[0-9]+", "#", layer)


def _listed(layers: list[Keys]) -> str:
    return ", ".join(repr(layer.layer) for layer in layers)
