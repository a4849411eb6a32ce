"""Checks before the first job: what only several sections of a scenario show together, and layers that must fit images."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence

from weightspace.autoencoder.extent import extent_of
from weightspace.autoencoder.settings import VIEWS, AutoencoderConfig
from weightspace.autoencoder.settings_baselines import BaselineConfig
from weightspace.chosen import ChosenNetworks
from weightspace.errors import InputError
from weightspace.nets.spec import LACKS, build_spec
from weightspace.planned import has_hidden_layers, made_of, spec_of
from weightspace.predictor.selection import output_size, predicted_layers
from weightspace.predictor.settings import PredictorConfig, PredictorControlConfig
from weightspace.recovery.settings import (
    OnnxTeacher,
    RecoveryConfig,
    SyntheticTeachers,
    TableTeacher,
    TeacherConfig,
    ZooTeachers,
)
from weightspace.scenario import Scenario
from weightspace.settings import told
from weightspace.zoo.members import groups_of, lonely_init, members, spelled, split_of, stacks_of, too_few
from weightspace.zoo.settings import VARIABLE, AlignmentConfig, ZooConfig
from weightspace.zoo.sources import ZooCell

KINDS = ("architecture", "activation")  # settings that networks have in common which are one stack
ONE_FUNCTION = {"tanh", "sigmoid"}  # sigmoid(2z) = (1 + tanh z) / 2: networks of one are networks of the other


def check_scenario(scenario: Scenario, name: str) -> None:
    """Raises InputError naming each setting that does not fit the others; those of networks first, then those that need them."""
    problems = list(_network_problems(scenario)) or list(_use_problems(scenario))
    if problems:
        raise InputError(told(f"scenario {name}", [f"{key}: {problem}" for key, problem in problems]))


def _network_problems(scenario: Scenario) -> Iterator[tuple[str, str]]:
    """Zoos that cannot be made, or whose networks are not what a cell needs, and why."""
    for name, zoo in scenario.zoos.items():
        key = "varied.architecture" if "architecture" in getattr(zoo, "choices", {}) else "architecture"
        for made in made_of(scenario, name):
            yield from _unreadable(f"zoos.{name}.{key}", *made, needs=None)
    readers = {f"autoencoders.{name}": cell for name, cell in scenario.autoencoders.items()}
    readers |= {f"baselines.{name}": cell for name, cell in scenario.baselines.items()}
    for key, name in ((key, zoo) for key, cell in readers.items() for zoo in cell.zoos):
        zoo = scenario.zoos[name]
        if isinstance(zoo, ZooConfig) and (problem := too_few(zoo)):
            yield f"{key}.zoo", f"zoo {name!r}: {problem}"
    for key, cell in scenario.takers_of_networks.items():
        for made in made_of(scenario, cell.zoo, cell.models):
            if not any(_unreadable("", *made, needs=None)):  # which the zoo itself was told
                yield from _unreadable(f"{key}.zoo", *made, "plain" if isinstance(cell, ZooTeachers) else None)
        yield from _choice_problems(scenario, key, cell)


def _choice_problems(scenario: Scenario, key: str, cell: ChosenNetworks) -> Iterator[tuple[str, str]]:
    """Why networks of a zoo cannot be taken; what of an imported zoo only its files tell, the job says."""
    zoo = scenario.zoos[cell.zoo]
    if zoo.images is None:
        yield f"{key}.zoo", f"zoo {cell.zoo!r} has no images, which tell whether its models have learned: give it `images`"
    if isinstance(zoo, ZooConfig) and cell.models is not None and max(cell.models) >= zoo.num_models:
        yield f"{key}.models", f"zoo {cell.zoo!r} has models 0 to {zoo.num_models - 1}"
    yield from _unlike_problems(zoo, f"{key}.models", cell.zoo, cell.models, KINDS)


def _unlike_problems(
    zoo: ZooCell, key: str, name: str, models: list[int] | None, settings: Collection[str]
) -> Iterator[tuple[str, str]]:
    """Why models that should have these settings in common do not."""
    own = stacks_of(zoo, models) if isinstance(zoo, ZooConfig) else []
    for setting in settings:
        if len(found := list(dict.fromkeys(str(spelled(getattr(stack, setting))) for stack in own))) > 1:
            told = f"those of zoo {name!r} differ in {setting} ({found[0]!r}, {found[1]!r})"
            yield key, f"takes models that are alike, and {told}"
            return


def _use_problems(scenario: Scenario) -> Iterator[tuple[str, str]]:
    """Every setting that does not fit the networks that it is used with, and why."""
    for name, cell in scenario.alignments.items():
        yield from _alignment_problems(scenario, f"alignments.{name}", cell)
    for name, cell in scenario.autoencoders.items():
        yield from _autoencoder_problems(scenario, f"autoencoders.{name}", cell)
    for name, cell in scenario.baselines.items():
        yield from _structure_problems(scenario, f"baselines.{name}.zoo", cell.zoo)
        yield from _order_problems(scenario, f"baselines.{name}.align", cell, cell.zoo)
        yield from _baseline_problems(scenario.zoos[cell.zoo], f"baselines.{name}.kind", cell)
    for name, cell in scenario.generations.items():
        for zoo in [cell.zoo] if cell.zoo else scenario.autoencoders[cell.autoencoder].zoos[:1]:
            if scenario.zoos[zoo].images is None:
                yield f"generations.{name}.autoencoder", f"zoo {zoo!r} has no images to choose networks by: give it `images`"
            yield from _unlike_problems(scenario.zoos[zoo], f"generations.{name}.autoencoder", zoo, None, KINDS)
    for name, cell in scenario.recoveries.items():
        yield from _recovery_problems(scenario, f"recoveries.{name}", cell)
    for name, predictor in scenario.predictors.items():
        yield from _predictor_problems(scenario, f"predictors.{name}", predictor)
    for name, control in scenario.predictor_controls.items():
        yield from _control_problems(scenario, scenario.keys_of_controls[name], control)


def _alignment_problems(scenario: Scenario, key: str, cell: AlignmentConfig) -> Iterator[tuple[str, str]]:
    zoo = scenario.zoos[cell.zoo]
    if zoo.images is None:
        yield f"{key}.zoo", f"zoo {cell.zoo!r} has no images that its models could be measured on: give it `images`"
    if not isinstance(zoo, ZooConfig):  # whose models' inits are known where they are read
        return
    stacks, kinds = zoo.stacks, defaultdict(dict)
    for model in members(zoo):
        if split_of(model, zoo) == "test":
            kind = tuple(str(getattr(stacks[model.stack], setting)) for setting in KINDS)
            kinds[kind][model.model] = model.init_identity(zoo)
    if not has_hidden_layers(scenario, cell.zoo):
        yield f"{key}.zoo", f"networks of zoo {cell.zoo!r} have no hidden layers to align"
    elif not any(groups_of(inits, 2, cell.kind) for inits in kinds.values()):
        yield f"{key}.kind", f"zoo {cell.zoo!r} has no two test models for {cell.kind}"


def _order_problems(
    scenario: Scenario, key: str, cell: AutoencoderConfig | BaselineConfig, zoo: str
) -> Iterator[tuple[str, str]]:
    if cell.align and not has_hidden_layers(scenario, zoo):
        yield key, f"networks of zoo {zoo!r} have no hidden layers to align"


def _autoencoder_problems(scenario: Scenario, key: str, cell: AutoencoderConfig) -> Iterator[tuple[str, str]]:
    yield from _problems_of_others(scenario, key, cell)
    for zoo in cell.zoos:
        yield from _structure_problems(scenario, f"{key}.zoo", zoo)
        yield from _order_problems(scenario, f"{key}.align", cell, zoo)
        if cell.behavior_weight and scenario.zoos[zoo].images is None:
            yield f"{key}.behavior_weight", f"zoo {zoo!r} has no images to ask its networks about: give it `images`"
        if set(VIEWS[cell.views]) != {"original"} and not has_hidden_layers(scenario, zoo):
            yield f"{key}.views", f"networks of zoo {zoo!r} have no hidden layers to permute, only views: original"
    known = {zoo: made[0] for zoo in cell.zoos if (made := made_of(scenario, zoo))}
    extents = {zoo: extent_of(spec_of(made), cell.token_size, cell.batch_norm_tokens) for zoo, made in known.items()}
    for zoo, extent in extents.items():
        for name, problem in (cell.position_tables.too_small(extent) if cell.position_tables else {}).items():
            yield f"{key}.position_tables.{name}", f"{problem} of the networks of zoo {zoo!r}"
    for problem in cell.unlike_lengths(list(extents.values())):
        yield f"{key}.window", problem


def _problems_of_others(scenario: Scenario, key: str, cell: AutoencoderConfig) -> Iterator[tuple[str, str]]:
    """Why an autoencoder cannot be compared with the one that it names, or its networks be asked about the images."""
    other = scenario.autoencoders.get(cell.against)
    if other and (other is cell or other.several or other.seeds != cell.seeds):
        yield f"{key}.against", "must name another autoencoder, of one zoo, with the same seeds"
    shapes = {scenario.images[name].image_shape for zoo in cell.zoos if (name := scenario.zoos[zoo].images)}
    if cell.query_images and (found := scenario.images[cell.query_images].image_shape) not in shapes:
        yield (
            f"{key}.query_images",
            f"{cell.query_images!r} has images of shape {found}, the zoo's are {', '.join(map(str, shapes))}",
        )


def _structure_problems(scenario: Scenario, key: str, name: str) -> Iterator[tuple[str, str]]:
    """Why the networks of a zoo cannot be encoded as one, if they cannot."""
    first, *others = [spec_of(made) for made in made_of(scenario, name)] or [None]
    if any(other.structure != first.structure for other in others):
        yield key, f"networks of zoo {name!r} have weights in unlike places: name a zoo for each architecture, as in zoo: [a, b]"


def _baseline_problems(zoo: ZooCell, key: str, cell: BaselineConfig) -> Iterator[tuple[str, str]]:
    if not isinstance(zoo, ZooConfig):  # whose models' inits are known where they are read
        return
    if cell.kind == "init_mean" and zoo.shared_inits is None:
        yield key, f"init_mean needs shared_inits of zoo {cell.zoo!r}"
    elif cell.kind == "init_mean" and lonely_init(zoo):
        yield key, f"zoo {cell.zoo!r} has a test model that shares its init with no train model: it has too many shared_inits"


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
            yield from _without_units(f"{key}.students.architectures", layers, shape or (1, 1, 1), outputs or 1)
    teacher = scenario.teachers[cell.teacher]
    for made in made_of(scenario, teacher.zoo, teacher.models) if isinstance(teacher, ZooTeachers) else []:
        yield from _without_units(f"{key}.teacher", *made)


def _without_units(key: str, layers: str | list[str], shape: Sequence[int], outputs: int) -> Iterator[tuple[str, str]]:
    """Why layers that can be read hold nothing to recover, if they do not."""
    try:
        if len(build_spec(layers, "relu", shape, outputs).layers) < 2:
            yield key, "a network without hidden layers has no units to recover"
    except InputError:
        return


def _mask_problems(scenario: Scenario, key: str, teacher: TeacherConfig) -> Iterator[tuple[str, str]]:
    if not isinstance(teacher, ZooTeachers):
        yield key, "only teachers of a zoo have pixels to choose from"
    elif any(spec_of(made).layers[0].slides for made in made_of(scenario, teacher.zoo, teacher.models)):
        yield key, "a convolution reads pixels wherever they are: only linear first layers can be masked"


def _predictor_problems(scenario: Scenario, key: str, cell: PredictorConfig) -> Iterator[tuple[str, str]]:
    first = scenario.predictors[cell.stack] if cell.stack else cell
    try:
        sizes = [_output_size(scenario, one) for one in (cell, first)]
    except InputError as error:
        yield f"{key}.kernel_sizes", str(error)
        return
    if cell.distillation and cell.distillation.teacher:
        yield from _teacher_problems(scenario, f"{key}.distillation.teacher", cell.distillation.teacher, cell.zoo)
    if None not in sizes and sizes[0] != sizes[1]:
        yield (
            f"{key}.stack",
            f"its predictors put out {sizes[0]} x {sizes[0]} kernels, those of {cell.stack!r} {sizes[1]} x {sizes[1]}",
        )


def _output_size(scenario: Scenario, cell: PredictorConfig) -> int | None:
    """Side of what a cell's predictors put out, if the settings tell it; raises InputError if they have nothing to predict."""
    made = made_of(scenario, cell.zoo, cell.models)
    return output_size(predicted_layers(spec_of(made[0]).shapes, cell.kernel_sizes, cell.linear)) if made else None


