"""What each cell of a scenario is, as rows of a table: nothing that reads the results parses a name."""

from collections.abc import Mapping

import pyarrow as pa

from weightspace.settings import Cell
from weightspace.stages import STAGES
from weightspace.table import CELLS

TEXTS = pa.schema([("against", pa.string())])  # the cell that one differs from, where the scenario has such cells
ACRONYMS = {"pca": "PCA", "mnist": "MNIST", "cifar10": "CIFAR-10", "relu": "ReLU", "gelu": "GELU", "silu": "SiLU"}


def cell_rows(scenario: str, sections: Mapping[str, Mapping[str, Cell]]) -> list[dict[str, object]]:
    """One row per cell of every stage: what `weightspace.table.CELLS` names, then its numbers by the settings' own names."""
    rows = []
    for stage, (section, of, *_) in STAGES.items():
        for name, cell in sections[section].items():
            about = {
                "scenario": scenario,
                "stage": stage,
                "cell": name,
                "kind": getattr(cell, "kind", None),
                "of": next((source for key in of if (source := getattr(cell, key, None))), None),
                "group": cell.group,
                "label": cell.label or plain_label(name),
            }
            about |= {key: value for key in TEXTS.names if (value := getattr(cell, key, None))}
            rows.append(about | numbers_in(cell.model_dump(mode="json")))
    return rows


def cells_table(rows: list[dict[str, object]]) -> pa.Table:
    """Rows of `cell_rows` as a table: the columns of CELLS, then those of TEXTS and of numbers that a cell has."""
    found = {name for row in rows for name in row} - set(CELLS.names)
    texts = [field for field in TEXTS if field.name in found]
    numbers = sorted(found - set(TEXTS.names))
    schema = pa.schema([*CELLS, *texts, *((name, pa.float64()) for name in numbers)])
    return pa.Table.from_pylist([{name: row.get(name) for name in schema.names} for row in rows], schema=schema)


def numbers_in(settings: dict[str, object], prefix: str = "") -> dict[str, float]:
    """Every number of a cell's settings by its dotted key; a list of one number is that number, other lists are left out.

    Seeds are none of a cell's numbers: its rows have each their own.
    """
    found = {}
    for key, value in settings.items():
        value = value[0] if isinstance(value, list) and len(value) == 1 else value
        if isinstance(value, dict):
            found |= numbers_in(value, f"{prefix}{key}.")
        elif isinstance(value, int | float) and not isinstance(value, bool) and key != "seeds":
            found[prefix + key] = float(value)
    return found


def plain_label(name: str) -> str:
    """What figures write where a cell has no label: its name, with blanks, acronyms in capitals."""
    return " ".join(ACRONYMS.get(word, word) for word in name.split("_"))


def spoken_of(cell: Cell, word: str) -> dict[str, str | None]:
    """Label and group of a baseline or a control that stands in a cell: those of the cell, where it has them."""
    return {"label": cell.label and f"{cell.label}, {plain_label(word)}", "group": cell.group}
