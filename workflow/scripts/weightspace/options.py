"""What a run is told: the options of config.yaml, and the scenario that they name, read from YAML and checked."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from weightspace.errors import InputError
from weightspace.grids import expand_section
from weightspace.reading import read_yaml
from weightspace.scenario import Scenario
from weightspace.settings import Settings, checked, shown, told
from weightspace.stages import REFERENCES

ScenarioName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")]
MOVED = {  # sections that scenarios had, and where their cells are written now
    "recovery_baselines": "write them in their recovery, as `baselines: [single, pruned]`",
    "originals": "write them in `zoos`, and `zoo: NAME` in their predictors",
    "predictor_controls": "write them in their predictor, as `controls: {noise: {}, quantized: {bits: [8, 4]}}`",
}

CELL_LEVEL = 1  # of a scenario's keys: sections lie at 0, their cells at 1


class Options(Settings):
    """What config.yaml and `--config` say: which scenario, and where this machine keeps things."""

    scenario: ScenarioName = Field(description="a file of config/scenarios, without .yaml")
    images_dir: str = Field("resources", description="folder that image sets lie in, and are fetched to")
    device: Literal["auto", "cpu", "cuda"] | None = Field(None, description="in place of the scenario's device")
    figures: str = Field("", description="of regenerate_figures: names with commas between; empty: all")


def read_options(config: dict) -> Options:
    """Checked options; raises InputError naming each wrong key."""
    return checked(Options, config, "config")


def read_scenario(folders: Sequence[Path], options: Options) -> Scenario:
    """Checked settings, from the first folder that has the scenario; raises InputError naming the file and each wrong key."""
    path, content = _read_with_bases(folders, options.scenario)
    if moved := [f"{key}: {where}" for key, where in MOVED.items() if isinstance(content, dict) and key in content]:
        raise InputError(told(str(path), moved))
    scenario = checked(Scenario, expanded(content, str(path)), str(path))
    return scenario.model_copy(update={"device": options.device or scenario.device})


def _read_with_bases(folders: Sequence[Path], name: str, above: tuple[str, ...] = ()) -> tuple[Path, object]:
    """A scenario's file and its content, laid over that of the scenario that it is `like`."""
    file = f"{name}.yaml"
    path = next((folder / file for folder in folders if (folder / file).is_file()), None)
    if path is None:
        known = ", ".join(sorted({found.stem for folder in folders for found in folder.glob("*.yaml")}))
        raise InputError(f"{shown(folders[0] / file)}: there is no scenario {name!r}, only {known}")
    content = read_yaml(path)
    if not isinstance(content, dict) or (base := content.pop("like", None)) is None:
        return path, content
    if not isinstance(base, str) or base in (*above, name):
        raise InputError(f"{shown(path)}: like: must name another scenario, which is not like this one")
    return path, laid_over(_read_with_bases(folders, base, (*above, name))[1], content)


def laid_over(base: object, content: object, level: int = 0) -> object:
    """Keys of `content` go before those of `base`, level by level; a section or a cell without a value takes the base's away."""
    if not isinstance(base, dict) or not isinstance(content, dict):
        return content
    joined = base | {key: laid_over(base.get(key), value, level + 1) for key, value in content.items()}
    return {key: value for key, value in joined.items() if value is not None or level > CELL_LEVEL}


def expanded(content: object, where: str) -> object:
    """A scenario's content with every grid written out; raises InputError naming `where` and each grid that does not read."""
    if not isinstance(content, dict):
        return content
    sections, problems = dict(content), []
    for section in [name for name in Scenario.model_fields if name != "figures" and isinstance(content.get(name), dict)]:
        targets = {key: sections.get(target) for origin, key, target in REFERENCES if origin == section}
        try:
            sections[section] = expand_section(
                content[section], {key: cells for key, cells in targets.items() if isinstance(cells, dict)}
            )
        except InputError as error:
            problems.append(f"{section}.{error}")
    if problems:
        raise InputError(told(where, problems))
    return sections