def _control_problems(scenario: Scenario, key: str, cell: PredictorControlConfig) -> Iterator[tuple[str, str]]:
    name = scenario.predictors[cell.predictor].zoo
    zoo = scenario.zoos[name]
    if cell.kind == "averaged" and not getattr(zoo, "averaged_epochs", 0):
        yield key, f"zoo {name!r} keeps no mean weights of last epochs, which only a trained zoo with averaged_epochs does"
    if cell.kind == "small" and not isinstance(zoo, ZooConfig):
        yield key, f"zoo {name!r} is not trained here, so that small networks cannot be trained as its models were"
    if cell.kind == "small":  # which are one stack
        yield from _unlike_problems(zoo, key, name, scenario.predictors[cell.predictor].models, VARIABLE)
    if cell.architecture is not None and (images := scenario.images.get(zoo.images)):
        yield from _unreadable(f"{key}.architecture", cell.architecture, images.image_shape, images.num_classes, None)
    if cell.teacher is not None:
        yield from _teacher_problems(scenario, f"{key}.teacher", cell.teacher, name)


def _teacher_problems(scenario: Scenario, key: str, teacher: str, originals: str) -> Iterator[tuple[str, str]]:
    """Why networks of one zoo cannot teach the predictors of another's."""
    yield from _unlike_problems(scenario.zoos[teacher], key, teacher, None, KINDS)
    theirs, ours = (scenario.images.get(scenario.zoos[name].images) for name in (teacher, originals))
    if theirs is None:
        yield key, f"zoo {teacher!r} has no images: give it `images`"
    elif (theirs.image_shape, theirs.num_classes) != (ours.image_shape, ours.num_classes):
        yield key, f"{teacher!r} is of other images than {originals!r}: {theirs.image_shape}, {theirs.num_classes} classes"


def _asked_of(scenario: Scenario, teacher: TeacherConfig) -> tuple[Sequence[int] | None, int | None]:
    """Shape of an input of the teachers and entries of an output; None where only their file tells."""
    if isinstance(teacher, SyntheticTeachers):
        return (teacher.inputs, 1, 1), teacher.outputs
    if isinstance(teacher, TableTeacher | OnnxTeacher):
        return teacher.input_shape, None
    images = scenario.images[scenario.zoo_of(teacher).images]
    return images.image_shape, images.num_classes


def _unreadable(
    key: str, layers: str | list[str], shape: Sequence[int], outputs: int, needs: str | None = "plain"
) -> Iterator[tuple[str, str]]:
    """Why the layers do not fit inputs of this shape, or the spec is not what they need, if so."""
    try:
        spec = build_spec(layers, "relu", shape, outputs)
    except InputError as error:
        yield key, str(error)
        return
    if needs and not getattr(spec, needs):
        yield key, LACKS[needs]
