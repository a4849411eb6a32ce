"""Every named architecture: small images to try it on, and its counts as published."""

from typing import NamedTuple

from weightspace.nets.spec import ARCHITECTURES, RESIDUAL_ARCHITECTURES, build_spec

SHAPES = {
    "cnn": (1, 28, 28),
    "cnn2": (3, 28, 28),
    "cnn3": (3, 32, 32),
    "lenet5": (3, 32, 32),
    "mlp": (2, 5, 4),
    "cnn_digits": (1, 8, 8),
    "resnet8": (1, 8, 8),
    "resnet20": (3, 16, 16),
    "resnet56": (3, 8, 8),
    "resnet20_a": (3, 16, 16),
    "resnet56_a": (3, 8, 8),
    "resnet18": (3, 32, 32),
    "resnet18_cifar": (3, 8, 8),
    "resnet34_cifar": (3, 8, 8),
    "vit": (3, 16, 12),
    "vit_digits": (1, 8, 8),
}
TRANSFORMERS = [name for name in SHAPES if name.startswith("vit")]
RESNETS = [name for name in SHAPES if name.startswith("resnet")]
assert SHAPES.keys() == (ARCHITECTURES | RESIDUAL_ARCHITECTURES).keys()


def spec_of(architecture, activation="relu", num_classes=10):
    """The named architecture for its small images."""
    return build_spec(architecture, activation, SHAPES[architecture], num_classes)


class Counted(NamedTuple):
    architecture: str
    image_shape: tuple[int, int, int]
    num_classes: int
    learned: int  # weights, without running statistics
    tokens: int  # of the longest unit, without batch norms


MNIST, GRAY_DIGITS, CIFAR = (1, 28, 28), (1, 8, 8), (3, 32, 32)
COUNTS = [
    Counted("cnn", MNIST, 10, 2_464, 48),  # SANE, 1.2
    Counted("cnn", (3, 28, 28), 10, 2_864, 48),
    Counted("cnn2", (3, 28, 28), 10, 3_347, 51),
    Counted("cnn3", CIFAR, 10, 10_853, 93),
    Counted("lenet5", CIFAR, 10, 62_006, 236),  # Meynent et al. 2025, 1.2
    Counted("mlp", GRAY_DIGITS, 10, 3_466, 74),
    Counted("mlp 64", MNIST, 10, 785 * 64 + 65 * 10, 74),  # Expand-and-Cluster, 2.2
    Counted("mlp 64", CIFAR, 10, 3073 * 64 + 65 * 10, 74),
    Counted("mlp 30 30 30", MNIST, 10, 785 * 30 + 2 * 31 * 30 + 31 * 10, 100),
    Counted("cnn_digits", GRAY_DIGITS, 10, 1_194, 42),
    Counted("resnet8", GRAY_DIGITS, 10, 19_810, 178),
    Counted("resnet20", CIFAR, 10, 272_474, 794),  # NeRN, 1.5
    Counted("resnet56", CIFAR, 10, 855_770, 2_138),
    Counted("resnet20_a", CIFAR, 10, 269_722, 698),  # He et al. 2016, table 6: 0.27 and 0.85 million
    Counted("resnet56_a", CIFAR, 10, 853_018, 2_042),
    Counted("resnet18", (3, 224, 224), 1000, 11_689_512, 5_800),  # torchvision
    Counted("resnet18_cifar", CIFAR, 10, 11_173_962, 4_810),  # SANE, 1.2
    Counted("resnet18_cifar", CIFAR, 100, 11_220_132, 4_900),
    Counted("resnet18_cifar", CIFAR, 200, 11_271_432, 5_000),
    Counted("resnet34_cifar", CIFAR, 10, 21_282_122, 8_522),
    Counted("vit", CIFAR, 10, 207_946, 64 + 64 + 4 * (64 + 192 + 64 + 64 + 256 + 64) + 64 + 10),
    Counted("vit_digits", GRAY_DIGITS, 10, 7_098, 16 + 16 + 2 * (16 + 48 + 16 + 16 + 64 + 16) + 16 + 10),
]
