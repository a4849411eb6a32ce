"""What every section of a scenario is made of: strict settings, YAML that reads, one sentence per wrong key."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from weightspace.errors import InputError

CellName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
# What pydantic adds to the key where a setting may be of several types; after a teacher's name it adds the kind.
UNION_TAGS = ("str", "list[str]", "RemoteFile")
ActivationName = Literal["relu", "leaky_relu", "tanh", "erf", "gelu", "silu", "softplus", "sigmoid", "elu", "g"]
Share = Annotated[float, Field(gt=0, lt=1)]


class Settings(BaseModel):
    """Frozen and strict: an unknown key or a wrong type is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def read_yaml(path: Path) -> object:
    """Content of a YAML file; raises InputError naming the file if it does not read or says a key twice."""
    try:
        return yaml.load(path.read_bytes(), Loader=_UniqueKeys)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML: {' '.join(str(error).split())}") from error


class _UniqueKeys(yaml.SafeLoader):
    """YAML's safe loader, to which a key written twice is an error: one of two cells would be lost."""

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        written = [key.value for key, _ in node.value]
        for key in written:
            if written.count(key) > 1:
                raise yaml.YAMLError(f"key {key!r} is there twice, line {node.start_mark.line + 1}")
        return node


def checked(model: type[Settings], content: object, where: str) -> Settings:
    """`content` as settings; raises InputError naming `where` once and each wrong key on a line of its own."""
    try:
        return model.model_validate_json(json.dumps(content, default=str))
    except ValidationError as error:
        first, *others = _sentences(error)
        raise InputError("\n  ".join([f"{where}: {first}", *others])) from error


def _sentences(error: ValidationError) -> list[str]:
    """One sentence per wrong key; where a key may be of several types, one sentence for all of them."""
    messages: dict[str, list[str]] = {}
    for entry in error.errors():
        loc = [part for part in entry["loc"] if part not in UNION_TAGS]
        if loc[:1] == ["teachers"]:
            del loc[2:3]
        key = ".".join(map(str, loc))
        messages.setdefault(key, []).append(_message(entry))
    return [f"{key}: {', or '.join(texts)}" if key else ", or ".join(texts) for key, texts in messages.items()]


def _message(entry: dict) -> str:
    if entry["type"] == "extra_forbidden":
        return "there is no such setting"
    if entry["type"] in ("float_type", "int_type") and isinstance(entry["input"], str):
        return f"{entry['msg']}, not the text {entry['input']!r} (write 1e-3 as 0.001)"
    return entry["msg"].removeprefix("Value error, ")


def settings_hash(*settings: object) -> str:
    """Short sha256 of JSON-able settings: names the run that a state file or a weights file is of."""
    return sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:16]
