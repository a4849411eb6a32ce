"""Architectures as data: a line of layers, resolved for an image shape into the shapes of its weights."""

import re
from collections.abc import Sequence
from math import prod
from typing import NamedTuple

from weightspace.errors import InputError

ARCHITECTURES = {
    # Schürholt et al. 2022, MNIST and SVHN zoos: 2,464 weights on 28 pixels, gray
    "cnn": ["conv 8 5", "pool 2", "activation", "conv 6 5", "pool 2", "activation", "conv 4 2", "activation",
            "flatten", "linear 20", "activation", "linear classes"],
    # the same zoos, CIFAR-10 "large"; Meynent et al. 2025: 10,853 weights on 32 pixels, RGB
    "cnn3": ["conv 16 3", "pool 2", "activation", "conv 32 3", "pool 2", "activation", "conv 15 3", "pool 2", "activation",
             "flatten", "linear 20", "activation", "linear classes"],
    # Meynent et al. 2025, LeNet5 zoos: 62,006 weights on 32 pixels, RGB
    "lenet5": ["conv 6 5", "activation", "pool 2", "conv 16 5", "activation", "pool 2",
               "flatten", "linear 120", "activation", "linear 84", "activation", "linear classes"],
    "mlp": ["flatten", "linear 32", "activation", "linear 32", "activation", "linear classes"],
    # for 8 pixels, gray: 1,194 weights
    "cnn_digits": ["conv 8 3", "pool 2", "activation", "conv 12 2", "activation",
                   "flatten", "linear 12", "activation", "linear classes"],
}  # fmt: skip


class Weights(NamedTuple):
    """Shape of one layer's weights, and where they lie in the flat vector: weights first, then biases."""

    name: str
    out: int
    fan_in: tuple[int, ...]  # (in,) or (in, height, width)
    offset: int

    @property
    def weight_shape(self) -> tuple[int, ...]:
        return (self.out, *self.fan_in)

    @property
    def row(self) -> int:
        """Numbers of one unit: incoming weights and bias."""
        return prod(self.fan_in) + 1

    @property
    def size(self) -> int:
        return self.out * self.row


class Op(NamedTuple):
    """One step of the forward pass: conv, linear, pool, activation or flatten."""

    kind: str
    weights: Weights | None = None
    pool: int = 1
    padding: int = 0  # zeros around the image, of conv


class NetSpec(NamedTuple):
    """One architecture for one image shape."""

    architecture: tuple[str, ...]  # layers as written
    activation: str
    image_shape: tuple[int, int, int]  # channel, height, width
    num_classes: int
    ops: tuple[Op, ...]

    @property
    def description(self) -> dict[str, object]:
        """JSON-able arguments from which `build_spec` makes the same spec."""
        return {name: self._asdict()[name] for name in ("architecture", "activation", "image_shape", "num_classes")}

    @property
    def layers(self) -> list[Weights]:
        return [op.weights for op in self.ops if op.weights is not None]

    @property
    def num_weights(self) -> int:
        return sum(layer.size for layer in self.layers)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each parameter, by name, in the order of the flat vector."""
        pairs = [((f"{w.name}.weight", w.weight_shape), (f"{w.name}.bias", (w.out,))) for w in self.layers]
        return dict(pair for both in pairs for pair in both)


def build_spec(architecture: str | Sequence[str], activation: str, image_shape: Sequence[int], num_classes: int) -> NetSpec:
    """Resolve an architecture's name or its layers for images of `image_shape` (channel, height, width).

    Layers are written `conv OUT KERNEL PADDING` (stride 1; no PADDING: none), `pool SIZE` (maximum), `activation`, `flatten`,
    `linear OUT`; the last one is `linear classes`. Raises InputError for a layer that does not read or fit.
    """
    if isinstance(architecture, str):
        if architecture not in ARCHITECTURES:
            raise InputError(f"there is no architecture {architecture!r}, only {', '.join(ARCHITECTURES)}")
        architecture = ARCHITECTURES[architecture]
    if not architecture or architecture[-1] != "linear classes":
        raise InputError("the last layer must be 'linear classes'")
    ops, shape, offset = [], tuple(image_shape), 0
    for text in architecture:
        op, shape = _resolve(
            text.replace("classes", str(num_classes)), shape, offset, 1 + sum(o.weights is not None for o in ops)
        )
        offset += op.weights.size if op.weights else 0
        ops.append(op)
    return NetSpec(tuple(architecture), activation, tuple(image_shape), num_classes, tuple(ops))


def _resolve(text: str, shape: tuple[int, ...], offset: int, index: int) -> tuple[Op, tuple[int, ...]]:
    """One layer and the shape that it puts out."""
    match = re.fullmatch(r"(conv) ([1-9]\d*) ([1-9]\d*)(?: (\d+))?|(linear|pool) ([1-9]\d*)|(flatten|activation)", text)
    if match is None:
        raise InputError(f"layer {text!r} does not read: conv OUT KERNEL PADDING, pool SIZE, activation, flatten or linear OUT")
    kind = match[1] or match[5] or match[7]
    if kind == "activation":
        return Op(kind), shape
    if (len(shape) == 1) != (kind == "linear"):
        raise InputError(f"layer {text!r} does not fit its input of shape {shape}")
    if kind == "flatten":
        return Op(kind), (prod(shape),)
    if kind == "linear":
        out = int(match[6])
        return Op(kind, Weights(f"linear{index}", out, shape, offset)), (out,)
    channels, height, width = shape
    if kind == "pool":
        size = int(match[6])
        shape = (channels, height // size, width // size)
    else:
        channels_out, kernel, padding = int(match[2]), int(match[3]), int(match[4] or 0)
        shape = (channels_out, height + 2 * padding - kernel + 1, width + 2 * padding - kernel + 1)
    if min(shape) < 1:
        raise InputError(f"layer {text!r} does not fit its input of {height} x {width} pixels")
    if kind == "pool":
        return Op(kind, pool=size), shape
    return Op(kind, Weights(f"conv{index}", channels_out, (channels, kernel, kernel), offset), padding=padding), shape
