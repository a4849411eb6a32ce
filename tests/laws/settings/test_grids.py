"""Grids: as many cells as there are combinations, each with its values, under names that are short, unique and valid."""

from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st
from weightspace.errors import InputError
from weightspace.grids import MOST_CELLS, NAME, expand_section

KEYS = st.text("abcdefgh", min_size=1, max_size=3).filter(lambda key: key != "grid")
VALUES = st.one_of(
    st.integers(0, 99), st.sampled_from([0.5, 1.0e-5, "relu", "in_filter", True, None]), st.lists(st.integers(1, 9), min_size=1)
)
GRIDS = st.dictionaries(KEYS, st.lists(VALUES, min_size=1, max_size=3, unique_by=repr), min_size=1, max_size=3)


def cells_of(section, **named):
    return expand_section(section, named)


def refusal(section, **named):
    with pytest.raises(InputError) as error:
        cells_of(section, **named)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.slow
@given(GRIDS)
def test_a_grid_makes_every_combination_once_under_a_valid_name_or_says_that_values_need_words(grid):
    section = {"cell": {"grid": grid, "other": 1}}
    named = {key: {f"{key}{n}": value for n, value in enumerate(values)} for key, values in grid.items()}
    for choices in (grid, named):
        try:
            cells = cells_of({"cell": section["cell"] | {"grid": choices}})
        except InputError:
            assert choices is grid  # two values that read alike, such as 1 and "1"
            continue
        assert len(cells) == prod(map(len, grid.values()))
        assert all(NAME.fullmatch(name) for name in cells)
        assert len({repr([cell[key] for key in grid]) for cell in cells.values()}) == len(cells)
        assert all(cell.keys() == {*grid, "other"} and cell["other"] == 1 for cell in cells.values())


@pytest.mark.slow
@given(st.dictionaries(st.text("abc", min_size=1), st.dictionaries(KEYS, VALUES)))
def test_cells_without_a_grid_are_as_written(section):
    assert cells_of(section) == section


def test_the_last_key_varies_fastest_and_the_cells_stand_in_the_grids_place():
    cells = cells_of(
        {"a": {}, "h{hidden}_{order}": {"grid": {"hidden": [8, 16], "order": {"in": "in_filter", "no": None}}}, "z": {}}
    )
    assert list(cells) == ["a", "h8_in", "h8_no", "h16_in", "h16_no", "z"]
    assert cells["h16_in"] == {"hidden": 16, "order": "in_filter"}
    assert cells["h8_no"]["order"] is None


@pytest.mark.parametrize(
    ("name", "grid", "made"),
    [
        ("h", {"hidden": [8]}, ["h_8"]),
        ("h{hidden}", {"hidden": [8, 16], "rounds": [2]}, ["h8_2", "h16_2"]),
        ("rho{expansion_factors}", {"students.expansion_factors": [[1.0], [2.5, 4.0]]}, ["rho1", "rho2_5_4"]),
        ("s{students.num}_q{queries.num}", {"students.num": [2], "queries.num": [9]}, ["s2_q9"]),
        ("lr", {"learning_rate": [0.001, 1e-5]}, ["lr_0_001", "lr_1e_05"]),
        ("share_{share}", {"cluster.share": {30: 0.3, 100: 1.0}}, ["share_30", "share_100"]),
    ],
    ids=str,
)
def test_names_hold_the_grids_values(name, grid, made):
    assert list(cells_of({name: {"grid": grid}})) == made


def test_a_key_within_another_leaves_the_rest_of_it_as_it_is():
    cell = {"grid": {"students.num": [2, 3]}, "students": {"epochs": 5}, "queries": {"num": 1}}
    cells = cells_of({"s{num}": cell})
    assert cells["s3"] == {"students": {"epochs": 5, "num": 3}, "queries": {"num": 1}}
    assert cell["students"] == {"epochs": 5}  # what was read is not changed: anchors share it


def test_a_pattern_stands_for_the_cells_it_matches_each_once_and_in_their_order():
    grid = {"teacher": ["d2", "d*"]}
    assert list(cells_of({"{teacher}": {"grid": grid}}, teacher=["d1", "d2", "e", "d3"])) == ["d2", "d1", "d3"]
    assert refusal({"x": {"grid": {"teacher": ["f*"]}}}, teacher=["d", "e"]) == (
        "x.grid.teacher: 'f*' matches no cell, there are only d, e"
    )


def test_a_cell_below_says_what_is_different_in_one_of_a_grids():
    grid = {"grid": {"n": [1, 2]}, "students": {"epochs": 5, "num": 3}, "label": "n = {n}"}
    cells = cells_of({"c{n}": grid, "c2": {"students": {"epochs": 9}, "seeds": [0]}})
    assert list(cells) == ["c1", "c2"]
    assert cells["c1"] == {"students": {"epochs": 5, "num": 3}, "label": "n = 1", "n": 1}
    assert cells["c2"] == {"students": {"epochs": 9, "num": 3}, "label": "n = 2", "n": 2, "seeds": [0]}


def test_labels_and_groups_hold_the_values_as_they_are_read():
    cell = {"grid": {"factor": [[1.0], [2.5]], "teacher": ["d2_r4"]}, "label": "{teacher}, ρ = {factor}", "group": "ρ = {factor}"}
    cells = cells_of({"c{factor}_{teacher}": cell})
    assert [(each["label"], each["group"]) for each in cells.values()] == [
        ("d2 r4, ρ = 1", "ρ = 1"),
        ("d2 r4, ρ = 2.5", "ρ = 2.5"),
    ]


def test_a_grid_that_an_anchor_brought_is_taken_away_by_null():
    assert cells_of({"c": {"grid": None, "n": 1}}) == {"c": {"n": 1}}


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"c": {"grid": []}}, "c.grid: must list values"),
        ({"c": {"grid": {}}}, "c.grid: must list values"),
        ({"c": {"grid": {"n": []}}}, "c.grid: must list values"),
        ({"c": {"grid": {"n": 3}}}, "c.grid: must list values"),
        ({"c": {"grid": {"n": [1, 1]}}}, "c.grid.n: names 1 twice"),
        ({"c": {"grid": {"n": [[2], [2]]}}}, "c.grid.n: names [2] twice"),
        ({"c": {"grid": {"n": [0.5, "0_5"]}}}, "c.grid.n: give each value a word"),
        ({"c{m}": {"grid": {"n": [1]}}}, "c{m}: {m} is no key of its grid, which has n"),
        ({"c": {"grid": {"layers": [["linear 4"], ["linear 8"]]}}}, "c.grid: 'c_linear 4' is no name"),
        ({"{n}": {"grid": {"n": [1]}}}, "{n}.grid: '1' is no name"),
        ({"c_{n}": {"grid": {"n": [1]}}, "c": {"grid": {"n": [1]}}}, "c: another cell has the name 'c_1' too"),
        ({"c": {"grid": {"n": ["1_1", "1"], "m": ["1", "1_1"]}}}, "c.grid: two of its cells have the name 'c_1_1_1'"),
        ({"c_1": {}, "c": {"grid": {"n": [1]}}}, "c: another cell has the name 'c_1' too"),
        (
            {"c": {"grid": {"n": list(range(200)), "m": list(range(200))}}},
            f"c.grid: makes 40,000 cells, more than {MOST_CELLS:,}",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_grid_that_does_not_read_is_one_sentence_with_its_key(section, told):
    assert refusal(section).startswith(told)
