"""The architecture of checkpoints: as the settings say, as params.json says, or as their shapes tell."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isqrt
from typing import Any, NamedTuple

from weightspace.errors import InputError
from weightspace.nets.activations import ACTIVATIONS
from weightspace.nets.spec import ARCHITECTURES, RESIDUAL_ARCHITECTURES, NetSpec, build_spec, residual_layers
from weightspace.zoo.matching import layers_of, told
from weightspace.zoo.sources import CheckpointsConfig
from weightspace.zoo.state_files import State

ACTIVATION, TYPE = "model::nlin", "model::type"  # keys of params.json
NONLINEARITIES = {"leakyrelu": "leaky_relu"}  # others have our names
USUAL_SIZES = {1: (28, 32, 8), 3: (32, 64, 96, 224)}  # of images by their channels, tried first; then all others
MOST_PIXELS = 256

Layers = str | Sequence[str]


def _cifar_resnet(width: int) -> list[str]:
    """torchvision's ResNet-18 whose first convolution is 3 x 3 with stride 1, without its pooling."""
    return residual_layers(
        [f"conv {width} 3 1", "batch_norm", "activation"], [width, 2 * width, 4 * width, 8 * width], [2, 2, 2, 2]
    )


# Networks by `model::type` (ModelZooDataset efccaf3, def_net.py; PhaseTransitionModelZoo 26ff952, def_net_width.py)
PUBLISHED: dict[str, Callable[[Mapping[str, Any]], Layers]] = {
    "CNN": lambda params: "cnn",
    "CNN2": lambda params: "cnn2",
    "CNN3": lambda params: "cnn3",
    "LeNet5": lambda params: "lenet5",
    "Resnet18": lambda params: "resnet18_cifar",
    "Resnet18_width": lambda params: _cifar_resnet(int(params["model::width"])),
}


class Images(NamedTuple):
    """What networks are asked, where it is known."""

    shape: tuple[int, int, int]
    num_classes: int


class Inferred(NamedTuple):
    """A spec and a sentence that says where it is from."""

    spec: NetSpec
    told: str


def infer_spec(config: CheckpointsConfig, images: Images | None, state: State, params: Mapping[str, Any]) -> Inferred:
    """The spec of a checkpoint; raises InputError, without a file's name, for what nothing tells.

    Shapes tell chains of linear layers, and the architectures of `nets.spec` and of ModelZoos. They tell neither activation nor
    pooling, padding and stride. What has exactly the layers of the file is preferred to what leaves some of them over.
    """
    activation = activation_of(config.activation, params)
    if activation is None:
        raise InputError("shapes do not tell the activation: say it with `activation`")
    images = images or _described(params)
    shapes = {key: tuple(tensor.shape) for key, tensor in state.tensors.items()}
    signature = Counter(layer.shapes for layer in layers_of(shapes))
    found: dict[tuple[str, ...], tuple[str, NetSpec]] = {}
    for origin, layers in _candidates(config, shapes, params):
        if spec := _fitting(layers, activation, _inputs(config, images, state), signature):
            found.setdefault(spec.architecture, (origin, spec))
    exact = {key: (origin, spec) for key, (origin, spec) in found.items() if _signature(spec) == signature}
    found = exact or found
    if len(found) > 1:
        names = " and ".join(origin for origin, _ in found.values())
        raise InputError(f"{names} have the same shapes: say which it is with `architecture`")
    if not found:
        raise InputError(_nothing_fits(config, images, shapes))
    ((origin, spec),) = found.values()
    size = "x".join(map(str, spec.image_shape))
    layers = ", ".join(f"{layer.layer} {told(layer.shapes[:1])}" for layer in layers_of(spec.shapes))
    return Inferred(spec, f"architecture {origin}, {activation}, images of {size}, {spec.num_classes} classes: {layers}")


def activation_of(named: str | None, params: Mapping[str, Any]) -> str | None:
    """The activation that is named, else that of params.json; None where neither tells it."""
    said = str(params.get("activation", params.get(ACTIVATION)))
    return named or NONLINEARITIES.get(said, said if said in ACTIVATIONS else None)


