"""A scenario and the options of a run: all sections together, read from YAML and checked."""

from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import pyarrow as pa
from pydantic import Field, NonNegativeInt, model_validator

from weightspace.autoencoder.settings import AutoencoderConfig, BaselineConfig
from weightspace.errors import InputError
from weightspace.grids import expand_section
from weightspace.images.settings import ImagesConfig
from weightspace.predictor.settings import OriginalsConfig, PredictorConfig, PredictorControlConfig
from weightspace.recovery.settings import (
    OnnxTeacher,
    RecoveryBaselineConfig,
    RecoveryConfig,
    TableTeacher,
    TeacherConfig,
    ZooTeachers,
)
from weightspace.report.registry import CLAIMS, FIGURES, figures_of
from weightspace.settings import CellName, Settings, checked, read_yaml
from weightspace.table import CELLS
from weightspace.zoo.settings import ZooConfig

ScenarioName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")]
REFERENCES = (  # section, its key that names a cell, and the section of that cell
    ("zoos", "images", "images"),
    ("autoencoders", "zoo", "zoos"),
    ("baselines", "zoo", "zoos"),
    ("teachers", "images", "images"),
    ("teachers", "zoo", "zoos"),
    ("recoveries", "teacher", "teachers"),
    ("recoveries", "queries.images", "images"),
    ("originals", "images", "images"),
    ("predictors", "originals", "originals"),
    ("predictors", "distillation.teacher", "originals"),
    ("predictors", "stack", "predictors"),
    ("predictor_controls", "teacher", "originals"),
)
OWN_IN_A_STACK = ("originals", "seeds", "order", "stack", "controls", "label", "group")  # settings of a predictor


STAGES = {  # section: the stage that its rows name, and the key that says what a cell was made from or stands against
    "zoos": ("zoo", "images"),
    "autoencoders": ("autoencoder", "zoo"),
    "baselines": ("baseline", "zoo"),
    "teachers": ("teacher", None),
    "recoveries": ("recovery", "teacher"),
    "recovery_baselines": ("recovery_baseline", "recovery"),
    "originals": ("originals", "images"),
    "predictors": ("predictor", "originals"),
    "predictor_controls": ("predictor_control", "predictor"),
}


class FigureConfig(Settings):
    """What one figure shows."""

    cells: list[CellName] | None = Field(
        None, min_length=1, description="cells in this order, with their baselines and controls; null: all"
    )
    note: bool = Field(True, description="the small print below it")


class Scenario(Settings):
    """One experiment: all its cells."""

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: CUDA where there is one")
    images_mem_mb: NonNegativeInt = Field(
        0,
        description="for images that take gigabytes: how much more memory, in MB, jobs that compute ask for than their rules say",
    )
    images: dict[CellName, ImagesConfig] = Field({}, description="image sets, by name")
    zoos: dict[CellName, ZooConfig] = Field({}, description="zoos, by name")
    autoencoders: dict[CellName, AutoencoderConfig] = Field({}, description="autoencoders, by name")
    baselines: dict[CellName, BaselineConfig] = Field({}, description="baselines of the autoencoders, by name")
    teachers: dict[CellName, TeacherConfig] = Field({}, description="networks to recover, by name")
    recoveries: dict[CellName, RecoveryConfig] = Field({}, description="recoveries of teachers, by name")
    originals: dict[CellName, OriginalsConfig] = Field({}, description="networks whose weights predictors hold, by name")
    predictors: dict[CellName, PredictorConfig] = Field({}, description="predictors of the originals, by name")
    figures: dict[str, FigureConfig] = Field({}, description="what figures show, by the figure's name")

    @cached_property
    def recovery_baselines(self) -> dict[str, RecoveryBaselineConfig]:
        """Baselines of the recoveries, named after their recovery and kind."""
        made = [(name, kind) for name, cell in self.recoveries.items() for kind in cell.baselines]
        return {f"{name}_{kind}": RecoveryBaselineConfig(recovery=name, kind=kind) for name, kind in made}

    @cached_property
    def predictor_controls(self) -> dict[str, PredictorControlConfig]:
        """Controls of the predictors, named after their predictor, key and number."""
        return {
            f"{name}_{key}": control
            for name, cell in self.predictors.items()
            for key, control in cell.named_controls(name).items()
        }

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
        for cell in self.recovery_baselines.values():
            recovery = self.recoveries[cell.recovery]
            if isinstance(self.teachers[recovery.teacher], TableTeacher | OnnxTeacher):
                raise ValueError(f"recoveries.{cell.recovery}.baselines: a black box has no size that a baseline could have")
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
        for cell in self.predictor_controls.values():
            if missing := sorted(set(cell.seeds) - set(self.predictors[cell.predictor].seeds)):
                raise ValueError(f"predictors.{cell.predictor}.controls: seeds: there is no seed {missing[0]} of the predictor")
        return self

    @model_validator(mode="after")
    def _figures_show_cells(self) -> "Scenario":
        known = {figure.name: figure for figure in [*FIGURES, CLAIMS]}
        cells = {cell["cell"] for cell in self.cells("")}
        for name, figure in self.figures.items():
            if name not in known:
                raise ValueError(f"figures.{name}: there is no such figure, only {', '.join(known)}")
            for cell in figure.cells or []:
                if cell not in cells:
                    raise ValueError(f"figures.{name}.cells: there is no cell {cell!r}")
        return self

    def cells(self, scenario: str) -> list[dict[str, object]]:
        """One row per cell of every stage: what `weightspace.table.CELLS` names, then its numbers by the settings' own names."""
        rows = []
        for section, (stage, of) in STAGES.items():
            for name, cell in getattr(self, section).items():
                source = getattr(cell, of or "zoo", None) or getattr(cell, "images", None)
                about = {"kind": getattr(cell, "kind", None), "of": source, "group": cell.group}
                row = {"scenario": scenario, "stage": stage, "cell": name, **about, "label": cell.label or plain_label(name)}
                rows.append(row | numbers_in(cell.model_dump(mode="json")))
        return rows

    @cached_property
    def figure_names(self) -> list[str]:
        """Figures of the stages that the scenario has."""
        return list(figures_of(stage for section, (stage, _) in STAGES.items() if getattr(self, section)))

    def _references(self) -> Iterator[tuple[str, str, str]]:
        """Key, section and cell of everything that names a cell."""
        for section, key, target in REFERENCES:
            for name, cell in getattr(self, section).items():
                value = cell
                for part in key.split("."):
                    value = getattr(value, part, None)
                if value is not None:
                    yield f"{section}.{name}.{key}", target, value


