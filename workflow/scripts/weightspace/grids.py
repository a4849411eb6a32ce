"""A grid written in one cell makes several: every combination of the values that it lists."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from itertools import product

from weightspace.errors import InputError

GRID = "grid"  # the key of a cell that lists values for other keys of it, `students.num` for one within another


def expand_section(section: Mapping[str, object], named: Mapping[str, Iterable[str]]) -> dict[str, object]:
    """Every cell of a section, those of a grid in its place, each with the grid's name as its `group`.

    The name of a grid's cell holds its keys in braces, as in `h{hidden}`; values of a key that it does not hold end it after an
    underscore. A value with an asterisk, of a key that names cells of another section (`named`: key to their names), stands for
    all of these that match.
    Raises InputError for a grid that does not read, or a name that comes out twice.
    """
    cells = {}
    for name, cell in section.items():
        made = _grid_cells(str(name), cell, named) if isinstance(cell, dict) and cell.get(GRID) else [(str(name), cell)]
        for each, content in made:
            if each in cells:
                raise InputError(f"{each}: two cells have this name")
            cells[each] = content
    return cells


def _grid_cells(name: str, cell: dict, named: Mapping[str, Iterable[str]]) -> list[tuple[str, dict]]:
    grid = cell[GRID]
    if not isinstance(grid, dict) or not all(isinstance(values, list) and values for values in grid.values()):
        raise InputError(f"{name}.grid: must list values for each key, as in `grid: {{hidden: [24, 32]}}`")
    choices = {key: _matching(f"{name}.grid.{key}", values, list(named.get(key, []))) for key, values in grid.items()}
    plain = {key: value for key, value in cell.items() if key != GRID}
    made = []
    for values in product(*choices.values()):
        chosen = dict(zip(choices, values, strict=True))
        content = {"group": name} | plain
        for key, value in chosen.items():
            content = _with(content, key.split("."), value)
        words = {key.rpartition(".")[2]: _word(value) for key, value in chosen.items()}
        if isinstance(content.get("label"), str):
            content = content | {"label": _filled(content["label"], words)}
        made.append((_named(name, words), content))
    return made


def _matching(key: str, values: list, names: list[str]) -> list:
    """Values, a pattern replaced by the names that it matches, each once."""
    found = []
    for value in values:
        if isinstance(value, str) and "*" in value:
            matching = [name for name in names if fnmatchcase(name, value)]
            if not matching:
                raise InputError(f"{key}: {value!r} matches no cell, there are only {', '.join(names) or 'none at all'}")
            found += [name for name in matching if name not in found]
        else:
            found.append(value)
    return found


def _with(content: dict, path: list[str], value: object) -> dict:
    """A copy in which the key at `path` is set."""
    first, *rest = path
    below = content.get(first)
    return content | {first: _with(below if isinstance(below, dict) else {}, rest, value) if rest else value}


def _word(value: object) -> str:
    """A value as a part of a name: 4.0 as 4, 0.25 as 0_25, [8, 4] as 8_4."""
    if isinstance(value, list):
        return "_".join(map(_word, value))
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text.lower().replace(".", "_").replace("-", "_")


def _named(name: str, words: dict[str, str]) -> str:
    left = [word for key, word in words.items() if f"{{{key}}}" not in name]
    return "_".join([_filled(name, words), *left])


def _filled(text: str, words: dict[str, str]) -> str:
    for key, word in words.items():
        text = text.replace(f"{{{key}}}", word)
    return text
