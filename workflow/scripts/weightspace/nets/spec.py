"""Architectures as data: a line of layers, resolved for an image shape into the shapes of its weights."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import prod
from typing import NamedTuple

from weightspace.errors import InputError
from weightspace.nets.layers import LAYERS, read
from weightspace.nets.steps import IN, Op, Parameter, Place, Step, Weights


def mlp_layers(widths: Sequence[int | str]) -> list[str]:
    """Layers of a multilayer perceptron with hidden layers of such widths."""
    return ["flatten", *(layer for width in widths for layer in (f"linear {width}", "activation")), "linear classes"]


def residual_layers(stem: Sequence[str], widths: Sequence[int], blocks: Sequence[int], add: str = "add") -> list[str]:
    """Layers of a residual network of two-convolution blocks, so many per width; all widths but the first halve the image."""
    layers = list(stem)
    for stage, (width, num) in enumerate(zip(widths, blocks, strict=True)):
        for block in range(num):
            first = f"conv {width} 3 1 2" if stage > 0 and block == 0 else f"conv {width} 3 1"
            layers += ["branch", first, "batch_norm", "activation", f"conv {width} 3 1", "batch_norm", add, "activation"]
    return [*layers, "mean", "linear classes"]


def transformer_layers(patch: int, width: int, blocks: int, heads: int) -> list[str]:
    """Layers of a vision transformer (Dosovitskiy et al. 2021) with the mean over patches in place of a class token."""
    attention = ["branch", "layer_norm", f"linear {3 * width}", f"attention {heads}", f"linear {width}", "add"]
    units = ["branch", "layer_norm", f"linear {4 * width}", "activation", f"linear {width}", "add"]
    stem = [f"conv {width} {patch} 0 {patch}", "sequence", "position_embedding"]
    return [*stem, *(attention + units) * blocks, "layer_norm", "mean", "linear classes"]


ARCHITECTURES = {
    # Schürholt et al. 2022, MNIST and SVHN zoos: 2,464 weights on 28 pixels, gray
    "cnn": ["conv 8 5", "pool 2", "activation", "conv 6 5", "pool 2", "activation", "conv 4 2", "activation",
            "flatten", "linear 20", "activation", "linear classes"],
    # of the same code: 3,347 weights on 28 pixels, RGB
    "cnn2": ["conv 6 5", "pool 2", "activation", "conv 9 5", "pool 2", "activation", "conv 6 2", "activation",
             "flatten", "linear 20", "activation", "linear classes"],
    # the same zoos, CIFAR-10 "large"; Meynent et al. 2025: 10,853 weights on 32 pixels, RGB
    "cnn3": ["conv 16 3", "pool 2", "activation", "conv 32 3", "pool 2", "activation", "conv 15 3", "pool 2", "activation",
             "flatten", "linear 20", "activation", "linear classes"],
    # Meynent et al. 2025, LeNet5 zoos: 62,006 weights on 32 pixels, RGB
    "lenet5": ["conv 6 5", "activation", "pool 2", "conv 16 5", "activation", "pool 2",
               "flatten", "linear 120", "activation", "linear 84", "activation", "linear classes"],
    # other widths are written behind the name: mlp 30 30 30
    "mlp": mlp_layers([32, 32]),
    # for 8 pixels, gray: 1,194 weights
    "cnn_digits": ["conv 8 3", "pool 2", "activation", "conv 12 2", "activation",
                   "flatten", "linear 12", "activation", "linear classes"],
}  # fmt: skip
NARROW_STEM, WIDE_STEM = ([f"conv {width} 3 1", "batch_norm", "activation"] for width in (16, 64))
RESIDUAL_ARCHITECTURES = {
    # for tests, and where there is no GPU: 19,810 learned weights on gray images of 10 classes
    "resnet8": residual_layers(["conv 8 3 1", "batch_norm", "activation"], [8, 16, 32], [1, 1, 1]),
    # He et al. 2016, section 4.2, CIFAR; with shortcuts of option B 272,474 learned weights for 10 classes
    "resnet20": residual_layers(NARROW_STEM, [16, 32, 64], [3, 3, 3]),
    "resnet56": residual_layers(NARROW_STEM, [16, 32, 64], [9, 9, 9]),
    # with shortcuts of option A, as published: 269,722 and 853,018
    "resnet20_a": residual_layers(NARROW_STEM, [16, 32, 64], [3, 3, 3], "add_padded"),
    "resnet56_a": residual_layers(NARROW_STEM, [16, 32, 64], [9, 9, 9], "add_padded"),
    # the same, section 4.1, ImageNet: 11,689,512 learned weights for 1,000 classes
    "resnet18": residual_layers(["conv 64 7 3 2", "batch_norm", "activation", "pool 3 1 2"], [64, 128, 256, 512], [2, 2, 2, 2]),
    # for small images (Schürholt et al. 2024, ResNet zoos): 11,173,962 and 21,282,122 learned weights for 10 classes
    "resnet18_cifar": residual_layers(WIDE_STEM, [64, 128, 256, 512], [2, 2, 2, 2]),
    "resnet34_cifar": residual_layers(WIDE_STEM, [64, 128, 256, 512], [3, 4, 6, 3]),
    # 207,946 weights on 32 pixels, RGB; 7,098 on 8 pixels, gray
    "vit": transformer_layers(4, 64, 4, 4),
    "vit_digits": transformer_layers(2, 16, 2, 2),
}
MOST_WEIGHTS = 10**9  # of one network: 4 GB


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
    def parameters(self) -> list[Parameter]:
        """In the order of the flat vector."""
        return [parameter for op in self.ops for parameter in op.made.parameters]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each parameter, by name, in the order of the flat vector."""
        return {parameter.name: parameter.shape for parameter in self.parameters}

    @property
    def num_weights(self) -> int:
        """Entries of the flat vector: learned weights, and the running statistics of batch norms."""
        return _count(self.ops)

    @property
    def num_learned(self) -> int:
        """Weights without running statistics."""
        return sum(prod(parameter.shape) for parameter in self.parameters if parameter.learned)

    @property
    def num_mapped(self) -> int:
        """Numbers of all maps and sequences that the layers put out for one image."""
        return sum(prod(op.made.shape) for op in self.ops if len(op.made.shape) > 1)

    @property
    def plain(self) -> bool:
        """Whether it is a chain without batch norms, whose convolutions take every pixel and all channels."""
        return all(LAYERS[op.kind].plain(op.sizes) for op in self.ops)

    @property
    def one_hidden(self) -> bool:
        """Whether it is one hidden layer of units that read every entry of an input, and outputs that read every unit."""
        return [op.kind for op in self.ops] == ["flatten", "linear", "activation", "linear"]

    @property
    def structure(self) -> list[tuple]:
        """What the places of weights and the moves of units depend on: not the activation, nor dropout, nor how is pooled."""
        made = [(LAYERS[op.kind].route and op.kind, op.made.parameters, op.made.takes, op.made.gives) for op in self.ops]
        return [about for about in made if about != (None, (), IN, IN)]

    @property
    def has_statistics(self) -> bool:
        """Whether some numbers are not learned but measured: the running statistics of batch norms."""
        return self.num_learned < self.num_weights


