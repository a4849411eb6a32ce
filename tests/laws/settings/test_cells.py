"""The table of cells says what each cell is, from the settings alone."""

import pytest
from conftest import ROOT
from small_scenario import changed, read, scenario_content
from weightspace import table
from weightspace.cells import cells_table
from weightspace.options import Options, read_scenario
from weightspace.table import CELLS, SCHEMA, SHARE, Metric, Source, read_cells, write_metrics, write_table

SCENARIOS = sorted(ROOT.glob("config/scenarios/*.yaml"))


def rows_of(scenario):
    return {(row["stage"], row["cell"]): row for row in scenario.cells("mine")}


def test_every_cell_of_every_stage_is_there_once_in_its_order(tmp_path):
    scenario = read(tmp_path, scenario_content())
    names = [row["cell"] for row in scenario.cells("mine") if row["stage"] == "predictor"]
    assert names == list(scenario.predictors)
    assert len(rows_of(scenario)) == len(scenario.cells("mine")) == 2 + 1 + 4 + 2 + 1 + 4 + 4
    assert {row["scenario"] for row in scenario.cells("mine")} == {"mine"}


def test_each_cell_names_what_it_was_made_from_or_stands_against(tmp_path):
    content = scenario_content() | {"baselines": {"mean": {"zoo": "digits", "epochs": [2], "kind": "init_mean"}}}
    content["zoos"]["digits"]["shared_inits"] = 2
    rows = rows_of(read(tmp_path, content))
    assert {key: (row["of"], row["kind"]) for key, row in rows.items()} == {
        ("zoo", "digits"): ("digits", None),
        ("zoo", "nets"): ("digits", None),
        ("autoencoder", "plain"): ("digits", None),
        ("baseline", "mean"): ("digits", "init_mean"),
        ("teacher", "made"): (None, "synthetic"),
        ("teacher", "member"): ("digits", "zoo"),
        ("teacher", "box"): (None, "onnx"),
        ("teacher", "file"): (None, "table"),
        ("recovery", "made"): ("made", None),
        ("recovery", "box"): ("box", None),
        ("recovery_baseline", "made_single"): ("made", "single"),
        ("predictor", "held"): ("nets", None),
        ("predictor", "alone"): ("nets", None),
        ("predictor", "own"): ("nets", None),
        ("predictor", "shared"): ("nets", None),
        ("predictor_control", "held_noise"): ("held", "noise"),
        ("predictor_control", "held_quantized_8"): ("held", "quantized"),
        ("predictor_control", "held_quantized_4"): ("held", "quantized"),
        ("predictor_control", "held_small_noise"): ("held", "noise"),
    }


def test_numbers_have_the_settings_names_and_neither_switches_nor_lists_nor_seeds_are_numbers(tmp_path):
    content = changed("recoveries.made.students", {"expansion_factors": [4.0], "second_order_steps": 0})
    content["teachers"]["made"]["hidden"] = [3, 2]
    rows = rows_of(read(tmp_path, content))
    made = rows["recovery", "made"]
    assert (made["students.expansion_factors"], made["students.second_order_steps"], made["queries.num"]) == (4.0, 0.0, 10_000.0)
    assert not {"seeds", "minimize", "outputs", "students", "students.activations", "baselines"} & made.keys()
    assert "hidden" not in rows["teacher", "made"]
    assert rows["teacher", "made"]["inputs"] == 2.0
    assert rows["predictor_control", "held_quantized_4"]["bits"] == 4.0


def test_labels_and_groups_are_those_that_are_written_and_go_on_to_baselines_and_controls(tmp_path):
    content = scenario_content()
    content["recoveries"]["made"] |= {"label": "ρ = 4", "group": "widths"}
    content["predictors"]["held"] |= {"label": "NeRN"}
    rows = rows_of(read(tmp_path, content))
    assert (rows["recovery", "made"]["label"], rows["recovery", "made"]["group"]) == ("ρ = 4", "widths")
    assert (rows["recovery_baseline", "made_single"]["label"], rows["recovery_baseline", "made_single"]["group"]) == (
        "ρ = 4, single", "widths",
    )  # fmt: skip
    assert rows["predictor_control", "held_quantized_8"]["label"] == "NeRN, quantized 8"
    assert (rows["predictor", "own"]["label"], rows["predictor", "own"]["group"]) == ("own", None)


