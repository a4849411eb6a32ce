"""Checks before the first job: what only several sections of a scenario show together, and layers that must fit images."""

from collections.abc import Iterator, Sequence

from weightspace.config import OnnxTeacher, RecoveryConfig, Scenario, SyntheticTeachers, TableTeacher, TeacherConfig, ZooTeachers
from weightspace.errors import InputError
from weightspace.nets.spec import build_spec

ONE_FUNCTION = {"tanh", "sigmoid"}  # sigmoid(2z) = (1 + tanh z) / 2: networks of one are networks of the other


def check_scenario(scenario: Scenario, name: str) -> None:
    """Raises InputError naming the first setting that does not fit the others."""
    for key, problem in _problems(scenario):
        raise InputError(f"scenario {name}: {key}: {problem}")


def _problems(scenario: Scenario) -> Iterator[tuple[str, str]]:
    """Every setting that does not fit, and why."""
    trained = {f"zoos.{name}": cell for name, cell in scenario.zoos.items()}
    trained |= {f"teachers.{name}": cell for name, cell in scenario.teachers.items() if cell.kind == "trained"}
    for key, cell in trained.items():
        images = scenario.images[cell.images]
        yield from _unreadable(f"{key}.architecture", cell.architecture, images.image_shape, images.num_classes)
    for name, cell in scenario.teachers.items():
        if isinstance(cell, ZooTeachers) and max(cell.models) >= (num := scenario.zoos[cell.zoo].num_models):
            yield f"teachers.{name}.models", f"zoo {cell.zoo!r} has models 0 to {num - 1}"
    for name, cell in scenario.recoveries.items():
        yield from _recovery_problems(scenario, f"recoveries.{name}", cell)


def _recovery_problems(scenario: Scenario, key: str, cell: RecoveryConfig) -> Iterator[tuple[str, str]]:
    shape, outputs = _asked_of(scenario, scenario.teachers[cell.teacher])
    if cell.queries.images is not None and shape is not None:
        found = scenario.images[cell.queries.images].image_shape
        if tuple(found) != tuple(shape):
            yield f"{key}.queries.images", f"{cell.queries.images!r} has images of shape {found}, the teachers take {shape}"
    if outputs == 1 and cell.queries.design == "boundary":
        yield f"{key}.queries.design", "a teacher with one output has no boundary between classes"
    if outputs == 1 and cell.outputs == "probabilities":
        yield f"{key}.outputs", "a teacher with one output has no probabilities"
    if set(cell.students.activations or []) >= ONE_FUNCTION:
        yield f"{key}.students.activations", "tanh and sigmoid are one function, up to scale and constant: name one of them"
    if cell.cluster.mask != "none" and scenario.teachers[cell.teacher].kind not in ("trained", "zoo"):
        yield f"{key}.cluster.mask", "only teachers trained on images have pixels to choose from"
    for layers in cell.students.architectures or []:
        if shape is not None or layers[:1] == ["flatten"]:
            yield from _unreadable(f"{key}.students.architectures", layers, shape or (1, 1, 1), outputs or 1)


def _asked_of(scenario: Scenario, teacher: TeacherConfig) -> tuple[Sequence[int] | None, int | None]:
    """Shape of an input of the teachers and entries of an output; None where only their file tells."""
    if isinstance(teacher, SyntheticTeachers):
        return (teacher.inputs, 1, 1), teacher.outputs
    if isinstance(teacher, TableTeacher | OnnxTeacher):
        return teacher.input_shape, None
    owner = scenario.zoos[teacher.zoo] if isinstance(teacher, ZooTeachers) else teacher
    images = scenario.images[owner.images]
    return images.image_shape, images.num_classes


def _unreadable(key: str, layers: str | list[str], shape: Sequence[int], outputs: int) -> Iterator[tuple[str, str]]:
    """Why the layers do not fit inputs of this shape, if they do not."""
    try:
        spec = build_spec(layers, "relu", shape, outputs)
    except InputError as error:
        yield key, str(error)
        return
    if not spec.plain:
        yield key, "batch norm, residual blocks, strides and groups are for originals of predictors alone"
