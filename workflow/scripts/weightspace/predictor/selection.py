"""Which layers of a network a predictor holds; without torch, so that scenarios can be checked by it."""

from collections.abc import Collection

from weightspace.errors import InputError

LEAST_SIZE = 3  # side of the output of NeRN's predictor; smaller kernels are the centers of larger ones

Shapes = dict[str, tuple[int, ...]]  # of parameters, by name


def predicted_layers(shapes: Shapes, kernel_sizes: Collection[int] | None, linear: bool) -> Shapes:
    """Weights of convolutions with a kernel of `kernel_sizes` (None: all), and of linear layers if `linear`.

    Raises InputError if there are none, and for a kernel that is even or not square.
    """
    kernels = {name: shape for name, shape in shapes.items() if name.endswith(".weight") and len(shape) == 4}
    chosen = {name for name, shape in kernels.items() if kernel_sizes is None or shape[2] in kernel_sizes}
    if linear:
        chosen |= {name for name, shape in shapes.items() if name.endswith(".weight") and len(shape) == 2}
    if not chosen:
        sizes = sorted({shape[2] for shape in kernels.values()})
        raise InputError(f"nothing to predict: no linear layers are asked for, and the network has kernels of sizes {sizes}")
    for name in kernels.keys() & chosen:
        height, width = kernels[name][2:]
        if height != width or height % 2 == 0:
            raise InputError(f"kernels of {name} are {height} x {width}, and only odd squares can be predicted: set kernel_sizes")
    return {name: tuple(shape) for name, shape in shapes.items() if name in chosen}


def output_size(layers: Shapes) -> int:
    """Side of the square that the predictor of such layers puts out: that of the largest kernel, 3 at least."""
    return max([LEAST_SIZE, *(shape[2] for shape in layers.values() if len(shape) == 4)])