def test_no_job_depends_on_labels_groups_baselines_or_controls(tmp_path):
    content = scenario_content()
    plain = read(tmp_path, content)
    content["recoveries"]["made"] |= {"label": "x", "group": "y", "baselines": []}
    content["predictors"]["held"] |= {"label": "x", "group": "y", "controls": {}}
    other = read(tmp_path, content)
    assert other.recoveries["made"].model_dump() == plain.recoveries["made"].model_dump()
    assert other.predictors["held"].model_dump() == plain.predictors["held"].model_dump()


def test_what_an_autoencoder_differs_from_is_a_column_where_one_is_named_and_no_job_depends_on_it(tmp_path):
    content = scenario_content()
    plain = read(tmp_path, content)
    assert "against" not in cells_table(plain.cells("mine")).schema.names
    assert "deviations" not in plain.figure_names
    content["autoencoders"]["other"] = content["autoencoders"]["plain"] | {"against": "plain", "clip_norm": None}
    other = read(tmp_path, content)
    table = cells_table(other.cells("mine")).to_pandas()
    assert table.set_index("cell")["against"].dropna().to_dict() == {"other": "plain"}
    assert "deviations" in other.figure_names
    assert "against" not in other.autoencoders["other"].model_dump()


def test_a_stack_does_not_ask_for_equal_controls_and_labels(tmp_path):
    content = changed("predictors.shared.controls", {"noise": {"seeds": [1]}})
    content["predictors"]["shared"]["label"] = "with another"
    assert "shared_noise" in read(tmp_path, content).predictor_controls


@pytest.mark.slow
def test_the_table_is_read_as_it_was_written_with_a_column_for_each_number(tmp_path):
    rows = read(tmp_path, scenario_content()).cells("mine")
    write_table(tmp_path / "cells.parquet", cells_table(rows))
    frame = read_cells(tmp_path / "cells.parquet")
    assert list(frame.columns[: len(CELLS)]) == CELLS.names
    for row, (_, found) in zip(rows, frame.iterrows(), strict=True):
        assert found.dropna().to_dict() == {name: value for name, value in row.items() if value is not None}


def test_figures_show_their_cells_in_the_order_written_and_patterns_in_the_scenarios(tmp_path):
    content = changed("figures.predictor_rate.cells", ["own", "held_q*", "*"])
    scenario = read(tmp_path, content)
    shown = scenario.shown_in("predictor_rate")
    assert shown[:3] == ["own", "held_quantized_8", "held_quantized_4"]
    assert sorted(shown) == [
        "alone",
        "held",
        "held_noise",
        "held_quantized_4",
        "held_quantized_8",
        "held_small_noise",
        "own",
        "shared",
    ]
    assert scenario.shown_in("collapse") is None


def test_rows_are_read_with_what_is_said_of_their_cells_beside_them(tmp_path):
    scenario = read(tmp_path, scenario_content())
    write_table(tmp_path / "cells.parquet", cells_table(scenario.cells("mine")))
    sources = [Source("mine", "predictor_control", "held_quantized_4", 1), Source("mine", "recovery", "made", 0)]
    known = [Metric("accuracy", "fraction", SHARE, "higher", "planted")]
    write_metrics(tmp_path / "metrics.parquet", [source.row("accuracy", 0.5) for source in sources], known)
    control, recovery = table.read(tmp_path / "metrics.parquet").to_dict("records")
    assert (control["of"], control["kind"], control["bits"], control["seed"]) == ("held", "quantized", 4.0, 1)
    assert (recovery["of"], recovery["students.num"], recovery["value"]) == ("made", 20.0, 0.5)


@pytest.mark.slow
@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_no_number_of_a_shipped_cell_has_the_name_of_a_column_of_the_rows(path):
    names = cells_table(read_scenario([path.parent], Options(scenario=path.stem)).cells(path.stem)).schema.names
    assert set(names[len(CELLS) :]).isdisjoint({*SCHEMA.names, *CELLS.names})
