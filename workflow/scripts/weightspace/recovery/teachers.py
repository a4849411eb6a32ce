"""Teachers: the networks that recovery is tried on, made up or taken from a zoo, as one stack in float64."""

from collections.abc import Callable
from math import prod, sqrt
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float64
from torch import Generator, Tensor

from weightspace.checkpoints import Zoo, chosen_networks
from weightspace.ensemble import evaluate, outputs
from weightspace.errors import InputError
from weightspace.images.tensors import ImageSet, normalize
from weightspace.jobs import Job
from weightspace.nets.forward import flatten
from weightspace.nets.spec import LACKS, NetSpec, build_spec
from weightspace.recovery.settings import OnnxTeacher, SyntheticTeachers, TableTeacher, ZooTeachers
from weightspace.rng import generator_for
from weightspace.store import load_tensors, save_tensors

Answer = Callable[[Float64[Tensor, "query channel height width"]], Float64[Tensor, "query output"]]
SCALING_INPUTS = 10_000  # on which a synthetic teacher's outputs have mean 0 and variance 1
LOOKED_AT = 10_000  # train images that tell whether a classifier has learned
LEAST_OUTGOING = 0.1  # size of a gaussian teacher's smallest outgoing weight: a unit of weight 0 is none


class Teachers(NamedTuple):
    """Networks of one spec; of a black box, neither spec nor weights."""

    spec: NetSpec | None
    weights: Float64[Tensor, "teacher weight"]  # [1, 0] of a black box
    learned: list[bool]  # of classifiers of images: better than chance; of others always


def make_teachers(
    config: SyntheticTeachers | ZooTeachers | TableTeacher | OnnxTeacher, name: str, images: ImageSet | None, zoo: Zoo | None
) -> Teachers:
    """Teachers of any kind; `name` is the cell's, `images` and `zoo` are there where they are of a zoo."""
    if isinstance(config, SyntheticTeachers):
        return synthetic_teachers(config, name)
    if isinstance(config, ZooTeachers):
        return with_learned(zoo_teachers(config, zoo), images)
    return Teachers(None, torch.zeros(1, 0, dtype=torch.float64), [True])