LACKS = {  # a property of specs: what is said where it is needed and missing
    "plain": "recovery reads chains without batch norm, layer_norm, avg_pool, mean, branches, strides and groups",
}


def by_spec(specs: Iterable[NetSpec]) -> list[tuple[NetSpec, list[int]]]:
    """Each spec, with the places that it has among these."""
    found: dict[tuple, tuple[NetSpec, list[int]]] = {}
    for place, spec in enumerate(specs):
        found.setdefault(spec[:4], (spec, []))[1].append(place)  # what the rest is built from
    return list(found.values())


def _count(ops: Sequence[Op]) -> int:
    return sum(prod(parameter.shape) for op in ops for parameter in op.made.parameters)


def build_spec(architecture: str | Sequence[str], activation: str, image_shape: Sequence[int], num_classes: int) -> NetSpec:
    """Resolve an architecture's name or its layers for images of `image_shape` (channel, height, width).

    `mlp` may have the widths of its hidden layers behind it, as in `mlp 30 30 30`.
    `nets.layers.LAYERS` says how layers are written; sizes with a default may be left out from the end on. The last layer is
    `linear classes`. A convolution directly before `batch_norm` has no bias. `branch` remembers the tensor and `add` adds it,
    where shapes differ through a convolution of kernel 1 and a batch norm (option B of He et al. 2016); `add_padded` through
    channels of zeros (option A).
    Raises InputError for a layer that does not read or fit, and for more than MOST_WEIGHTS weights.
    """
    if isinstance(architecture, str):
        architecture = _named(architecture)
    if not architecture or architecture[-1] != "linear classes":
        raise InputError("the last layer must be 'linear classes'")
    built, steps = _Built((), tuple(image_shape), ()), [read(text, num_classes) for text in architecture]
    for text, step, following in zip(architecture, steps, [*steps[1:], None], strict=True):
        built = _extended(built, text, step, following)
    if built.kept:
        raise InputError("layer 'branch' is there without its 'add'")
    if len(built.shape) > 1:
        raise InputError("the last layer, 'linear classes', takes a vector, not a sequence: put 'mean' before it")
    if (num := _count(built.ops)) > MOST_WEIGHTS:
        raise InputError(f"the network would have {num:,} weights, {MOST_WEIGHTS:,} at most")
    return NetSpec(tuple(architecture), activation, tuple(image_shape), num_classes, built.ops)


