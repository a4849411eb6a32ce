"""A scenario and the options of a run: all sections together, read from YAML and checked."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from weightspace.config.autoencoder import AutoencoderConfig, BaselineConfig
from weightspace.config.base import CellName, Settings, checked, read_yaml
from weightspace.config.images import ImagesConfig
from weightspace.config.predictor import OriginalsConfig, PredictorConfig, PredictorControlConfig
from weightspace.config.recovery import (
    OnnxTeacher,
    RecoveryBaselineConfig,
    RecoveryConfig,
    TableTeacher,
    TeacherConfig,
    ZooTeachers,
)
from weightspace.config.zoo import ZooConfig
from weightspace.errors import InputError

ScenarioName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")]
REFERENCES = (  # section, its key that names a cell, and the section of that cell
    ("zoos", "images", "images"),
    ("autoencoders", "zoo", "zoos"),
    ("baselines", "zoo", "zoos"),
    ("teachers", "images", "images"),
    ("teachers", "zoo", "zoos"),
    ("recoveries", "teacher", "teachers"),
    ("recoveries", "queries.images", "images"),
    ("recovery_baselines", "recovery", "recoveries"),
    ("originals", "images", "images"),
    ("predictors", "originals", "originals"),
    ("predictors", "distillation.teacher", "originals"),
    ("predictors", "stack", "predictors"),
    ("predictor_controls", "predictor", "predictors"),
    ("predictor_controls", "teacher", "originals"),
)
OWN_IN_A_STACK = ("originals", "seeds", "order", "stack")  # settings of a predictor


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
    zoos: dict[CellName, ZooConfig] = Field({}, description="zoos, by name")
    autoencoders: dict[CellName, AutoencoderConfig] = Field({}, description="autoencoders, by name")
    baselines: dict[CellName, BaselineConfig] = Field({}, description="baselines of the autoencoders, by name")
    teachers: dict[CellName, TeacherConfig] = Field({}, description="networks to recover, by name")
    recoveries: dict[CellName, RecoveryConfig] = Field({}, description="recoveries of teachers, by name")
    recovery_baselines: dict[CellName, RecoveryBaselineConfig] = Field({}, description="baselines of the recoveries, by name")

    originals: dict[CellName, OriginalsConfig] = Field({}, description="networks whose weights predictors hold, by name")
    predictors: dict[CellName, PredictorConfig] = Field({}, description="predictors of the originals, by name")
    predictor_controls: dict[CellName, PredictorControlConfig] = Field({}, description="controls of the predictors, by name")

    @model_validator(mode="after")
    def _references_exist(self) -> "Scenario":
        if not (self.zoos or self.recoveries or self.predictors):
            raise ValueError("there are neither zoos nor recoveries nor predictors")
        for key, section, name in self._references():
            if name not in getattr(self, section):
                known = ", ".join(getattr(self, section)) or "none at all"
                raise ValueError(f"{key}: there is no cell {name!r} in {section}, only {known}")
        return self

    @model_validator(mode="after")
    def _epochs_are_kept(self) -> "Scenario":
        learners = {f"autoencoders.{name}.epochs": (cell.zoo, cell.epochs) for name, cell in self.autoencoders.items()}
        learners |= {f"baselines.{name}.epochs": (cell.zoo, cell.epochs) for name, cell in self.baselines.items()}
        for name, cell in self.teachers.items():
            if isinstance(cell, ZooTeachers):
                learners[f"teachers.{name}.epoch"] = (cell.zoo, [cell.epoch])
        for key, (zoo, epochs) in learners.items():
            if missing := set(epochs) - set(self.zoos[zoo].epochs):
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
            if isinstance(teacher, TableTeacher | OnnxTeacher) and not (
                cell.students.architectures and cell.students.activations
            ):
                raise ValueError(f"recoveries.{name}.students: a black box needs architectures and activations to try")
        return self

    @model_validator(mode="after")
    def _baselines_know_their_teachers_size(self) -> "Scenario":
        for name, cell in self.recovery_baselines.items():
            recovery = self.recoveries[cell.recovery]
            if isinstance(self.teachers[recovery.teacher], TableTeacher | OnnxTeacher):
                raise ValueError(f"recovery_baselines.{name}.recovery: a black box has no size that a baseline could have")
            if name != f"{cell.recovery}_{cell.kind}":
                raise ValueError(f"recovery_baselines.{name}: figures look for the name {cell.recovery}_{cell.kind}")
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
    def _controls_are_named_after_their_predictors(self) -> "Scenario":
        for name, cell in self.predictor_controls.items():
            start = f"{cell.predictor}_{cell.kind}"
            start += f"_{cell.bits}" if cell.bits else f"_{round(100 * cell.kept_share)}" if cell.kept_share else ""
            if name != start and not name.startswith(f"{start}_"):
                raise ValueError(
                    f"predictor_controls.{name}: figures look for the name {start}, or that and more after an underscore"
                )
            if missing := sorted(set(cell.seeds) - set(self.predictors[cell.predictor].seeds)):
                raise ValueError(f"predictor_controls.{name}.seeds: predictor {cell.predictor!r} has no seed {missing[0]}")
        return self

    def _references(self) -> Iterator[tuple[str, str, str]]:
        """Key, section and cell of everything that names a cell."""
        for section, key, target in REFERENCES:
            for name, cell in getattr(self, section).items():
                value = cell
                for part in key.split("."):
                    value = getattr(value, part, None)
                if value is not None:
                    yield f"{section}.{name}.{key}", target, value

    def training_of(self, teacher: TeacherConfig) -> ZooConfig | TeacherConfig:
        """The cell that says which images and layers teachers were trained with: their zoo's, else their own."""
        return self.zoos[teacher.zoo] if isinstance(teacher, ZooTeachers) else teacher

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
        return [self.training_of(self.teacher_of(recovery)).images] if masked else []

    def images_to_distill(self, predictor: str) -> list[str]:
        """The image set that a predictor learns from; none without distillation."""
        return [self.originals_of(predictor).images] if self.predictors[predictor].distillation else []

    def originals_of(self, predictor: str) -> OriginalsConfig:
        """The cell of the networks whose weights a predictor holds."""
        return self.originals[self.predictors[predictor].originals]

    def stack_of(self, predictor: str) -> str:
        """Name of the cell of predictors in whose job a cell trains."""
        return self.predictors[predictor].stack or predictor

    def cells_in_stack(self, predictor: str) -> dict[str, PredictorConfig]:
        """Cells that train in the job of one of them: this one first, then by name, in whatever order they are written."""
        others = sorted(name for name, cell in self.predictors.items() if cell.stack == predictor)
        return {name: self.predictors[name] for name in [predictor, *others]}


