"""Writes config/README.md from the settings and docs/metrics.md from the stages' lists of metrics: `make docs`."""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from pydantic import BaseModel  # noqa: E402
from weightspace.images.published import PUBLISHED  # noqa: E402
from weightspace.nets.activations import ACTIVATIONS  # noqa: E402
from weightspace.nets.layers import LAYERS, WRITTEN  # noqa: E402
from weightspace.options import Options  # noqa: E402
from weightspace.report.registry import metrics_of  # noqa: E402
from weightspace.scenario import Scenario  # noqa: E402
from weightspace.settings import Cell, Settings  # noqa: E402
from weightspace.stages import STAGES  # noqa: E402
from weightspace.table import Metric  # noqa: E402

TEMPLATE, SETTINGS, METRICS = ROOT / "docs/settings.template.md", ROOT / "config/README.md", ROOT / "docs/metrics.md"
# Not written by users, but made from what they write.
MADE = {"RecoveryBaselineConfig", "PredictorControlConfig", "SmallRecipe", "GenerationRivalConfig"}
OF_CLAIMS = {"ClaimsFile", "Claim", "Region"}  # of another file than scenarios, known where the report is imported
COUNTED = {
    "": "", "epoch": "epoch", "step": "step", "round": "round; empty: the last", "layer": "layer",
    "percent": "percent of the way", "models": "number of models",
    "bits": "bits of a rounded code; empty: unrounded",
}  # fmt: skip
METRIC_COLUMNS = ["metric", "unit", "range", "better", "at", "meaning"]
IMAGE_COLUMNS = ["source", "on the hub", "revision", "images", "classes", "train, val, test", "constants", "as in"]
ABOUT_METRICS = """# Metrics

What each row of `metrics.parquet` may measure. `docs/generate.py` writes this page from the lists beside the code that measures.

`weightspace.table.read("results/digits/metrics.parquet")` gives the rows as a pandas frame. What `cells.parquet` says of each
row's cell stands in further columns: its kind, the cell that it was made from (`of`), its group and label, and its numbers by
the settings' names. *At* says what the column `at` counts; where it is empty a metric has one value.
"""


def settings_page(template: str) -> str:
    """The template with tables of settings for `{ClassOfSettings}` on lines of their own, with layers and image sets.

    Raises ValueError if the template leaves out a class of settings that users write.
    """
    classes = {cls.__name__: cls for cls in settings_classes(Settings)}
    wanted = {name for name, cls in classes.items() if not cls.__subclasses__()} - MADE - OF_CLAIMS  # bases are no section's
    if missing := [name for name in sorted(wanted) if f"\n{{{name}}}\n" not in template]:
        raise ValueError(f"{TEMPLATE.name} has no place for the settings of {', '.join(missing)}")
    kinds = "\n".join(f"- `{LAYERS[kind].notation}`" for kind in WRITTEN)
    template = template.replace("{layers}", kinds).replace("{activations}", ", ".join(f"`{name}`" for name in ACTIVATIONS))
    template = template.replace("{image_sets}", image_sets())
    for name in sorted(wanted):
        template = template.replace(f"\n{{{name}}}\n", f"\n{settings_table(classes[name])}\n")
    return template


def image_sets() -> str:
    """Every image set by name: where the hub has it, what is in it, how it is split and normalized."""
    rows = [row(IMAGE_COLUMNS), row(["---"] * len(IMAGE_COLUMNS))]
    for name, entry in PUBLISHED.items():
        size, classes = (
            f"{entry.channels} x {entry.size} x {entry.size}",
            ", ".join(f"{number} (`{label}`)" for label, number in entry.labels.items()),
        )
        split = ", ".join(f"{number:,}" for number in entry.split)
        cells = [f"`{name}`", f"`{entry.repo}`", f"`{entry.revision[:8]}`", size, classes, split]
        rows.append(row([*cells, entry.normalization or "", entry.by]))
    return "\n".join(rows)