class Options(Settings):
    """What config.yaml and `--config` say: which scenario, and where this machine keeps things."""

    scenario: ScenarioName = Field(description="a file of config/scenarios, without .yaml")
    images_dir: str = Field("resources", description="folder that Parquet image sets lie in")
    device: Literal["auto", "cpu", "cuda"] | None = Field(None, description="in place of the scenario's device")
    figures: str = Field("", description="of regenerate_figures: names with commas between; empty: all")


def cells_table(rows: list[dict[str, object]]) -> pa.Table:
    """Rows of `Scenario.cells` as a table: the columns of CELLS, then a column of floats for each number that a cell has."""
    numbers = sorted({name for row in rows for name in row} - set(CELLS.names))
    schema = pa.schema([*CELLS, *((name, pa.float64()) for name in numbers)])
    return pa.Table.from_pylist([{name: row.get(name) for name in schema.names} for row in rows], schema=schema)


def numbers_in(settings: dict[str, object], prefix: str = "") -> dict[str, float]:
    """Every number of a cell's settings by its dotted key; a list of one number is that number."""
    found = {}
    for key, value in settings.items():
        value = value[0] if isinstance(value, list) and len(value) == 1 else value
        if isinstance(value, dict):
            found |= numbers_in(value, f"{prefix}{key}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[prefix + key] = float(value)
    return found


def plain_label(name: str) -> str:
    """What figures write where a cell has no label: its name, with blanks."""
    return name.replace("_", " ")


def read_options(config: dict) -> Options:
    """Checked options; raises InputError naming each wrong key."""
    return checked(Options, config, "config")


def read_scenario(folder: Path, options: Options) -> Scenario:
    """Checked settings of the scenario; raises InputError naming the file and each wrong key."""
    path = folder / f"{options.scenario}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.yaml")))
        raise InputError(f"{path}: there is no scenario {options.scenario!r}, only {known}")
    scenario = checked(Scenario, expanded(read_yaml(path), str(path)), str(path))
    return scenario.model_copy(update={"device": options.device or scenario.device})


def expanded(content: object, where: str) -> object:
    """A scenario's content with every grid written out; raises InputError naming `where` and the cell."""
    if not isinstance(content, dict):
        return content
    sections = dict(content)
    for section in [name for name in ("images", *STAGES) if isinstance(content.get(name), dict)]:
        named = {key: sections.get(target) or {} for origin, key, target in REFERENCES if origin == section}
        try:
            sections[section] = expand_section(content[section], named)
        except InputError as error:
            raise InputError(f"{where}: {section}.{error}") from error
    return sections
