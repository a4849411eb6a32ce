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


def residual_layers(stem: Sequence[str], widths: Sequence[int], blocks: int) -> list[str]:
    """Layers of a residual network of two-convolution blocks, `blocks` per width; all widths but the first halve the image."""
    layers = list(stem)
    for stage, width in enumerate(widths):
        for block in range(blocks):
            first = f"conv {width} 3 1 2" if stage > 0 and block == 0 else f"conv {width} 3 1"
            layers += ["branch", first, "batch_norm", "activation", f"conv {width} 3 1", "batch_norm", "add", "activation"]
    return [*layers, "mean", "linear classes"]


RESIDUAL_ARCHITECTURES = {
    # for tests, and where there is no GPU: 19,810 learned weights on gray images of 10 classes
    "resnet8": residual_layers(["conv 8 3 1", "batch_norm", "activation"], [8, 16, 32], 1),
    # He et al. 2016, section 4.2, CIFAR; with shortcuts of option B 272,474 learned weights for 10 classes
    "resnet20": residual_layers(["conv 16 3 1", "batch_norm", "activation"], [16, 32, 64], 3),
    "resnet56": residual_layers(["conv 16 3 1", "batch_norm", "activation"], [16, 32, 64], 9),
    # the same, section 4.1, ImageNet: 11,689,512 learned weights for 1,000 classes
    "resnet18": residual_layers(["conv 64 7 3 2", "batch_norm", "activation", "pool 3 1 2"], [64, 128, 256, 512], 2),
}
NORM_PARTS = ("weight", "bias", "running_mean", "running_var")
RUNNING = NORM_PARTS[2:]  # measured, not learned
SIZE, PADDING = r" ([1-9]\d*)", r" (\d+)"
NOTATION = {
    "conv": f"conv{SIZE}{SIZE}(?:{PADDING})?(?:{SIZE})?(?:{SIZE})?",
    "pool": f"pool{SIZE}(?:{PADDING})?(?:{SIZE})?",
    "linear": f"linear{SIZE}",
} | {kind: kind for kind in ("batch_norm", "activation", "flatten", "mean", "branch", "add")}
READS = (
    "conv OUT KERNEL PADDING STRIDE GROUPS, batch_norm, pool SIZE PADDING STRIDE, activation, flatten, mean, branch, add "
    "or linear OUT"
)


class Weights(NamedTuple):
    """Shape of one layer's weights, and where they lie in the flat vector: weights first, then biases."""

    name: str
    out: int
    fan_in: tuple[int, ...]  # (in,) or (in / groups, height, width)
    offset: int
    has_bias: bool = True

    @property
    def weight_shape(self) -> tuple[int, ...]:
        return (self.out, *self.fan_in)

    @property
    def row(self) -> int:
        """Numbers of one unit: incoming weights and bias."""
        return prod(self.fan_in) + self.has_bias

    @property
    def size(self) -> int:
        return self.out * self.row

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each parameter, by name."""
        return {f"{self.name}.weight": self.weight_shape} | ({f"{self.name}.bias": (self.out,)} if self.has_bias else {})


class Norm(NamedTuple):
    """A batch norm: scale, shift, running mean and running variance of each channel."""

    name: str
    channels: int

    @property
    def size(self) -> int:
        return len(NORM_PARTS) * self.channels

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each parameter, by name."""
        return {f"{self.name}.{part}": (self.channels,) for part in NORM_PARTS}


class Op(NamedTuple):
    """One step of the forward pass: a layer, or `swap`, which exchanges the tensor with the one that `branch` remembers."""

    kind: str
    weights: Weights | None = None  # of conv and linear
    pool: int = 1
    padding: int = 0  # around the image, of conv (zeros) and pool (never the maximum)
    stride: int = 1  # of conv and pool
    groups: int = 1  # of conv
    norm: Norm | None = None  # of batch_norm
    mapped: bool = False  # puts out a feature map: a convolution with its batch norm, or a sum; nothing of a shortcut


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
        """Convolutions, those of shortcuts too, and linear layers."""
        return [op.weights for op in self.ops if op.weights is not None]

    @property
    def num_weights(self) -> int:
        """Entries of the flat vector: learned weights, and the running statistics of batch norms."""
        return sum(part.size for part in _parameters(self.ops))

    @property
    def num_learned(self) -> int:
        """Weights without running statistics."""
        return sum(prod(shape) for name, shape in self.shapes.items() if not name.endswith(RUNNING))

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each parameter, by name, in the order of the flat vector."""
        return {name: shape for part in _parameters(self.ops) for name, shape in part.shapes.items()}

    @property
    def plain(self) -> bool:
        """Whether it is a chain without batch norms, whose convolutions take every pixel and all channels."""
        chain = all(op.kind in ("conv", "linear", "pool", "activation", "flatten") for op in self.ops)
        dense = all(op.stride == op.groups == 1 for op in self.ops if op.kind == "conv")
        return chain and dense and all((op.stride, op.padding) == (op.pool, 0) for op in self.ops if op.kind == "pool")


def _parameters(ops: Sequence[Op]) -> list[Weights | Norm]:
    """What holds numbers, in the order of the flat vector."""
    return [part for op in ops if (part := op.weights or op.norm) is not None]


def build_spec(architecture: str | Sequence[str], activation: str, image_shape: Sequence[int], num_classes: int) -> NetSpec:
    """Resolve an architecture's name or its layers for images of `image_shape` (channel, height, width).

    Layers are written `conv OUT KERNEL PADDING STRIDE GROUPS` (from PADDING on to be left out: 0, 1, 1; no bias directly before
    `batch_norm`), `batch_norm`, `pool SIZE PADDING STRIDE` (maximum; to be left out: 0, SIZE), `activation`, `flatten`, `mean`
    (of each channel), `linear OUT`; the last one is `linear classes`. `branch` remembers the tensor and `add` adds it, where
    shapes differ through a convolution of kernel 1 and a batch norm (option B of He et al. 2016).
    Raises InputError for a layer that does not read or fit.
    """
    if isinstance(architecture, str):
        known = ARCHITECTURES | RESIDUAL_ARCHITECTURES
        if architecture not in known:
            raise InputError(f"there is no architecture {architecture!r}, only {', '.join(known)}")
        architecture = known[architecture]
    if not architecture or architecture[-1] != "linear classes":
        raise InputError("the last layer must be 'linear classes'")
    built = _Built((), tuple(image_shape), ())
    for text, following in zip(architecture, [*architecture[1:], ""], strict=True):
        built = _extended(built, text.replace("classes", str(num_classes)), normed=following == "batch_norm")
    if built.kept:
        raise InputError("layer 'branch' is there without its 'add'")
    return NetSpec(tuple(architecture), activation, tuple(image_shape), num_classes, built.ops)


class _Built(NamedTuple):
    """What is resolved so far: steps, the shape that they put out, and the shapes that branches remember."""

    ops: tuple[Op, ...]
    shape: tuple[int, ...]
    kept: tuple[tuple[int, ...], ...]

    def then(self, op: Op, shape: tuple[int, ...]) -> "_Built":
        return self._replace(ops=(*self.ops, op), shape=shape)

    def weights(self, kind: str, out: int, fan_in: tuple[int, ...], has_bias: bool) -> Weights:
        """The next layer's."""
        return Weights(self.name(kind), out, fan_in, sum(part.size for part in _parameters(self.ops)), has_bias)

    def name(self, kind: str) -> str:
        return f"{kind}{len(_parameters(self.ops)) + 1}"


