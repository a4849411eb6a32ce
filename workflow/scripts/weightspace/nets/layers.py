"""Kinds of layers: one entry says how a layer is written, what numbers it has, how they start, how it runs and how units move."""

from __future__ import annotations

import re
from itertools import zip_longest
from math import prod
from typing import TYPE_CHECKING, Any

from einops import rearrange

from weightspace.errors import InputError
from weightspace.lazily import F, torch
from weightspace.nets.layers_sequences import (
    attention,
    position_embedding,
    print_attention,
    print_position_embedding,
    run_attention,
)
from weightspace.nets.layers_shortcuts import (
    add,
    add_route,
    branch_route,
    pad,
    padded,
    print_pad,
    projected,
    run_pad,
    swap_route,
)
from weightspace.nets.layouts import by_model, joined
from weightspace.nets.steps import IN, Layer, Level, Made, Op, Parameter, Place, Printed, Run
from weightspace.rng import generator_for

if TYPE_CHECKING:
    from torch import Tensor

EPSILON = 1e-5  # of batch norm and layer norm, torch's default


def read(text: str, num_classes: int) -> tuple[str, dict[str, Any]]:
    """Kind and sizes of a layer, those that are left out too; raises InputError."""
    kind, *given = text.split(" ")
    words = LAYERS[kind].notation.split(" ")[1:] if kind in WRITTEN else []
    if kind not in WRITTEN or len(given) > len(words):
        raise _unread(text)
    sizes: dict[str, Any] = {}
    for word, number in zip_longest(words, given):
        name, _, default = word.partition("=")
        if number == "classes" and name == "OUT":
            sizes["out"] = num_classes
        elif number is None and default:
            sizes[name.lower()] = sizes[default.lower()] if default.isalpha() else int(default)
        elif number is not None and re.fullmatch(NUMBERS.get(name, r"[1-9][0-9]{0,9}"), number):
            sizes[name.lower()] = float(number) if "." in number else int(number)
        else:
            raise _unread(text)
    return kind, sizes


def _unread(text: str) -> InputError:
    return InputError(f"layer {text!r} does not read: {', '.join(LAYERS[kind].notation for kind in WRITTEN)}")


