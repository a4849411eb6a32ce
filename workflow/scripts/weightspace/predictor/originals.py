"""Originals: the networks of a zoo whose weights predictors hold, and networks of a zoo that teach."""

from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from weightspace.checkpoints import chosen_networks, read_zoo
from weightspace.chosen import ChosenNetworks
from weightspace.nets.spec import NetSpec
from weightspace.training import DistillationTeachers


class Originals(NamedTuple):
    """Trained networks of one spec."""

    spec: NetSpec
    weights: Float[Tensor, "model weight"]
    models: list[int]  # their indices in the zoo: what rows, files and draws name them by


def read_originals(path: str | Path, chosen: ChosenNetworks) -> Originals:
    """The chosen networks of the zoo of an index; raises InputError as `chosen_networks`."""
    return Originals(*chosen_networks(read_zoo(path), chosen))


def read_teachers(path: str | Path) -> Originals:
    """All networks of the zoo of an index, as they are stored last; the index lies in a folder of the zoo's name."""
    return read_originals(path, ChosenNetworks(zoo=Path(path).parent.name))


def teachers_for(teacher: Originals, num: int, device: torch.device) -> DistillationTeachers:
    """A teacher for each of `num` students; where there are fewer teachers, they are used again in turn."""
    return DistillationTeachers(teacher.spec, teacher.weights[torch.arange(num) % len(teacher.weights)].to(device))