def _extended(built: _Built, text: str, normed: bool) -> _Built:
    """One layer more; `normed`: a batch norm follows."""
    kind, sizes = _read(text)
    shape = built.shape
    if kind != "activation" and (len(shape) == 1) != (kind == "linear"):
        raise InputError(f"layer {text!r} does not fit its input of shape {shape}")
    match kind:
        case "conv":
            return _with_convolution(built, text, sizes, normed)
        case "pool":
            return _with_pool(built, text, sizes)
        case "batch_norm":
            return _with_norm(built, "norm")
        case "add":
            return _with_sum(built)
        case "branch":
            return built.then(Op(kind), shape)._replace(kept=(*built.kept, shape))
        case "linear":
            return built.then(Op(kind, built.weights(kind, *sizes, shape, has_bias=True)), sizes)
    return built.then(Op(kind), {"activation": shape, "flatten": (prod(shape),), "mean": shape[:1]}[kind])


def _read(text: str) -> tuple[str, tuple[int, ...]]:
    """Kind and sizes of a layer."""
    for kind, pattern in NOTATION.items():
        if match := re.fullmatch(pattern, text):
            return kind, tuple(int(size) for size in match.groups() if size is not None)
    raise InputError(f"layer {text!r} does not read: {READS}")


def _with_convolution(built: _Built, text: str, sizes: tuple[int, ...], normed: bool) -> _Built:
    out, kernel, padding, stride, groups = sizes + (0, 1, 1)[len(sizes) - 2 :]
    channels = built.shape[0]
    if channels % groups or out % groups:
        raise InputError(f"layer {text!r} cannot divide {channels} channels into {out} in {groups} groups")
    weights = built.weights("conv", out, (channels // groups, kernel, kernel), has_bias=not normed)
    op = Op("conv", weights, padding=padding, stride=stride, groups=groups, mapped=not normed)
    return built.then(op, (out, *_slid(text, built.shape, kernel, padding, stride)))


def _with_pool(built: _Built, text: str, sizes: tuple[int, ...]) -> _Built:
    size, padding, stride = sizes + (0, sizes[0])[len(sizes) - 1 :]
    if 2 * padding > size:
        raise InputError(f"layer {text!r} has a padding of more than half of its size")
    op = Op("pool", pool=size, padding=padding, stride=stride)
    return built.then(op, (built.shape[0], *_slid(text, built.shape, size, padding, stride)))


def _slid(text: str, shape: tuple[int, ...], size: int, padding: int, stride: int) -> tuple[int, int]:
    """Height and width that a window leaves."""
    _, height, width = shape
    left = tuple((pixels + 2 * padding - size) // stride + 1 for pixels in (height, width))
    if min(left) < 1:
        raise InputError(f"layer {text!r} does not fit its input of {height} x {width} pixels")
    return left


def _with_norm(built: _Built, kind: str) -> _Built:
    op = Op("batch_norm", norm=Norm(built.name(kind), built.shape[0]), mapped=kind == "norm")
    return built.then(op, built.shape)


def _with_sum(built: _Built) -> _Built:
    """What was remembered is added; if it has another shape, with a shortcut's layers between."""
    if not built.kept:
        raise InputError("layer 'add' is there without its 'branch'")
    shape, kept = built.shape, built.kept[-1]
    if shape != kept:
        strides = [
            s for s in range(1, max(kept) + 1) if all((n - 1) // s + 1 == m for n, m in zip(kept[1:], shape[1:], strict=True))
        ]
        if not strides:
            raise InputError(f"layer 'add' cannot add shapes {kept} and {shape}: no stride makes one of the other")
        weights = built.weights("shortcut", shape[0], (kept[0], 1, 1), has_bias=False)
        built = built.then(Op("swap"), kept).then(Op("conv", weights, stride=strides[0]), shape)
        built = _with_norm(built, "shortcut_norm")
    return built.then(Op("add", mapped=True), shape)._replace(kept=built.kept[:-1])
