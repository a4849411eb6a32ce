"""What every section of a scenario is made of: strict settings, and one sentence per wrong key."""

import json
import re
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from weightspace.errors import InputError

LONGEST_NAME = 100  # letters: names become folders
PERIODIC = re.compile(r"(.+)\1{19,99}$")  # Snakemake takes a name that ends so for an endless loop of rules
LARGEST = 10**8  # of whole numbers but seeds: more units, models or steps no machine of today holds or runs
# What pydantic adds to the key of a name, or where a setting may be of several types; after a teacher's or zoo's name a kind.
TAGS = re.compile(r"\[key\]|str|RemoteFile|Normalization|constrained-\w+|float|(list|literal|function-after)\[.*")


def each_once(values: list) -> list:
    """The list; raises ValueError if it names a value twice, which would make two equal cells, models or choices."""
    if twice := [value for value in values if values.count(value) > 1]:
        raise ValueError(f"names {twice[0]!r} twice")
    return values


def _cell_name(name: str) -> str:
    if len(name) > LONGEST_NAME:
        raise ValueError(f"has {len(name)} letters, a name may have {LONGEST_NAME}")
    if PERIODIC.search(name):
        raise ValueError("repeats itself 20 times or more, which Snakemake takes for a loop")
    return name


Once = AfterValidator(each_once)
CellName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$"), AfterValidator(_cell_name)]
ActivationName = Literal["relu", "leaky_relu", "tanh", "erf", "gelu", "silu", "softplus", "sigmoid", "elu", "g"]
Share = Annotated[float, Field(gt=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]  # as tables hold it
Seeds = Annotated[list[Seed], Field(min_length=1), Once]


class Settings(BaseModel):
    """Frozen and strict: an unknown key or a wrong type is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Cell(Settings):
    """What every cell of a scenario may say of itself; no job depends on it."""

    label: str | None = Field(None, exclude=True, description="what figures write in place of the name")
    group: str | None = Field(
        None, exclude=True, description="what cells have in common that figures may pool, as figures write it; null: nothing"
    )


class FigureConfig(Settings):
    """What one figure shows."""

    cells: Annotated[list[str], Once] | None = Field(
        None,
        min_length=1,
        description="cells in this order, with their baselines and controls; `h*` stands for all that begin so; null: all",
    )
    note: bool = Field(True, description="the small print below it")


def checked(model: type[Settings], content: object, where: str) -> Settings:
    """`content` as settings; raises InputError that names `where` once, and each wrong key in a line."""
    if problems := list(_too_large(content, [])):
        raise InputError(told(where, problems))
    try:
        return model.model_validate_json(json.dumps(content, default=str))
    except ValidationError as error:
        raise InputError(told(where, _sentences(error))) from error


def told(where: str, problems: list[str]) -> str:
    """What is wrong with one file: in its line if it is one thing, else one line each."""
    where = shown(where)
    return f"{where}: {problems[0]}" if len(problems) == 1 else "\n  ".join([f"{where}:", *problems])


def shown(path: str | Path) -> str:
    """A path as a user would write it: relative if it lies below the working directory."""
    return str(Path(path).relative_to(Path.cwd()) if Path(path).is_relative_to(Path.cwd()) else path)


def _too_large(content: object, path: list[str]) -> list[str]:
    """Whole numbers beyond what any setting can mean."""
    if isinstance(content, dict):
        return [problem for key, value in content.items() for problem in _too_large(value, [*path, str(key)])]
    if isinstance(content, list):
        return [problem for number, value in enumerate(content) for problem in _too_large(value, [*path, str(number)])]
    if isinstance(content, int) and abs(content) > LARGEST and "seeds" not in path:
        return [f"{'.'.join(path)}: is larger than {LARGEST:,}"]
    return []


def _sentences(error: ValidationError) -> list[str]:
    """One sentence per wrong key; where a key may be of several types, one sentence for all of them."""
    messages: dict[str, list[str]] = {}
    for entry in error.errors():
        loc = [str(part) for part in entry["loc"] if not TAGS.fullmatch(str(part))]
        if loc[:1] in (["teachers"], ["zoos"]):
            del loc[2:3]
        texts = messages.setdefault(".".join(loc), [])
        texts += [text] if (text := _message(entry)) not in texts else []
    found = {key: texts for key, texts in messages.items() if not any(other.startswith(f"{key}.") for other in messages if key)}
    return [f"{key}: {', or '.join(texts)}" if key else ", or ".join(texts) for key, texts in found.items()]


def _message(entry: dict) -> str:
    if entry["type"] == "extra_forbidden":
        return "there is no such setting"
    if entry["type"] == "string_pattern_mismatch" and entry["loc"][-1] == "[key]":
        return "is no name: a small letter first, then small letters, digits and underscores"
    if entry["type"] in ("float_type", "int_type") and isinstance(entry["input"], str):
        return f"{entry['msg']}, not the text {entry['input']!r} (write 1e-3 as 0.001)"
    return entry["msg"].removeprefix("Value error, ")


def settings_hash(*settings: object) -> str:
    """Short sha256 of JSON-able settings: names the run that a state file or a weights file is of."""
    return sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:16]