def settings_classes(base: type[BaseModel]) -> list[type[BaseModel]]:
    """All classes of settings below `base`; those that sections of a scenario are read with, and the options."""
    assert {Scenario, Options} <= set(Settings.__subclasses__())
    return [cls for sub in base.__subclasses__() for cls in (sub, *settings_classes(sub))]


def settings_table(cls: type[BaseModel]) -> str:
    """Rows of a table: each setting of the class but what every cell may say, with its default, allowed values and meaning."""
    schema = cls.model_json_schema()
    shared = {} if cls is Cell else Cell.model_fields
    lines = ["| setting | default | allowed | meaning |", "| --- | --- | --- | --- |"]
    for name, field in cls.model_fields.items():
        if name not in shared or not issubclass(cls, Cell):
            default = "required" if field.is_required() else printed(field.default)
            lines.append(row([f"`{name}`", default, allowed(schema["properties"][name]), field.description]))
    return "\n".join(lines)


def printed(default: object) -> str:
    """A default as YAML has it; settings within settings have a table of their own."""
    return "see below" if isinstance(default, BaseModel) else json.dumps(default, ensure_ascii=False).replace('"', "")


def allowed(schema: dict, many: str = "") -> str:
    """What values the JSON schema of a setting allows, in words; `many` is "s" where several of them stand in a list."""
    if "anyOf" in schema:
        parts = [allowed(part, many) for part in schema["anyOf"]]
        return ("; or " if any(part.endswith("at least one") for part in parts) else " or ").join(parts)
    if schema.get("enum") == list(ACTIVATIONS):
        return f"activation{many}"
    if "enum" in schema or "const" in schema:
        return ("some of " if many else "") + ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if "$ref" in schema:
        return "`url` and `sha256`, see below" if schema["$ref"].endswith("RemoteFile") else "settings, see below"
    kind = schema.get("type", "object")
    if kind in ("integer", "number"):
        return f"{'whole ' if kind == 'integer' else ''}number{many}{limits(schema)}"
    if kind == "array":
        return f"list{many} of {allowed(schema['items'], 's')}{', at least one' if schema.get('minItems') == 1 else ''}"
    words = {"boolean": "`true`, `false`", "null": "`null`", "object": "cells or settings by name"}
    return words.get(kind) or f"{'name' if schema.get('pattern', '').startswith('^[a-z][') else 'text'}{many}"


def limits(schema: dict) -> str:
    """Range of a number in words; of two lower limits the higher one."""
    low = [(schema[key], word) for key, word in {"minimum": "from", "exclusiveMinimum": "above"}.items() if key in schema]
    high = [(schema[key], word) for key, word in {"maximum": "to", "exclusiveMaximum": "below"}.items() if key in schema]
    return "".join(f" {word} {value:g}" for value, word in sorted(low)[-1:] + high if value < 2**63)


def metrics_page() -> str:
    """Every metric of every stage: unit, range, direction and meaning."""
    parts = [ABOUT_METRICS]
    for room in dict.fromkeys(stage.room for stage in STAGES.values()):
        stages = [name for name, stage in STAGES.items() if stage.room == room]
        rows = [row(metric_cells(metric)) for metric in metrics_of(stages[0]).values()]
        parts.append(f"## {room}\n\nStages of the rows: {', '.join(f'`{stage}`' for stage in stages)}.\n")
        parts.append("\n".join([row(METRIC_COLUMNS), row(["---"] * len(METRIC_COLUMNS)), *rows, ""]))
    return "\n".join(parts)


def metric_cells(metric: Metric) -> list[str]:
    """One row of a table of metrics."""
    low, high = (f"{end:g}".replace("inf", "∞") for end in metric.range)
    return [f"`{metric.name}`", metric.unit, f"{low} to {high}", metric.better, COUNTED[metric.at], metric.meaning]


def row(cells: list[str]) -> str:
    """A row of a Markdown table."""
    escaped = [cell.replace("|", "\\|") for cell in cells]
    return f"| {' | '.join(escaped)} |".replace("|  |", "| |")


if __name__ == "__main__":
    SETTINGS.write_text(settings_page(TEMPLATE.read_text()))
    METRICS.write_text(metrics_page())
