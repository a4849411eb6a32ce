"""Files of a recovery: its students, and the networks that were recovered of them."""

from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from weightspace.jobs import Job
from weightspace.nets.forward import flatten, unflatten
from weightspace.nets.spec import NetSpec, build_spec
from weightspace.recovery.finish import Network
from weightspace.recovery.problem import Problem
from weightspace.recovery.scaling import in_teacher_units, skip_in_teacher_units
from weightspace.recovery.search import Tried
from weightspace.recovery.students import Students
from weightspace.store import load_tensors, save_tensors


class RecoveredNetwork(NamedTuple):
    """A network of one teacher's raw queries and answers."""

    spec: NetSpec
    weights: Float[Tensor, "1 weight"]
    about: dict  # JSON-able: how it came about
    skip: Float[Tensor, "output input_and_1"] | None = None  # an affine map of the inputs that is added to the answers


def recovered_network(
    network: Network, problem: Problem, teacher: int, about: dict, skip: Float[Tensor, "output input_and_1"] | None = None
) -> RecoveredNetwork:
    """A network of scaled queries, and its skip if it has one, in the units of its teacher."""
    owner = torch.tensor([teacher], device=network.weights.device)
    weights = in_teacher_units(network.spec, network.weights, problem.scaling, owner).cpu()
    skip = None if skip is None else skip_in_teacher_units(skip, problem.scaling, teacher).cpu()
    return RecoveredNetwork(network.spec, weights, about, skip)


def write_networks(path: str | Path, networks: list[RecoveredNetwork], job: Job | None = None) -> None:
    """Write a network per teacher."""
    save_tensors(path, *network_tensors(networks), job)


def read_networks(path: str | Path) -> list[RecoveredNetwork]:
    """Read what `write_networks` wrote."""
    return networks_of(*load_tensors(path))


def network_tensors(networks: list[RecoveredNetwork]) -> tuple[dict[str, Tensor], dict]:
    """State dicts of all networks, names prefixed by the teacher's index; metadata say each one's layers."""
    tensors = {
        f"{n}.{name}": values[0]
        for n, network in enumerate(networks)
        for name, values in unflatten(network.spec, network.weights).items()
    }
    tensors |= {f"{n}.skip": network.skip for n, network in enumerate(networks) if network.skip is not None}
    return tensors, {"networks": [{"spec": network.spec.description, **network.about} for network in networks]}


def networks_of(tensors: dict[str, Tensor], metadata: dict) -> list[RecoveredNetwork]:
    """Inverse of `network_tensors`."""
    networks = []
    for n, about in enumerate(metadata["networks"]):
        spec = build_spec(**about["spec"])
        named = {name: tensors[f"{n}.{name}"].unsqueeze(0) for name in spec.shapes}
        about = {key: value for key, value in about.items() if key != "spec"}
        networks.append(RecoveredNetwork(spec, flatten(spec, named), about, tensors.get(f"{n}.skip")))
    return networks


class Expanded(NamedTuple):
    """The students of all teachers of a recovery."""

    spec: NetSpec
    students: Students
    num: int  # per teacher


def write_students(path: str | Path, expanded: Expanded, tried: list[Tried], job: Job | None = None) -> None:
    """Write students of scaled queries, and the short runs that chose their layers."""
    about = {"spec": expanded.spec.description, "num": expanded.num, "tried": [run._asdict() for run in tried]}
    save_tensors(path, expanded.students._asdict(), about, job)


def read_students(path: str | Path, device: str | torch.device = "cpu") -> Expanded:
    """Read what `write_students` wrote, without the short runs."""
    tensors, metadata = load_tensors(path, device)
    return Expanded(build_spec(**metadata["spec"]), Students(tensors["weights"], tensors["error"]), metadata["num"])