def _conv(place: Place, sizes: dict[str, int]) -> Made:
    out, kernel, padding, stride, groups = sizes.values()
    channels = place.shape[0]
    if channels % groups or out % groups:
        raise InputError(f"layer {place.text!r} cannot divide {channels} channels into {out} in {groups} groups")
    takes, gives = IN, (Level("own", out),)
    if groups > 1:
        takes = Level("group", groups), Level("within", channels // groups)
        gives = takes[0], Level("own", out // groups)
    shape = (out, channels // groups, kernel, kernel)
    weight = Parameter("weight", shape, (*gives, takes[-1], Level("", kernel**2)), "init")
    parameters = (weight,) if place.shifted else (weight, Parameter("bias", (out,), gives, "bias", beside=True))
    return Made((out, *_slid(place, kernel, padding, stride)), parameters, takes, gives, mapped=not place.shifted)


def _linear(place: Place, sizes: dict[str, int]) -> Made:
    out, gives = sizes["out"], (Level("own", sizes["out"]),)
    weight = Parameter("weight", (out, place.shape[0]), (*gives, *IN), "init")
    return Made((out, *place.shape[1:]), (weight, Parameter("bias", (out,), gives, "bias", beside=True)), gives=gives)


def _pool(place: Place, sizes: dict[str, int]) -> Made:
    if 2 * sizes["padding"] > sizes["size"]:
        raise InputError(f"layer {place.text!r} has a padding of more than half of its size")
    return Made((place.shape[0], *_slid(place, *sizes.values())))


def _slid(place: Place, size: int, padding: int, stride: int) -> tuple[int, int]:
    """Height and width that a window leaves."""
    _, height, width = place.shape
    left = tuple((pixels + 2 * padding - size) // stride + 1 for pixels in (height, width))
    if min(left) < 1:
        raise InputError(f"layer {place.text!r} does not fit its input of {height} x {width} pixels")
    return left


def _batch_norm(place: Place, sizes: dict[str, int]) -> Made:
    starts = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}
    parameters = [
        Parameter(name, place.shape[:1], IN, start, learned=name in ("weight", "bias"), beside=name == "bias")
        for name, start in starts.items()
    ]
    return Made(place.shape, tuple(parameters), mapped=True)


def _layer_norm(place: Place, sizes: dict[str, int]) -> Made:
    shape = place.shape[:1] if len(place.shape) == 2 else place.shape
    units = (*IN, Level("", prod(shape[1:])))
    weight, bias = Parameter("weight", shape, units, 1.0), Parameter("bias", shape, units, 0.0, beside=True)
    return Made(place.shape, (weight, bias))


def _flatten(place: Place, sizes: dict[str, int]) -> Made:
    return Made((prod(place.shape),), gives=(*IN, Level("", prod(place.shape[1:]))))


def _run_conv(op: Op, hidden: Tensor, values: list[Tensor], run: Run) -> Tensor:
    weight, bias = values[0].flatten(0, 1), values[1].flatten() if op.weights.has_bias else None
    groups = hidden.shape[1] // op.inside[0] * op.sizes["groups"]
    return F.conv2d(hidden, weight, bias, op.sizes["stride"], op.sizes["padding"], groups=groups)


def _run_linear(op: Op, hidden: Tensor, values: list[Tensor], run: Run) -> Tensor:
    rows = hidden.flatten(1, -2) @ values[0].mT + values[1].unsqueeze(1)
    return rows.unflatten(1, hidden.shape[1:-1])


def _run_batch_norm(op: Op, hidden: Tensor, values: list[Tensor], run: Run) -> Tensor:
    (weight, bias, mean, variance), statistics = values, run.training.statistics
    if statistics is None:
        mean, variance = mean.detach().flatten(), variance.detach().flatten()
        return F.batch_norm(hidden, mean, variance, weight.flatten(), bias.flatten(), eps=EPSILON)
    batch = torch.zeros(2, weight.numel(), dtype=hidden.dtype, device=hidden.device)
    hidden = F.batch_norm(hidden, *batch, weight.flatten(), bias.flatten(), training=True, momentum=1.0, eps=EPSILON)
    statistics |= {each.name: row.view_as(mean) for each, row in zip(op.made.parameters[2:], batch, strict=True)}
    return hidden


def _run_layer_norm(op: Op, hidden: Tensor, values: list[Tensor], run: Run) -> Tensor:
    shape, hidden = op.made.parameters[0].shape, by_model(op, hidden)
    weight, bias = (value.view(-1, *[1] * (hidden.dim() - 1 - len(shape)), *shape) for value in values)
    return joined(F.layer_norm(hidden, shape, eps=EPSILON) * weight + bias)


def _run_dropout(op: Op, hidden: Tensor, values: list[Tensor], run: Run) -> Tensor:
    seeds, share = run.training.seeds, op.sizes["share"]
    if seeds is None:
        return hidden
    hidden = by_model(op, hidden)
    draws = [generator_for("dropout", seed, *run.training.step, op.place) for seed in seeds]
    kept = torch.stack([torch.rand(hidden.shape[1:], generator=draw) >= share for draw in draws])
    return joined(hidden * kept.to(hidden.device, hidden.dtype) / (1 - share))


def _run_mean(op: Op, hidden: Tensor, values: list[Tensor], run: Run) -> Tensor:
    if len(op.inside) == 2:
        return hidden.mean(2)
    return rearrange(hidden.mean((2, 3)), "b (m c) -> m b c", c=op.inside[0])


def _print_conv(op: Op) -> Printed:
    (channels, *_), (out, kernel, *rest) = op.inside, op.sizes.values()
    named = zip(("padding", "stride", "groups"), rest, (0, 1, 1), strict=True)
    given = "".join(f", {name}={number}" for name, number, default in named if number != default)
    return Printed(f"nn.Conv2d({channels}, {out}, {kernel}{given}{'' if op.weights.has_bias else ', bias=False'})")


def _print_pool(name: str, op: Op) -> Printed:
    size, padding, stride = op.sizes.values()
    given = f"{f', stride={stride}' if stride != size else ''}{f', padding={padding}' if padding else ''}"
    return Printed(f"{name}({size}{given})")


def _print_mean(op: Op) -> Printed:
    return Printed(call="{x}.mean(1)" if len(op.inside) == 2 else "{x}.mean((2, 3))")


NUMBERS = {"PADDING": r"0|[1-9][0-9]{0,9}", "SHARE": r"0\.(?=0*[1-9])[0-9]{1,9}"}  # of all others: from 1 on
LAYERS: dict[str, Layer] = {
    "conv": Layer(
        "conv OUT KERNEL PADDING=0 STRIDE=1 GROUPS=1", _conv, _run_conv, names=("conv", "shortcut"),
        plain=lambda sizes: sizes["stride"] == sizes["groups"] == 1, printed=_print_conv,
    ),
    "linear": Layer(
        "linear OUT", _linear, _run_linear, (1, 2), ("linear", ""), plain=lambda sizes: True,
        printed=lambda op: Printed(f"nn.Linear({op.inside[0]}, {op.sizes['out']})"),
    ),
    "batch_norm": Layer(
        "batch_norm", _batch_norm, _run_batch_norm, names=("norm", "shortcut_norm"), shifts=True,
        printed=lambda op: Printed(f"nn.BatchNorm2d({op.inside[0]})"),
    ),
    # torch.nn.LayerNorm([channel, h, w]) over all numbers of an image, each with a scale and a shift of its own; or
    # torch.nn.LayerNorm([feature]), for each position of a sequence by itself
    "layer_norm": Layer(
        "layer_norm", _layer_norm, _run_layer_norm, (1, 2, 3), ("layer_norm", ""),
        printed=lambda op: Printed(f"nn.LayerNorm({list(op.made.parameters[0].shape)})"),
    ),
    "pool": Layer(
        "pool SIZE PADDING=0 STRIDE=SIZE", _pool,
        lambda op, hidden, values, run: F.max_pool2d(hidden, op.sizes["size"], op.sizes["stride"], op.sizes["padding"]),
        plain=lambda sizes: (sizes["padding"], sizes["stride"]) == (0, sizes["size"]), maxima=True,
        printed=lambda op: _print_pool("nn.MaxPool2d", op),
    ),
    # zeros around the image count, as in torch.nn.AvgPool2d
    "avg_pool": Layer(
        "avg_pool SIZE PADDING=0 STRIDE=SIZE", _pool,
        lambda op, hidden, values, run: F.avg_pool2d(hidden, op.sizes["size"], op.sizes["stride"], op.sizes["padding"]),
        printed=lambda op: _print_pool("nn.AvgPool2d", op),
    ),
    "activation": Layer(
        "activation", lambda place, sizes: Made(place.shape), lambda op, hidden, values, run: run.activation(hidden), (1, 2, 3),
        plain=lambda sizes: True, printed=lambda op: Printed(call="self.activation({x})"),
    ),
    # a share of the features is 0 in training, drawn per model, and the others are divided by 1 - SHARE
    "dropout": Layer(
        "dropout SHARE", lambda place, sizes: Made(place.shape), _run_dropout, (1, 2, 3), plain=lambda sizes: True,
        printed=lambda op: Printed(f"nn.Dropout({op.sizes['share']})"),
    ),
    "flatten": Layer(
        "flatten", _flatten, lambda op, hidden, values, run: by_model(op, hidden).flatten(2), plain=lambda sizes: True,
        printed=lambda op: Printed(call="{x}.flatten(1)"),
    ),
    "mean": Layer("mean", lambda place, sizes: Made(place.shape[:1]), _run_mean, (2, 3), printed=_print_mean),
    # an image as the sequence of its pixels, row by row; their channels are the features
    "sequence": Layer(
        "sequence", lambda place, sizes: Made((place.shape[0], prod(place.shape[1:]))),
        lambda op, hidden, values, run: rearrange(hidden, "b (m c) h w -> m b (h w) c", c=op.inside[0]),
        printed=lambda op: Printed(call="{x}.flatten(2).mT"),
    ),
    "position_embedding": Layer(
        "position_embedding", position_embedding, lambda op, hidden, values, run: hidden + values[0].unsqueeze(1), (2,),
        ("position_embedding", ""), printed=print_position_embedding,
    ),
    # torch.nn.MultiheadAttention between its two linear layers: linear 3 x WIDTH, attention HEADS, linear WIDTH
    "attention": Layer("attention HEADS", attention, run_attention, (2,), printed=print_attention),
    "branch": Layer("branch", lambda place, sizes: Made(place.shape), ranks=(2, 3), route=branch_route),
    "swap": Layer("", lambda place, sizes: Made(place.kept[-1]), ranks=(2, 3), route=swap_route),
    "add": Layer("add", add, ranks=(2, 3), route=add_route, before=projected),
    "add_padded": Layer("add_padded", add, ranks=(2, 3), route=add_route, before=padded),
    "pad": Layer("", pad, run_pad, printed=print_pad),
}  # fmt: skip
WRITTEN = [kind for kind, layer in LAYERS.items() if layer.notation]
