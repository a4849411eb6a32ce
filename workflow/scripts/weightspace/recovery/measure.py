"""Rows of metrics of a recovery: sizes, units, answers, students."""

from typing import NamedTuple

import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor

from weightspace.nets.spec import NetSpec
from weightspace.recovery.compare import (
    Comparison,
    Networks,
    answer_metrics,
    compare,
    identifiability,
    size_metrics,
    unit_metrics,
)
from weightspace.recovery.files import Expanded, RecoveredNetwork
from weightspace.recovery.finish import exact_error
from weightspace.recovery.fit import finite_first, squared_error
from weightspace.recovery.layers import incoming, widths_of, with_layers
from weightspace.recovery.metrics import NEURONS_SCHEMA
from weightspace.recovery.problem import Problem, validation_error
from weightspace.recovery.queries import Queries, of_teacher
from weightspace.recovery.teachers import Teachers
from weightspace.recovery.verdict import verdict_metrics
from weightspace.table import Source

REACHED = 1e-12  # squared error over variance of a student that fits exact answers
CONSTANT = 1e-9  # share of the largest answer by which answers that are constant may differ
SHOWN = 16  # units per layer whose weights are kept for figures


class Measured(NamedTuple):
    """Rows of metrics, and what a figure shows of the first teacher."""

    rows: list[dict]
    neurons: pa.Table


def measure_networks(
    source: Source, networks: list[RecoveredNetwork], queries: Queries, teachers: Teachers, outputs: str
) -> Measured:
    """Every network against its teacher: answers on held-out and shifted inputs, and units where the teacher's are known.

    Units are compared on the held-out inputs, which are the same whatever the design of the queries, where teachers have images.
    """
    rows, neurons = [], NEURONS_SCHEMA.empty_table()
    for n, network in enumerate(networks):
        measures = _answers(network, queries, n)
        measures["teacher_learned"] = float(teachers.learned[n] and not is_constant(queries.test_y[n]))
        if teachers.spec is not None:
            teacher = _as_asked(teachers.spec, teachers.weights[n : n + 1], outputs)
            asked, x = (of_teacher(inputs, n).unsqueeze(0).double() for inputs in (queries.train_x, queries.test_x))
            measures["size_true"] = sum(widths_of(teachers.spec))
            measures |= identifiability(teachers.spec, teacher, asked) | size_metrics(
                measures["size_true"], _size(network.spec), 0.0
            )
            if len(widths_of(network.spec)) == len(widths_of(teachers.spec)):
                skipped = network.skip is not None
                comparison = compare(Networks(teachers.spec, teacher, network.spec, network.weights, x, free_signs=skipped))
                units = unit_metrics(comparison)
                measures |= units | size_metrics(measures["size_true"], _size(network.spec), units["coverage_1e-3"])
                neurons = neurons_table(source, teachers.spec, comparison) if n == 0 else neurons
                measures["activation_right"] = float(network.spec.activation == teachers.spec.activation)
        rows += [source.row(name, value, subject=n) for name, value in measures.items()]
    return Measured(rows, neurons)


def judge(source: Source, rows: list[dict], expanded: Expanded) -> list[dict]:
    """What became of each teacher, from the other rows of its recovery."""
    judged = []
    for n, error in enumerate(expanded.students.error.view(-1, expanded.num)):
        measures = {row["metric"]: row["value"] for row in rows if row["subject"] == str(n)}
        judged += [
            source.row(name, value, subject=n) for name, value in verdict_metrics(measures, exact_error(error) ** 0.5).items()
        ]
    return judged


