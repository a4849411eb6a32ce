"""Recovery of all teachers of a cell: from students to networks in the teachers' units."""

import pyarrow as pa
from jaxtyping import Bool
from torch import Tensor

from weightspace.errors import InputError
from weightspace.progress import Progress
from weightspace.recovery.cluster import Clustering
from weightspace.recovery.files import Expanded, RecoveredNetwork, network_tensors, networks_of, recovered_network
from weightspace.recovery.finish import Recovered
from weightspace.recovery.metrics import MERGES_SCHEMA
from weightspace.recovery.problem import Problem
from weightspace.recovery.published import recover_published
from weightspace.recovery.recover import recover
from weightspace.recovery.settings import RecoverySettings
from weightspace.recovery.students import Students
from weightspace.store import TrainingState
from weightspace.table import Source


def recover_networks(
    expanded: Expanded,
    problem: Problem,
    config: RecoverySettings,
    state: TrainingState,
    mask: Bool[Tensor, " pixel"] | None = None,
) -> tuple[list[RecoveredNetwork], list[Clustering]]:
    """A network per teacher, and the clusterings of the first one's layers; a killed run goes on from `state`."""
    (spec, students, num), first = expanded, []
    procedure = recover_published if config.cluster.procedure == "published" else recover
    saved = state.load()
    networks = networks_of(*saved) if saved else []
    progress = Progress("teachers", len(problem.train.y), len(networks))
    for teacher in range(len(problem.train.y)):
        is_new = teacher >= len(networks)
        if is_new or teacher == 0:  # the first one's clusterings are not in the state
            own = slice(teacher * num, (teacher + 1) * num)
            one = problem.of_teacher(teacher, num)
            recovered = procedure(spec, Students(students.weights[own], students.error[own]), one, config, mask)
            found = recovered_network(recovered.network, problem, teacher, _about(recovered), recovered.skip)
            networks[teacher:] = [found, *networks[teacher + 1 :]]
            first = first or recovered.clusterings
        if is_new:
            progress.update(teacher + 1)
        packed = network_tensors(networks)
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