def _named(architecture: str) -> list[str]:
    known, (name, *widths) = ARCHITECTURES | RESIDUAL_ARCHITECTURES, architecture.split(" ")
    if name == "mlp" and widths:
        return mlp_layers(widths)
    if architecture not in known:
        raise InputError(f"there is no architecture {architecture!r}, only {', '.join(known)}")
    return known[architecture]


class _Built(NamedTuple):
    """What is resolved so far: steps, the shape that they put out, and the shapes that branches remember."""

    ops: tuple[Op, ...]
    shape: tuple[int, ...]
    kept: tuple[tuple[int, ...], ...]


def _extended(built: _Built, text: str, step: Step, following: Step | None) -> _Built:
    """One layer more, and before it the steps of a shortcut where it needs one."""
    layer, place = LAYERS[step[0]], Place(text, built.shape, built.kept, False)
    if len(built.shape) not in layer.ranks:
        raise InputError(f"layer {text!r} does not fit its input of shape {built.shape}")
    steps = [*layer.before(place), step, following]
    for one, after in pairwise(steps):
        place = Place(text, built.shape, built.kept, after is not None and LAYERS[after[0]].shifts)
        built = _with_step(built, place, one, in_shortcut=one is not step)
    return built


def _with_step(built: _Built, place: Place, step: Step, in_shortcut: bool) -> _Built:
    kind, sizes = step
    layer, kept = LAYERS[kind], list(built.kept)
    made = layer.make(place, sizes)
    name = f"{layer.names[in_shortcut]}{sum(bool(op.made.parameters) for op in built.ops) + 1}"
    parameters = tuple(parameter._replace(name=f"{name}.{parameter.name}") for parameter in made.parameters)
    made, weights = made._replace(parameters=parameters, mapped=made.mapped and not in_shortcut), None
    if parameters and parameters[0].start == "init":
        out, *fan_in = parameters[0].shape
        weights = Weights(name, out, tuple(fan_in), _count(built.ops), has_bias=len(parameters) > 1)
    if layer.route:
        layer.route(built.shape, kept, lambda shape, other: shape)
    return _Built((*built.ops, Op(kind, len(built.ops), sizes, built.shape, made, weights)), made.shape, tuple(kept))
