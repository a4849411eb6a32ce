"""Layers that remember a tensor and add it: residual networks, with shortcuts of options A and B of He et al. 2016."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from weightspace.errors import InputError
from weightspace.lazily import F
from weightspace.nets.layouts import by_model, joined
from weightspace.nets.steps import Level, Made, Op, Place, Printed, Run, Step

if TYPE_CHECKING:
    from torch import Tensor


def branch_route(current: Any, kept: list, join: Callable) -> Any:
    """Remember it."""
    kept.append(current)
    return current


def swap_route(current: Any, kept: list, join: Callable) -> Any:
    """Remember it, and go on from what was remembered last."""
    kept.append(current)
    return kept.pop(-2)


def add_route(current: Any, kept: list, join: Callable) -> Any:
    """Join it with what was remembered last."""
    return join(current, kept.pop())


def add(place: Place, sizes: dict[str, int]) -> Made:
    """A sum; of images it is a feature map."""
    return Made(place.shape, mapped=len(place.shape) == 3)


def projected(place: Place) -> list[Step]:
    """Steps from what was remembered to the shape that it is added to: none, or option B, a convolution and a batch norm."""
    if not (stride := _stride(place)):
        return []
    conv = {"out": place.shape[0], "kernel": 1, "padding": 0, "stride": stride, "groups": 1}
    return [("swap", {}), ("conv", conv), ("batch_norm", {})]


def padded(place: Place) -> list[Step]:
    """The same by option A, without weights."""
    if not (stride := _stride(place)):
        return []
    return [("swap", {}), ("pad", {"out": place.shape[0], "stride": stride})]


def _stride(place: Place) -> int:
    """Stride from what was remembered to the shape that it is added to, 0 where they are the same; raises InputError."""
    if not place.kept:
        raise InputError(f"layer {place.text!r} is there without its 'branch'")
    shape, kept = place.shape, place.kept[-1]
    if shape == kept:
        return 0
    strides = range(1, max(kept) + 1) if len(shape) == len(kept) == 3 else ()
    for stride in strides:
        if all((n - 1) // stride + 1 == m for n, m in zip(kept[1:], shape[1:], strict=True)):
            return stride
    raise InputError(f"layer {place.text!r} cannot add shapes {kept} and {shape}: no stride makes one of the other")


def pad(place: Place, sizes: dict[str, int]) -> Made:
    """Pixels left out, and channels of zeros around the others, half of them on each side. Where there are any, units stay."""
    out, channels = sizes["out"], place.shape[0]
    if out < channels:
        raise InputError(f"layer {place.text!r} cannot make {out} channels of {channels}: it only adds some")
    shape = (out, *((pixels - 1) // sizes["stride"] + 1 for pixels in place.shape[1:]))
    return Made(shape) if out == channels else Made(shape, takes=(Level("", channels),), gives=(Level("", out),))


def run_pad(op: Op, hidden: Tensor, values: list[Tensor], run: Run) -> Tensor:
    """See `pad`."""
    stride = op.sizes["stride"]
    return joined(F.pad(by_model(op, hidden[:, :, ::stride, ::stride]), _sides(op)))


def print_pad(op: Op) -> Printed:
    """The same in plain torch."""
    stride = op.sizes["stride"]
    return Printed(call=f"F.pad({{x}}[:, :, ::{stride}, ::{stride}], {_sides(op)})")


def _sides(op: Op) -> tuple[int, ...]:
    """Zeros around the columns, rows and channels, as torch takes them."""
    missing = op.sizes["out"] - op.inside[0]
    return 0, 0, 0, 0, missing // 2, missing - missing // 2
