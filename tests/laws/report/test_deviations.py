"""The figure of deviations: differences from the autoencoder that a cell names, paired by seed and test model."""

import numpy as np
import pytest
from tables import joined
from test_report import texts_of
from weightspace.autoencoder.figures.deviations import PANELS, Pair, pairs_of, plot_deviations
from weightspace.report.draw import draw
from weightspace.report.registry import figure_named, figures_of, metric_named
from weightspace.report.select import Side, paired_interval
from weightspace.table import Source

EFFECTS = {"plain": 0.0, "better": 0.05, "worse": -0.1, "worse_still": -0.2}
AGAINST = {"better": "plain", "worse": "plain", "worse_still": "worse"}
MEASURED = [part for panel in PANELS for part in metric_named(panel.metric).ratio or (panel.metric,)]


def planted(effects=EFFECTS, against=AGAINST, models=30, seeds=3):
    """Rows whose cells differ by their effect and a little noise; what seed and model do is common to all cells."""
    rng = np.random.default_rng(1)
    common = 0.7 + 0.1 * rng.standard_normal((seeds, 1)) + 0.05 * rng.standard_normal((1, models))
    rows = []
    for cell, effect in effects.items():
        for seed in range(seeds):
            source = Source("planted", "autoencoder", cell, seed)
            for metric in [*MEASURED, "weights_l2"]:
                values = common[seed] + effect + 0.001 * rng.standard_normal(models)
                level = {"retrieval_weights": values > 0.7, "probe_deviation_test_accuracy": np.ones(models)}
                rows += [source.row(metric, float(v), subject=n) for n, v in enumerate(level.get(metric, values))]
    said = {("autoencoder", cell): {"against": other} for cell, other in against.items()}
    return joined(rows, said)


def test_pairs_are_those_that_the_table_names_whatever_the_names():
    assert pairs_of(planted()) == [Pair(*pair) for pair in AGAINST.items()]
    odd = planted({"b": 0.0, "a_b": 0.1, "b_a": 0.2}, {"b": "b_a"})
    assert pairs_of(odd) == [Pair("b", "b_a")]


def test_what_seeds_and_models_have_in_common_is_no_part_of_a_difference():
    rows = planted()
    for cell, other in AGAINST.items():
        sides = Side(cell, "accuracy_reconstruction"), Side(other, "accuracy_reconstruction")
        paired, unpaired = (paired_interval(rows, *sides, same_seeds=same) for same in (True, False))
        effect = EFFECTS[cell] - EFFECTS[other]
        assert paired.low < effect < paired.high
        assert paired.high - paired.low < 0.01 < 0.1 < unpaired.high - unpaired.low
        assert paired.mean == pytest.approx(unpaired.mean)


def test_a_row_stands_for_each_difference_and_names_what_it_is_from():
    figure = plot_deviations(planted())
    panels = figure.axes[: len(PANELS)]
    names = [label.get_text() for label in panels[0].get_yticklabels()]
    assert names == ["better", "worse", "worse still (minus worse)"]
    drawn = {}
    for container in panels[0].containers:
        line = container.lines[0]
        drawn |= dict(zip(line.get_ydata(), line.get_xdata(), strict=True))
    expected = {place: EFFECTS[cell] - EFFECTS[other] for place, (cell, other) in enumerate(AGAINST.items())}
    assert drawn == pytest.approx(expected, abs=0.002)
    assert "plain, if no other is named" in texts_of(figure)
    assert "30 models × 3 seeds" in texts_of(figure)


def test_a_difference_is_filled_where_its_interval_does_not_hold_0():
    figure = plot_deviations(planted({"plain": 0.0, "alike": 0.0, "better": 0.05}, {"alike": "plain", "better": "plain"}))
    filled = {}
    for container in figure.axes[0].containers:
        line = container.lines[0]
        filled |= dict.fromkeys(line.get_ydata().tolist(), line.get_markerfacecolor() != "white")
    assert filled == {0: False, 1: True}


def test_without_a_difference_the_figure_says_so_and_no_scenario_has_it():
    entry = figure_named("deviations")
    rows = planted()
    assert "no autoencoder here names another" in texts_of(draw(entry, rows, ["better"]))
    assert "no autoencoder here names another" in texts_of(draw(entry, rows.drop(columns="against")))
    assert "deviations" not in figures_of(["autoencoder"])
    assert "deviations" in figures_of(["autoencoder"], rows.columns)