def _described(params: Mapping[str, Any]) -> Images | None:
    """Images that an export's config.json tells."""
    shape, classes = params.get("image_shape"), params.get("num_classes")
    told = isinstance(shape, list) and len(shape) == 3 and all(isinstance(number, int) for number in (*shape, classes))
    return Images(tuple(shape), classes) if told else None


def _candidates(
    config: CheckpointsConfig, shapes: dict[str, tuple[int, ...]], params: Mapping[str, Any]
) -> Iterator[tuple[str, Layers]]:
    """Architectures that a checkpoint may be of, each with where it is from."""
    if config.architecture is not None:
        yield "as the settings say", config.architecture
    elif isinstance(layers := params.get("architecture"), list) and all(isinstance(text, str) for text in layers):
        yield "of config.json", layers
    elif (kind := params.get(TYPE)) in PUBLISHED:
        yield f"{kind} of params.json", PUBLISHED[kind](params)
    else:
        named = ARCHITECTURES | RESIDUAL_ARCHITECTURES
        yield from ((f"{name}, inferred from the shapes", name) for name in named if name != "mlp")
        if all(len(shape) in (1, 2) for shape in shapes.values()):
            hidden = [shape[0] for shape in shapes.values() if len(shape) == 2][:-1]
            layers = [text for units in hidden for text in (f"linear {units}", "activation")]
            yield "a chain of linear layers, inferred from the shapes", ["flatten", *layers, "linear classes"]


def _fitting(layers: Layers, activation: str, inputs: list[list[Images]], signature: Counter) -> NetSpec | None:
    """The spec of an architecture whose layers are all in `signature`, if some images make them so.

    Of images that differ in size alone (the inner lists) convolutions are the same: one that is not there ends the search.
    """
    for sizes in inputs:
        for images in sizes:
            try:
                spec = build_spec(layers, activation, *images)
            except InputError:
                continue
            wanted = _signature(spec)
            if wanted <= signature:
                return spec
            if wanted.total() > signature.total():
                return None
            if not Counter({shapes: num for shapes, num in wanted.items() if len(shapes[0]) == 4}) <= signature:
                break
    return None


def _signature(spec: NetSpec) -> Counter:
    """How many layers of each shapes there are."""
    return Counter(layer.shapes for layer in layers_of(spec.shapes))


def _inputs(config: CheckpointsConfig, images: Images | None, state: State) -> list[list[Images]]:
    """Images that a checkpoint could have been made for, those that differ in size alone together."""
    if images is not None:
        return [[images]]
    shapes = [tuple(tensor.shape) for tensor in state.tensors.values()]
    classes = list(dict.fromkeys(shape[0] for shape in reversed(shapes) if len(shape) == 2))
    channels = list(dict.fromkeys(shape[1] for shape in shapes if len(shape) == 4))
    if not channels:
        return [[Images(_square(shape[1]), number) for shape in shapes if len(shape) == 2] for number in classes]
    return [[Images((one, size, size), number) for size in _sizes(config, one)] for number in classes for one in channels]


def _sizes(config: CheckpointsConfig, channels: int) -> list[int]:
    if config.image_size:
        return [config.image_size]
    return list(dict.fromkeys([*USUAL_SIZES.get(channels, ()), *range(1, MOST_PIXELS + 1)]))


def _square(inputs: int) -> tuple[int, int, int]:
    """An image of so many numbers: gray or RGB where it can be square, else one long column."""
    for channels in (1, 3):
        side = isqrt(inputs // channels)
        if channels * side**2 == inputs:
            return channels, side, side
    return inputs, 1, 1


def _nothing_fits(config: CheckpointsConfig, images: Images | None, shapes: dict[str, tuple[int, ...]]) -> str:
    layers = ", ".join(f"{layer.layer} ({told(layer.shapes)})" for layer in layers_of(shapes))
    if config.architecture is not None or images:
        of = "" if images is None else f" on images of shape {images.shape} with {images.num_classes} classes"
        return f"its layers are {layers}, which are not those of the architecture{of}"
    return (
        f"its layers are {layers}; shapes do not tell pooling, padding, strides and what lies between layers: write the layers "
        "with `architecture`, such as [conv 8 5, pool 2, activation, flatten, linear classes]"
    )