def measure_recovery(
    source: Source, networks: list[RecoveredNetwork], problem: Problem, queries: Queries, expanded: Expanded
) -> list[dict]:
    """What only a recovery has: its students, and the network before the finish."""
    spec, trained, num = expanded
    owner = torch.arange(len(problem.val.y)).repeat_interleave(num)
    held_out = problem.val._replace(
        x=problem.scaling.inputs(queries.test_x), y=problem.scaling.answers(queries.test_y), owner=owner
    )
    errors = squared_error(spec, trained.weights, held_out).view(-1, num).sqrt() * problem.scaling.y_scale.unsqueeze(1)
    validated = finite_first(validation_error(spec, trained.weights, problem, num)).view(-1, num)
    rows = []
    for n, (network, own) in enumerate(zip(networks, trained.error.view(-1, num), strict=True)):
        measures = {
            "num_queries": queries.asked, "inputs": queries.train_x[0, 0].numel(), "size_student": _size(spec),
            "rmse_student_best": errors[n, validated[n].argmin()], "rmse_student_median": errors[n].median(),
            "reached": (own <= max(REACHED, exact_error(own))).double().mean(),
            "size_clustered": network.about["size_clustered"], "affine_residual": network.about["affine_residual"],
            "from_students": float(network.about["how"] == "students"),
            "rmse_clustered": network.about["error_clustered"] ** 0.5 * problem.scaling.y_scale[n],
        }  # fmt: skip
        if queries.spec is not None:
            measures["expansion_factor"] = _size(spec) / _size(queries.spec)
        rows += [source.row(name, value, subject=n) for name, value in measures.items()]
    return rows


def _answers(network: RecoveredNetwork, queries: Queries, n: int) -> dict[str, float]:
    """Errors on the train queries, on held-out and on shifted inputs, with the skip of a published recovery."""
    measures = {
        "skip_weights": 0 if network.skip is None else network.skip.numel(),
        "size_recovered": _size(network.spec),
        "output_deviation": float((queries.test_y[n] - queries.test_y[n].mean(0)).square().mean().sqrt()),
    }
    for split, name in (("train", "train"), ("test", "held_out"), ("shifted", "shifted")):
        x, y = getattr(queries, f"{split}_x"), getattr(queries, f"{split}_y")
        measures |= answer_metrics(network.spec, network.weights, of_teacher(x, n).unsqueeze(0), y[n], name, network.skip)
    return measures


def _as_asked(spec: NetSpec, weights: Float[Tensor, "1 weight"], outputs: str) -> Float[Tensor, "1 weight"]:
    """The teacher; of one that answers probabilities, the one whose outputs have mean 0, as all that can be known."""
    if outputs == "logits":
        return weights
    last = incoming(spec, weights, len(spec.layers) - 1)
    return with_layers(spec, weights, {len(spec.layers) - 1: last - last.mean(1, keepdim=True)})[1]


def is_constant(y: Float[Tensor, "query output"]) -> bool:
    """Whether answers hardly depend on what is asked."""
    return bool((y - y.mean(0)).abs().max() <= CONSTANT * y.abs().max())


def _size(spec: NetSpec) -> int:
    return sum(widths_of(spec))


def neurons_table(source: Source, spec: NetSpec, comparison: Comparison) -> pa.Table:
    """Incoming weights of some units, the teacher's and the recovered ones: spread over the distances, the worst included."""
    rows = []
    for layer, matched in enumerate(comparison.layers):
        order = matched.distance.argsort()
        shown = order[torch.linspace(0, len(order) - 1, min(SHOWN, len(order))).round().long()]
        fan_in = spec.layers[layer].fan_in if layer or len(spec.layers[0].fan_in) == 3 else spec.image_shape
        for unit in shown.tolist():
            angle = 2 * torch.asin((matched.distance[unit] / 2).clamp(0, 1).sqrt()).rad2deg()
            lost = bool(matched.found[unit] < 0)
            rows.append({
                **source._asdict(), "subject": "0", "layer": layer,
                "neuron": unit, "angle_degrees": float("nan") if lost else float(angle),
                "shape": list(fan_in) if len(fan_in) == 3 else [fan_in[0], 1, 1],
                "teacher": matched.teacher[unit, :-1].tolist(),
                "recovered": None if lost else matched.recovered[unit, :-1].tolist(),
            })  # fmt: skip
    return pa.Table.from_pylist(rows, schema=NEURONS_SCHEMA)