class Options(Settings):
    """What config.yaml and `--config` say: which scenario, and where this machine keeps things."""

    scenario: ScenarioName = Field(description="a file of config/scenarios, without .yaml")
    images_dir: str = Field("resources", description="folder that Parquet image sets lie in")
    device: Literal["auto", "cpu", "cuda"] | None = Field(None, description="in place of the scenario's device")


def read_options(config: dict) -> Options:
    """Checked options; raises InputError naming each wrong key."""
    return checked(Options, config, "config")


def read_scenario(folders: Sequence[Path], options: Options) -> Scenario:
    """Checked settings, from the first folder that has the scenario; raises InputError naming the file and each wrong key."""
    file = f"{options.scenario}.yaml"
    path = next((folder / file for folder in folders if (folder / file).is_file()), None)
    if path is None:
        known = ", ".join(sorted({found.stem for folder in folders for found in folder.glob("*.yaml")}))
        raise InputError(f"{folders[0] / file}: there is no scenario {options.scenario!r}, only {known}")
    scenario = checked(Scenario, read_yaml(path), str(path))
    return scenario.model_copy(update={"device": options.device or scenario.device})


def check_image_files(scenario: Scenario, options: Options, cell: str) -> None:
    """Raises InputError naming the key of an image set's file that is not below images_dir."""
    for key, file in scenario.images[cell].local_files.items():
        if not Path(options.images_dir, file).is_file():
            raise InputError(
                f"{options.scenario}.yaml: images.{cell}.{key}: no file {Path(options.images_dir, file)}; set images_dir"
            )
