"""A scenario: all sections together, and what only several of them show."""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import pairwise
from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from weightspace.autoencoder.settings import AutoencoderConfig
from weightspace.autoencoder.settings_baselines import BaselineConfig
from weightspace.cells import cell_rows, spoken_of
from weightspace.chosen import ChosenNetworks
from weightspace.generation.settings import GenerationConfig, GenerationRivalConfig
from weightspace.images.settings import ImagesConfig
from weightspace.predictor.settings import PredictorConfig, PredictorControlConfig
from weightspace.recovery.settings import (
    OnnxTeacher,
    RecoveryBaselineConfig,
    RecoveryConfig,
    TableTeacher,
    TeacherConfig,
    ZooTeachers,
)
from weightspace.report.registry import CLAIMS, FIGURES, figure_named, figures_of
from weightspace.settings import CellName, FigureConfig, Settings
from weightspace.stages import REFERENCES, STAGES
from weightspace.zoo.members import recipe_of
from weightspace.zoo.settings import AlignmentConfig
from weightspace.zoo.sources import ZooCell

SECTIONS = [stage.section for stage in STAGES.values()]
OWN_IN_A_STACK = ("zoo", "models", "epoch", "seeds", "order", "stack", "controls", "label", "group")  # settings of a predictor


class Scenario(Settings):
    """One experiment: all its cells."""

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: CUDA where there is one")
    images_mem_mb: NonNegativeInt = Field(
        0,
        description="for images that take gigabytes: how much more memory, in MB, jobs that compute ask for than their rules say",
    )
    training_minutes: PositiveInt = Field(
        60, description="time limit, in minutes, that a training job asks a cluster for; twice that at each retry, which goes on"
    )
    images: dict[CellName, ImagesConfig] = Field({}, description="image sets, by name")
    zoos: dict[CellName, ZooCell] = Field({}, description="networks of images, one or thousands, by name")
    alignments: dict[CellName, AlignmentConfig] = Field({}, description="what lies between models of zoos, by name")
    autoencoders: dict[CellName, AutoencoderConfig] = Field({}, description="autoencoders, by name")
    baselines: dict[CellName, BaselineConfig] = Field({}, description="baselines of the autoencoders, by name")
    teachers: dict[CellName, TeacherConfig] = Field({}, description="networks to recover, by name")
    recoveries: dict[CellName, RecoveryConfig] = Field({}, description="recoveries of teachers, by name")
    predictors: dict[CellName, PredictorConfig] = Field({}, description="predictors of networks' weights, by name")
    generations: dict[CellName, GenerationConfig] = Field({}, description="new networks from codes of autoencoders, by name")
    figures: dict[str, FigureConfig] = Field({}, description="what figures show, by the figure's name")

    @cached_property
    def recovery_baselines(self) -> dict[str, RecoveryBaselineConfig]:
        """Baselines of the recoveries, named after their recovery and kind."""
        return {
            f"{name}_{kind}": RecoveryBaselineConfig(recovery=name, kind=kind, **spoken_of(cell, kind))
            for name, cell in self.recoveries.items()
            for kind in cell.baselines
        }

    @cached_property
    def predictor_controls(self) -> dict[str, PredictorControlConfig]:
        """Controls of the predictors, named after their predictor, key and number."""
        return {
            f"{name}_{key}": control.model_copy(update=spoken_of(cell, key))
            for name, cell in self.predictors.items()
            for key, control in cell.named_controls(name).items()
        }

    @cached_property
    def generation_rivals(self) -> dict[str, GenerationRivalConfig]:
        """Rivals of generated networks, named after these, their key and number."""
        return {
            f"{name}_{key}": GenerationRivalConfig(**rival.model_dump(), seeds=cell.seeds, **spoken_of(cell, key))
            for name, cell in self.generations.items()
            for key, rival in cell.named_rivals(name).items()
        }

    @model_validator(mode="after")
    def _names_are_used_once(self) -> "Scenario":
        made = {("autoencoders", "zoo", name): cell.several for name, cell in self.autoencoders.items()}
        made |= {("recoveries", "baselines", name): cell.baselines for name, cell in self.recoveries.items()}
        made |= {("predictors", "controls", name): cell.named_controls(name) for name, cell in self.predictors.items()}
        made |= {("generations", "rivals", name): cell.named_rivals(name) for name, cell in self.generations.items()}
        known = {section: dict.fromkeys(getattr(self, section), "a cell") for section, *_ in made}
        for (section, key, name), words in made.items():
            for word in words:
                if (other := known[section].setdefault(f"{name}_{word}", f"one of {name!r}")) != f"one of {name!r}":
                    raise ValueError(f"{section}.{name}.{key}: {other} has the name '{name}_{word}' too")
        return self

    @model_validator(mode="after")
    def _labels_tell_cells_apart(self) -> "Scenario":
        for section in ("images", *SECTIONS):
            labels: dict[str, str] = {}
            for name, cell in getattr(self, section).items():
                if cell.label and (first := labels.setdefault(cell.label, name)) != name:
                    raise ValueError(f"{section}.{name}.label: {first!r} has the label {cell.label!r} too")
        return self

    @model_validator(mode="after")
    def _references_exist(self) -> "Scenario":
        if not (self.zoos or self.recoveries or self.predictors):
            raise ValueError("there are neither zoos nor recoveries nor predictors")
        for key, section, name in self._references():
            if name not in getattr(self, section):
                known = ", ".join(getattr(self, section)) or "none at all"
                raise ValueError(f"{key}: there is no cell {name!r} in {section}, only {known}")
        return self

    @cached_property
    def read_of_zoos(self) -> list[tuple[str, str, list[int]]]:
        """What reads weights of zoos: its key, the zoo's name, and the epochs; none where the zoo's files alone tell them."""
        learners = ("autoencoders", "baselines")
        cells = {f"{section}.{name}": cell for section in learners for name, cell in getattr(self, section).items()}
        reads = [(f"{key}.epochs", zoo, cell.epochs) for key, cell in cells.items() for zoo in cell.zoos]
        reads = [(key, zoo, self.zoos[zoo].storable if epochs is None else epochs) for key, zoo, epochs in reads]
        last = {name: zoo.storable[-1:] for name, zoo in self.zoos.items()}
        single = {f"alignments.{name}": cell for name, cell in self.alignments.items()} | self.takers_of_networks
        reads += [(f"{key}.epoch", at.zoo, last[at.zoo] if at.epoch is None else [at.epoch]) for key, at in single.items()]
        anchors = [(f"generations.{name}.epoch", cell) for name, cell in self.generations.items() if cell.epoch is not None]
        reads += [(key, cell.zoo or self.autoencoders[cell.autoencoder].zoos[0], [cell.epoch]) for key, cell in anchors]
        return reads + [(key, zoo, last[zoo]) for key, of, zoo in self._references() if of == "zoos" and key.endswith(".teacher")]

    @property
    def takers_of_networks(self) -> dict[str, ChosenNetworks]:
        """Cells that take some networks of a zoo at one epoch, by their keys: teachers, and predictors."""
        teachers = {f"teachers.{name}": cell for name, cell in self.teachers.items() if isinstance(cell, ZooTeachers)}
        return teachers | {f"predictors.{name}": cell for name, cell in self.predictors.items()}

    @model_validator(mode="after")
    def _epochs_are_kept(self) -> "Scenario":
        for key, zoo, epochs in self.read_of_zoos:
            if (kept := self.zoos[zoo].storable) and (missing := set(epochs) - set(kept)):
                raise ValueError(f"{key}: zoo {zoo!r} keeps no epoch {min(missing)}")
            if any(later <= earlier for earlier, later in pairwise(epochs)):
                raise ValueError(f"{key}: epochs must increase")
        return self

    @model_validator(mode="after")
    def _recoveries_fit_their_teachers(self) -> "Scenario":
        for name, cell in self.recoveries.items():
            teacher = self.teachers[cell.teacher]
            if (teacher.kind == "table") != (cell.queries.design == "table"):
                raise ValueError(f"recoveries.{name}.queries.design: teachers of kind table, and only they, have design table")
            black_box, tries = isinstance(teacher, TableTeacher | OnnxTeacher), cell.students
            if black_box and not (tries.architectures and tries.activations):
                raise ValueError(f"recoveries.{name}.students: a black box needs architectures and activations to try")
            if black_box and cell.baselines:
                raise ValueError(f"recoveries.{name}.baselines: a black box has no size that a baseline could have")
        return self

    @model_validator(mode="after")
    def _predictors_fit_their_stacks(self) -> "Scenario":
        for name, cell in self.predictors.items():
            if cell.stack is None:
                continue
            first = self.predictors[cell.stack]
            if first.stack is not None:
                raise ValueError(f"predictors.{name}.stack: {cell.stack!r} trains with {first.stack!r} itself: name that one")
            if cell.distillation or first.distillation:
                raise ValueError(f"predictors.{name}.stack: predictors with a distillation have a stack of their own")
            for key in PredictorConfig.model_fields:
                if key not in OWN_IN_A_STACK and getattr(cell, key) != getattr(first, key):
                    raise ValueError(f"predictors.{name}.{key}: must be that of {cell.stack!r}, in whose stack it trains")
        return self

    @model_validator(mode="after")
    def _controls_have_their_predictors_seeds(self) -> "Scenario":
        for name, cell in self.predictor_controls.items():
            if missing := sorted(set(cell.seeds) - set(self.predictors[cell.predictor].seeds)):
                raise ValueError(f"{self.keys_of_controls[name]}.seeds: the predictor has no seed {missing[0]}")
        return self

    @model_validator(mode="after")
    def _generations_fit_their_autoencoders(self) -> "Scenario":
        for name, cell in self.generations.items():
            own = self.autoencoders[cell.autoencoder]
            for problem in cell.problems_with(own.seeds, own.zoos):
                raise ValueError(f"generations.{name}.{problem}")
        return self

    @model_validator(mode="after")
    def _figures_show_cells(self) -> "Scenario":
        known = {figure.name: figure for figure in [*FIGURES, CLAIMS]}
        for name in self.figures:
            if name not in known:
                raise ValueError(f"figures.{name}: there is no such figure, only {', '.join(known)}")
            self.shown_in(name)
        return self

    def shown_in(self, figure: str) -> list[str] | None:
        """Cells that the scenario has a figure show, in order, patterns written out; None: all.

        Raises ValueError naming the key of a cell or pattern that the figure's stage has none of.
        """
        if (wanted := self.figures.get(figure, FigureConfig()).cells) is None:
            return None
        stage = figure_named(figure).stage
        cells = [row["cell"] for row in self.cells("") if stage in (row["stage"], STAGES[row["stage"]].shown_with)]
        found = {}
        for pattern in wanted:
            matching = [cell for cell in cells if fnmatchcase(cell, pattern)]
            if not matching:
                raise ValueError(
                    f"figures.{figure}.cells: there is no cell {pattern!r}, only {', '.join(cells) or 'none at all'}"
                )
            found |= dict.fromkeys(matching)
        return list(found)

    def cells(self, scenario: str) -> list[dict[str, object]]:
        """One row per cell of every stage: what `weightspace.table.CELLS` names, then its numbers by the settings' own names."""
        by_zoo = {made: each for name, cell in self.autoencoders.items() for made, each in cell.by_zoo(name).items()}
        return cell_rows(scenario, {section: getattr(self, section) for section in SECTIONS} | {"autoencoders": by_zoo})

    @cached_property
    def keys_of_controls(self) -> dict[str, str]:
        """Where each control is written: `predictors.held.controls.quantized` of `held_quantized_8`."""
        return {
            f"{name}_{made}": f"predictors.{name}.controls.{key}"
            for name, cell in self.predictors.items()
            for key, control in cell.controls.items()
            for made in cell.model_copy(update={"controls": {key: control}}).named_controls(name)
        }

    @cached_property
    def figure_names(self) -> list[str]:
        """Figures of the stages that the scenario has."""
        stages = [stage for stage, about in STAGES.items() if getattr(self, about.section)]
        return list(figures_of(stages, {column for row in self.cells("") for column in row}))

    def measured(self) -> list[tuple[str, str, int | None]]:
        """Stage, name and seed of everything that leaves rows of metrics; no seed where a stage has none."""
        found = []
        for stage, about in STAGES.items():
            for name, cell in getattr(self, about.section).items():
                found += [(stage, name, seed) for seed in getattr(cell, "seeds", [None]) if about.measured]
        return found

    def zoo_of(self, teacher: TeacherConfig) -> ZooCell | None:
        """The cell that says which images and layers teachers were trained with; None of those that are of no zoo."""
        return self.zoos[teacher.zoo] if isinstance(teacher, ZooTeachers) else None

    def teacher_of(self, recovery: str) -> TeacherConfig:
        """The cell of the teachers that a recovery is tried on."""
        return self.teachers[self.recoveries[recovery].teacher]

    def recovery_of_baseline(self, baseline: str) -> RecoveryConfig:
        """The recovery that a baseline is compared with."""
        return self.recoveries[self.recovery_baselines[baseline].recovery]

    def first_seed_of(self, baseline: str) -> tuple[str, int]:
        """Name and first seed of the recovery that a baseline is compared with."""
        name = self.recovery_baselines[baseline].recovery
        return name, self.recoveries[name].seeds[0]

    def masks_of(self, recovery: str) -> list[str]:
        """The image set whose mask says by which pixels a recovery compares neurons; none without a mask."""
        masked = self.recoveries[recovery].cluster.mask == "boruta"
        return [self.zoo_of(self.teacher_of(recovery)).images] if masked else []

    def small_recipe(self, control: str) -> dict[str, object] | None:
        """Settings by which small networks of a control are trained, each as its original was; None of other controls."""
        cell = self.predictor_controls[control]
        if cell.kind != "small":
            return None
        own = self.predictors[cell.predictor]
        return recipe_of(self.zoos[own.zoo], own.models) | {"architecture": cell.architecture}

    def ordering_of(self, zoo: str, order: str) -> dict[str, object]:
        """The settings, of whichever predictor, that an order of these networks' kernels depends on."""
        return next(cell.ordering for cell in self.predictors.values() if (cell.zoo, cell.order_name) == (zoo, order))

    def stack_of(self, predictor: str) -> str:
        """Name of the cell of predictors in whose job a cell trains."""
        return self.predictors[predictor].stack or predictor

    def cells_in_stack(self, predictor: str) -> dict[str, PredictorConfig]:
        """Cells that train in the job of one of them: this one first, then by name, in whatever order they are written."""
        others = sorted(name for name, cell in self.predictors.items() if cell.stack == predictor)
        return {name: self.predictors[name] for name in [predictor, *others]}

    def _references(self) -> Iterator[tuple[str, str, str]]:
        """Key, section and cell of everything that names a cell."""
        for section, key, target in REFERENCES:
            for name, cell in getattr(self, section).items():
                value = cell
                for part in key.split("."):
                    value = getattr(value, part, None)
                where = self.keys_of_controls[name] if section == "predictor_controls" else f"{section}.{name}"
                for named in value if isinstance(value, list) else [value]:
                    if named is not None:
                        yield f"{where}.{key}", target, named
