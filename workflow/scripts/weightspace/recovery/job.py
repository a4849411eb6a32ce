"""Recovery of all teachers of a cell: from students to networks in the teachers' units, as files hold them."""

from typing import NamedTuple

import pyarrow as pa
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from weightspace.errors import InputError
from weightspace.nets.forward import flatten, unflatten
from weightspace.nets.spec import NetSpec, build_spec
from weightspace.progress import Progress
from weightspace.recovery.cluster import Clustering
from weightspace.recovery.finish import Network
from weightspace.recovery.metrics import MERGES_SCHEMA
from weightspace.recovery.problem import Problem
from weightspace.recovery.published import recover_published
from weightspace.recovery.recover import Recovered, recover
from weightspace.recovery.scaling import in_teacher_units, skip_in_teacher_units
from weightspace.recovery.settings import RecoveryConfig
from weightspace.recovery.students import Students
from weightspace.store import TrainingState
from weightspace.table import Source


class Answerer(NamedTuple):
    """A network of one teacher's raw queries and answers."""

    spec: NetSpec
    weights: Float[Tensor, "1 weight"]
    about: dict  # JSON-able: how it came about
    skip: Float[Tensor, "output input_and_1"] | None = None  # an affine map of the inputs that is added to the answers


def answerer(
    network: Network, problem: Problem, teacher: int, about: dict, skip: Float[Tensor, "output input_and_1"] | None = None
) -> Answerer:
    """A network of scaled queries, and its skip if it has one, in the units of its teacher."""
    owner = torch.tensor([teacher], device=network.weights.device)
    weights = in_teacher_units(network.spec, network.weights, problem.scaling, owner).cpu()
    skip = None if skip is None else skip_in_teacher_units(skip, problem.scaling, teacher).cpu()
    return Answerer(network.spec, weights, about, skip)


def pack_networks(networks: list[Answerer]) -> tuple[dict[str, Tensor], dict]:
    """State dicts of all networks, names prefixed by the teacher's index; metadata say each one's layers."""
    tensors = {
        f"{n}.{name}": values[0]
        for n, network in enumerate(networks)
        for name, values in unflatten(network.spec, network.weights).items()
    }
    tensors |= {f"{n}.skip": network.skip for n, network in enumerate(networks) if network.skip is not None}
    return tensors, {"networks": [{"spec": network.spec.description, **network.about} for network in networks]}


def unpack_networks(tensors: dict[str, Tensor], metadata: dict) -> list[Answerer]:
    """Inverse of `pack_networks`."""
    networks = []
    for n, about in enumerate(metadata["networks"]):
        spec = build_spec(**about["spec"])
        named = {name: tensors[f"{n}.{name}"].unsqueeze(0) for name in spec.shapes}
        about = {key: value for key, value in about.items() if key != "spec"}
        networks.append(Answerer(spec, flatten(spec, named), about, tensors.get(f"{n}.skip")))
    return networks


def pack_students(spec: NetSpec, students: Students, tried: list) -> tuple[dict[str, Tensor], dict]:
    """Students of scaled queries, and the short runs that chose their layers."""
    return students._asdict(), {"spec": spec.description, "tried": [run._asdict() for run in tried]}


def unpack_students(tensors: dict[str, Tensor], metadata: dict) -> tuple[NetSpec, Students]:
    """Layers and weights of what `pack_students` packed."""
    return build_spec(**metadata["spec"]), Students(tensors["weights"], tensors["error"])


def recover_networks(
    spec: NetSpec,
    students: Students,
    problem: Problem,
    config: RecoveryConfig,
    state: TrainingState,
    mask: Bool[Tensor, " pixel"] | None = None,
) -> tuple[list[Answerer], list[Clustering]]:
    """A network per teacher, and the clusterings of the first one's layers; a killed run goes on from `state`."""
    num, first = config.students.num, []
    procedure = recover_published if config.cluster.procedure == "published" else recover
    saved = state.load()
    networks = unpack_networks(*saved) if saved else []
    progress = Progress("teachers", len(problem.train.y), len(networks))
    for teacher in range(len(problem.train.y)):
        is_new = teacher >= len(networks)
        if is_new or teacher == 0:  # the first one's clusterings are not in the state
            own = slice(teacher * num, (teacher + 1) * num)
            one = problem.of_teacher(teacher, num)
            recovered = procedure(spec, Students(students.weights[own], students.error[own]), one, config, mask)
            found = answerer(recovered.network, problem, teacher, _about(recovered), recovered.skip)
            networks[teacher:] = [found, *networks[teacher + 1 :]]
            first = first or recovered.clusterings
        if is_new:
            progress.update(teacher + 1)
        packed = pack_networks(networks)
        state.save_if_due(lambda packed=packed: packed[0], **packed[1])
    if not networks:
        raise InputError("there are no teachers to recover")
    return networks, first


def _about(recovered: Recovered) -> dict:
    """How a network came about; errors are squared, in units of the answers' variance."""
    return {
        "size_clustered": sum(layer.out for layer in recovered.clustered.spec.layers[:-1]),
        "error_clustered": recovered.clustered.error,
        "error": recovered.network.error,
        "affine_residual": recovered.affine_residual,
        "how": recovered.how,
        "skip_weights": 0 if recovered.skip is None else recovered.skip.numel(),
    }


def merges_table(source: Source, clusterings: list[Clustering]) -> pa.Table:
    """One row per merge of every layer's tree, as MERGES_SCHEMA says."""
    rows = [
        {
            **source._asdict(), "layer": layer, "step": step,
            "left": int(left), "right": int(right), "height": float(height), "members": int(members),
            "students": int(clustering.students[step]), "least": clustering.least, "count": int(clustering.counts[step]),
            "cut": clustering.cut, "num_neurons": len(clustering.labels),
        }
        for layer, clustering in enumerate(clusterings)
        for step, (left, right, height, members) in enumerate(clustering.merges)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=MERGES_SCHEMA)
