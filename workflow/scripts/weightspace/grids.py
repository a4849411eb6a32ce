"""A grid written in one cell makes several: every combination of the values that it lists."""

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from itertools import product
from math import prod

from weightspace.errors import InputError

GRID = "grid"  # the key of a cell that lists values for other keys of it, `students.num` for one within another
NAME = re.compile(r"[a-z][a-z0-9_]*")
MOST_CELLS = 10_000  # of one grid
EXAMPLE, WORDS = "`grid: {hidden: [24, 32]}`", "`grid: {order: {in: in_filter, cross: cross_filter}}`"

Choices = dict[str, dict[str, object]]  # key of the grid to its values, each by the word that stands for it in names


def expand_section(section: Mapping[str, object], named: Mapping[str, Iterable[str]]) -> dict[str, object]:
    """Every cell of a section, those of a grid in its place.

    The name of a grid's cell, its label and its group hold keys of the grid in braces, as in `h{hidden}`; values of a key that
    the name does not hold end it after an underscore. A value with an asterisk, of a key that names cells of another section
    (`named`: key to their names), stands for all of these that match. A cell that is written below the grid under the name of
    one of its cells says what is different in that one.
    Raises InputError, which begins with the cell's name, for a grid that does not read or a name that comes out twice.
    """
    cells, from_grid = {}, set()
    for name, cell in section.items():
        if name in from_grid and isinstance(cell, dict) and not cell.get(GRID):
            cells[name] = _merged(cells[name], cell)
            continue
        made = _grid_cells(name, cell, named) if isinstance(cell, dict) and GRID in cell else {name: cell}
        if twice := [each for each in made if each in cells]:
            raise InputError(f"{name}: another cell has the name {twice[0]!r} too")
        cells |= made
        from_grid |= set(made) if made.keys() != {name} else set()
    return cells


def _grid_cells(name: str, cell: dict, named: Mapping[str, Iterable[str]]) -> dict[str, dict]:
    """Cells of one grid by name; of a cell whose grid is null, that cell alone."""
    plain = {key: value for key, value in cell.items() if key != GRID}
    if cell[GRID] is None:
        return {name: plain}
    choices = _choices(f"{name}.grid", cell[GRID], named)
    made = {}
    for words in product(*choices.values()):
        chosen = dict(zip(choices, words, strict=True))
        content = plain
        for key, word in chosen.items():
            content = _with(content, key.split("."), choices[key][word])
        spoken = _by_last_part({key: _spoken(choices[key][word]) for key, word in chosen.items()})
        written = {key: _filled(content[key], spoken) for key in ("label", "group") if isinstance(content.get(key), str)}
        each = _named(name, chosen)
        if each in made:
            raise InputError(f"{name}.grid: two of its cells have the name {each!r}")
        made[each] = content | written
    return made


def _choices(key: str, grid: object, named: Mapping[str, Iterable[str]]) -> Choices:
    """Values of each key of a grid by their words."""
    if not isinstance(grid, dict) or not grid or not all(isinstance(values, list | dict) and values for values in grid.values()):
        raise InputError(f"{key}: must list values for each key, as in {EXAMPLE}")
    choices = {}
    for setting, values in grid.items():
        where = f"{key}.{setting}"
        if isinstance(values, list):
            values = _by_word(where, _matching(where, values, list(named.get(setting, []))))
        choices[str(setting)] = {str(word): value for word, value in values.items()}
    if (number := prod(map(len, choices.values()))) > MOST_CELLS:
        raise InputError(f"{key}: makes {number:,} cells, more than {MOST_CELLS:,}")
    return choices


def _by_word(key: str, values: list) -> dict[str, object]:
    """Values by the words that stand for them in names."""
    found = {}
    for value in values:
        word = _word(value)
        if word in found:
            equal = found[word] == value
            raise InputError(f"{key}: names {value!r} twice" if equal else f"{key}: give each value a word, as in {WORDS}")
        found[word] = value
    return found


def _matching(key: str, values: list, names: list[str]) -> list:
    """Values, a pattern replaced by the names that it matches and that are not there already."""
    found = []
    for value in values:
        if not (isinstance(value, str) and "*" in value):
            found.append(value)
            continue
        matching = [name for name in names if fnmatchcase(name, value)]
        if not matching:
            raise InputError(f"{key}: {value!r} matches no cell, there are only {', '.join(names) or 'none at all'}")
        found += [name for name in matching if name not in values and name not in found]
    return found


def _with(content: dict, path: list[str], value: object) -> dict:
    """A copy in which the key at `path` is set."""
    first, *rest = path
    below = content.get(first)
    return content | {first: _with(below if isinstance(below, dict) else {}, rest, value) if rest else value}


def _merged(content: object, changes: object) -> object:
    """`changes` over `content`, key by key at every depth."""
    if not (isinstance(content, dict) and isinstance(changes, dict)):
        return changes
    return content | {key: _merged(content.get(key), value) for key, value in changes.items() if key != GRID}


def _word(value: object) -> str:
    """A value as a part of a name: 4.0 as 4, 0.25 as 0_25, [8, 4] as 8_4."""
    if isinstance(value, list):
        return "_".join(map(_word, value))
    text = f"{value:g}" if isinstance(value, float) else "null" if value is None else str(value)
    return text.lower().replace(".", "_").replace("-", "_")


def _spoken(value: object) -> str:
    """A value as a part of a label: 4.0 as 4, [8, 4] as "8, 4", a name with blanks."""
    if isinstance(value, list):
        return ", ".join(map(_spoken, value))
    return f"{value:g}" if isinstance(value, float) else str(value).replace("_", " ")


def _named(name: str, words: dict[str, str]) -> str:
    """The name of a grid's cell."""
    known = _by_last_part(words)
    left = [word for key, word in words.items() if not any(f"{{{part}}}" in name for part in (key, key.rpartition(".")[2]))]
    made = "_".join([_filled(name, known), *left])
    if unknown := re.search(r"\{(.*?)\}", made):
        raise InputError(f"{name}: {unknown[0]} is no key of its grid, which has {', '.join(words)}")
    if not NAME.fullmatch(made):
        raise InputError(
            f"{name}.grid: {made!r} is no name (small letters, digits, underscores): give each value a word, as in {WORDS}"
        )
    return made


def _by_last_part(words: dict[str, str]) -> dict[str, str]:
    """Words by their whole key, and by its last part where no other key ends so."""
    last = [key.rpartition(".")[2] for key in words]
    return {end: word for end, word in zip(last, words.values(), strict=True) if last.count(end) == 1} | words


def _filled(text: str, words: dict[str, str]) -> str:
    for key, word in words.items():
        text = text.replace(f"{{{key}}}", word)
    return text