def with_learned(teachers: Teachers, images: ImageSet) -> Teachers:
    """The classifiers, each marked by whether it knows more of the train images than their most frequent class; printed.

    That is an accuracy more than two standard errors above the share of that class, on every n-th of the images.
    """
    kept = slice(None, None, -(-len(images.train_y) // LOOKED_AT))
    x, y = normalize(images.train_x[kept], images), images.train_y[kept]
    _, accuracy = evaluate(teachers.spec, teachers.weights.to(x), x, y)
    chance = float(y.bincount().max() / len(y))
    learned = (accuracy > chance + 2 * sqrt(chance * (1 - chance) / len(y))).tolist()
    for n, (own, has) in enumerate(zip(accuracy.tolist(), learned, strict=True)):
        told = "" if has else f": it has not learned, always answering one class gives {chance:.3f}"
        print(f"teacher {n}: accuracy {own:.3f} on {len(y)} train images{told}")
    return teachers._replace(learned=learned)


def write_teachers(path: str | Path, teachers: Teachers, job: Job | None = None) -> None:
    """Write teachers of any kind."""
    about = {"spec": teachers.spec and teachers.spec.description, "learned": teachers.learned}
    save_tensors(path, {"weights": teachers.weights}, about, job)


def read_teachers(path: str | Path) -> Teachers:
    """Read what `write_teachers` wrote."""
    tensors, metadata = load_tensors(path)
    return Teachers(metadata["spec"] and build_spec(**metadata["spec"]), tensors["weights"], metadata["learned"])


def answers(teachers: Teachers) -> list[Answer]:
    """One function per teacher, from inputs to raw outputs of the last layer."""
    return [lambda x, row=row: outputs(teachers.spec, row.unsqueeze(0), x)[0] for row in teachers.weights]


def cube(num: int, shape: tuple[int, int, int], generator: Generator) -> Float64[Tensor, "query channel height width"]:
    """Inputs uniform in the cube of sides +-sqrt(3): mean 0, deviation 1."""
    return (2 * torch.rand(num, *shape, generator=generator, dtype=torch.float64) - 1) * sqrt(3)


def synthetic_teachers(config: SyntheticTeachers, name: str) -> Teachers:
    """Made-up multi-layer networks; pre-activations are of order 1 above the first layer in both families.

    discrete: hidden weights from -1, 0, 1 (not all 0), biases from -2/3 to 2/3 in thirds, no two units of a layer equal up
    to sign, outgoing weights +-1; the weights of hidden layers above the first are divided by sqrt(fan_in). gaussian:
    weights N(0, 1 / fan_in), biases of deviation 1/2, outgoing weights N(0, 1), bounded away from 0. The last layer is then
    scaled, by one number, and shifted, so that outputs on the cube have mean 0 each and variance 1 on average.
    """
    hidden = [layer for units in config.hidden for layer in (f"linear {units}", "activation")]
    spec = build_spec(["flatten", *hidden, "linear classes"], config.activation, (config.inputs, 1, 1), config.outputs)
    rows = [_synthetic_teacher(config, spec, generator_for("teacher", name, index)) for index in range(config.num)]
    return Teachers(spec, torch.stack(rows), [True] * config.num)


def _synthetic_teacher(config: SyntheticTeachers, spec: NetSpec, rng: Generator) -> Float64[Tensor, " weight"]:
    draw, outgoing = {
        "discrete": (_discrete_units, _random_signs),
        "gaussian": (_gaussian_units, _gaussian_outgoing),
    }[config.family]
    parameters = {}
    for place, layer in enumerate(spec.layers):
        fan_in = prod(layer.fan_in)
        if layer is spec.layers[-1]:
            weight, bias = outgoing((layer.out, fan_in), rng), torch.zeros(layer.out, dtype=torch.float64)
        else:
            weight, bias = draw(layer.out, fan_in, rng)
            if config.family == "discrete" and place > 0:
                weight = weight / sqrt(fan_in)
        parameters |= {f"{layer.name}.weight": weight, f"{layer.name}.bias": bias}
    y = outputs(spec, flatten(spec, parameters).unsqueeze(0), cube(SCALING_INPUTS, spec.image_shape, rng))[0]
    scale = y.var(0, unbiased=False).mean().sqrt()
    parameters |= {f"{layer.name}.weight": weight / scale, f"{layer.name}.bias": -y.mean(0) / scale}
    return flatten(spec, parameters)


def _discrete_units(num: int, fan_in: int, rng: Generator) -> tuple[Float64[Tensor, "unit in"], Float64[Tensor, " unit"]]:
    """Weights in -1, 0, 1 and biases in thirds of `num` units that differ by more than sign."""
    found: dict[tuple[int, ...], Tensor] = {}
    while len(found) < num:
        unit = torch.cat([torch.randint(-1, 2, (fan_in,), generator=rng), torch.randint(-2, 3, (1,), generator=rng)])
        if unit[:-1].any():
            found.setdefault(max(tuple(unit.tolist()), tuple((-unit).tolist())), unit)
    units = torch.stack(list(found.values())).double()
    return units[:, :-1], units[:, -1] / 3


def _gaussian_units(num: int, fan_in: int, rng: Generator) -> tuple[Float64[Tensor, "unit in"], Float64[Tensor, " unit"]]:
    units = torch.randn(num, fan_in + 1, generator=rng, dtype=torch.float64)
    return units[:, :-1] / sqrt(fan_in), units[:, -1] / 2


def _random_signs(shape: tuple[int, int], rng: Generator) -> Float64[Tensor, "output unit"]:
    return 2.0 * torch.randint(0, 2, shape, generator=rng, dtype=torch.float64) - 1


def _gaussian_outgoing(shape: tuple[int, int], rng: Generator) -> Float64[Tensor, "output unit"]:
    drawn = torch.randn(shape, generator=rng, dtype=torch.float64)
    return drawn.abs().clamp_min(LEAST_OUTGOING).copysign(drawn)


def zoo_teachers(config: ZooTeachers, zoo: Zoo) -> Teachers:
    """Models of a zoo at one epoch.

    Raises InputError as `chosen_networks`, or if recovery does not read such networks.
    """
    spec, weights, _ = chosen_networks(zoo, config)
    if not spec.plain:
        raise InputError(f"zoo {config.zoo!r}: {LACKS['plain']}")
    return Teachers(spec, weights.double(), [True] * len(weights))
