"""Checks before the first job: what only several sections of a scenario show together, and layers that must fit images."""

from collections.abc import Iterator, Sequence

from weightspace.errors import InputError
from weightspace.nets.spec import build_spec
from weightspace.predictor.settings import PredictorConfig, PredictorControlConfig
from weightspace.recovery.settings import OnnxTeacher, RecoveryConfig, SyntheticTeachers, TableTeacher, TeacherConfig, ZooTeachers
from weightspace.scenario import Scenario

LEAST_SIZE = 3  # predictor.kernels, which decodes without pydantic, has it too
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
    for name, original in scenario.originals.items():
        images = scenario.images[original.images]
        layers = original.architecture
        yield from _unreadable(f"originals.{name}.architecture", layers, images.image_shape, images.num_classes, plain=False)
    for name, predictor in scenario.predictors.items():
        yield from _predictor_problems(scenario, f"predictors.{name}", predictor)
    for name, control in scenario.predictor_controls.items():
        yield from _control_problems(scenario, f"predictor_controls.{name}", control)


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
    if cell.cluster.mask != "none":
        yield from _mask_problems(scenario, f"{key}.cluster.mask", scenario.teachers[cell.teacher])
    for layers in cell.students.architectures or []:
        if shape is not None or layers[:1] == ["flatten"]:
            yield from _unreadable(f"{key}.students.architectures", layers, shape or (1, 1, 1), outputs or 1)


def _mask_problems(scenario: Scenario, key: str, teacher: TeacherConfig) -> Iterator[tuple[str, str]]:
    if teacher.kind not in ("trained", "zoo"):
        yield key, "only teachers trained on images have pixels to choose from"
        return
    owner = scenario.zoos[teacher.zoo] if isinstance(teacher, ZooTeachers) else teacher
    images = scenario.images[owner.images]
    if build_spec(owner.architecture, "relu", images.image_shape, images.num_classes).ops[0].kind == "conv":
        yield key, "a convolution reads pixels wherever they are: only linear first layers can be masked"


def _predictor_problems(scenario: Scenario, key: str, cell: PredictorConfig) -> Iterator[tuple[str, str]]:
    kernels, chosen = _kernel_sizes(scenario, cell)
    if even := [size for size in chosen if size % 2 == 0]:
        yield f"{key}.kernel_sizes", f"kernels of size {even[0]} cannot be predicted, only odd ones: name the sizes that can"
    if not chosen and not cell.linear:
        yield f"{key}.kernel_sizes", f"nothing to predict: originals {cell.originals!r} have kernels of sizes {sorted(kernels)}"
    if cell.distillation and cell.distillation.teacher:
        yield from _teacher_problems(scenario, f"{key}.distillation.teacher", cell.distillation.teacher, cell.originals)
    if cell.stack:
        sizes = [max([LEAST_SIZE, *_kernel_sizes(scenario, one)[1]]) for one in (cell, scenario.predictors[cell.stack])]
        if sizes[0] != sizes[1]:
            yield (
                f"{key}.stack",
                f"its predictors put out {sizes[0]} x {sizes[0]} kernels, those of {cell.stack!r} {sizes[1]} x {sizes[1]}",
            )


def _kernel_sizes(scenario: Scenario, cell: PredictorConfig) -> tuple[set[int], set[int]]:
    """Sizes of the originals' kernels, and of those that are predicted."""
    originals = scenario.originals[cell.originals]
    images = scenario.images[originals.images]
    shapes = build_spec(originals.architecture, "relu", images.image_shape, images.num_classes).shapes
    kernels = {shape[2] for shape in shapes.values() if len(shape) == 4}
    return kernels, kernels if cell.kernel_sizes is None else kernels & set(cell.kernel_sizes)


def _control_problems(scenario: Scenario, key: str, cell: PredictorControlConfig) -> Iterator[tuple[str, str]]:
    originals = scenario.predictors[cell.predictor].originals
    images = scenario.images[scenario.originals[originals].images]
    if cell.architecture is not None:
        yield from _unreadable(f"{key}.architecture", cell.architecture, images.image_shape, images.num_classes, plain=False)
    if cell.teacher is not None:
        yield from _teacher_problems(scenario, f"{key}.teacher", cell.teacher, originals)


def _teacher_problems(scenario: Scenario, key: str, teacher: str, originals: str) -> Iterator[tuple[str, str]]:
    """Why one cell of originals cannot teach another's predictors."""
    theirs, ours = (scenario.images[scenario.originals[name].images] for name in (teacher, originals))
    if (theirs.image_shape, theirs.num_classes) != (ours.image_shape, ours.num_classes):
        yield key, f"{teacher!r} is of other images than {originals!r}: {theirs.image_shape}, {theirs.num_classes} classes"


def _asked_of(scenario: Scenario, teacher: TeacherConfig) -> tuple[Sequence[int] | None, int | None]:
    """Shape of an input of the teachers and entries of an output; None where only their file tells."""
    if isinstance(teacher, SyntheticTeachers):
        return (teacher.inputs, 1, 1), teacher.outputs
    if isinstance(teacher, TableTeacher | OnnxTeacher):
        return teacher.input_shape, None
    owner = scenario.zoos[teacher.zoo] if isinstance(teacher, ZooTeachers) else teacher
    images = scenario.images[owner.images]
    return images.image_shape, images.num_classes


def _unreadable(
    key: str, layers: str | list[str], shape: Sequence[int], outputs: int, plain: bool = True
) -> Iterator[tuple[str, str]]:
    """Why the layers do not fit inputs of this shape, if they do not."""
    try:
        spec = build_spec(layers, "relu", shape, outputs)
    except InputError as error:
        yield key, str(error)
        return
    if plain and not spec.plain:
        yield key, "batch norm, residual blocks, strides and groups are for originals of predictors alone"
