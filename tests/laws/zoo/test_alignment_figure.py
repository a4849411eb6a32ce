"""The figure zoo_alignment shows the means and intervals of its rows, and says what is too little to have any."""

import numpy as np
import pandas as pd
import pytest
from tables import joined
from weightspace.report.draw import draw
from weightspace.report.intervals import mean_interval
from weightspace.report.registry import figure_named
from weightspace.table import Source

PERCENTS = range(0, 101, 10)
ABOUT = {
    ("alignment", "same"): {"label": "same init", "kind": "same_init"},
    ("alignment", "other"): {"label": "different inits", "kind": "different_init"},
}


def planted(cells=("same", "other"), pairs=9, soups=None):
    """Lines that sag in the middle, naive ones more, and soups that are as good as the middle."""
    rng, rows = np.random.default_rng(0), []
    for cell in cells:
        source = Source("planted", "alignment", cell, 0)
        for pair in range(pairs):
            for way, depth in (("naive", 0.7), ("aligned", 0.3)):
                depth = depth * (cell == "other") + 0.05 * rng.random()
                for percent in PERCENTS:
                    accuracy = 0.9 - depth * 4 * percent * (100 - percent) / 1e4
                    rows.append(source.row(f"line_accuracy_{way}", accuracy, subject=pair, at=percent))
                rows.append(source.row(f"barrier_{way}", 3 * depth, subject=pair))
        for size, num in (soups if soups is not None else {2: 9, 4: 4}).items():
            for soup in range(num):
                for way, accuracy in (("naive", 0.2), ("aligned", 0.6), ("models", 0.9)):
                    rows.append(source.row(f"soup_accuracy_{way}", accuracy + 0.02 * rng.random(), subject=soup, at=size))
    return joined(rows, ABOUT)


def drawn(rows):
    return draw(figure_named("zoo_alignment"), rows)


def lines_of(axes):
    """Data of each named line, of intervals too."""
    series = {line.get_label(): line for line in axes.lines}
    series |= {container.get_label(): container.lines[0] for container in axes.containers}
    return {name: line.get_xydata() for name, line in series.items() if not name.startswith("_")}


def texts_of(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def values(rows, cell, metric, at):
    own = rows[(rows["cell"] == cell) & (rows["metric"] == metric) & (rows["at"] == at)]
    return own["value"].to_numpy()[None]


@pytest.mark.slow
def test_each_cell_has_its_lines_and_soups_at_their_means():
    rows = planted()
    figure = drawn(rows)
    assert len(figure.axes) == 4
    for cell, (line, soups) in zip(("same", "other"), np.array(figure.axes).reshape(2, 2), strict=True):
        for way in ("naive", "aligned"):
            means = [values(rows, cell, f"line_accuracy_{way}", percent).mean() for percent in PERCENTS]
            np.testing.assert_allclose(lines_of(line)[way], np.stack([PERCENTS, means], axis=1), rtol=1e-12)
        np.testing.assert_allclose(lines_of(line)["mean of both ends"][:, 1], lines_of(line)["naive"][[0, -1], 1], rtol=1e-12)
        for way, name in {"naive": "naive", "aligned": "aligned", "models": "mean of the models"}.items():
            means = [values(rows, cell, f"soup_accuracy_{way}", size).mean() for size in (2, 4)]
            np.testing.assert_allclose(lines_of(soups)[name][:, 1], means, rtol=1e-12)
        assert [label.get_text() for label in soups.get_xticklabels()] == ["2\n9 soups", "4\n4 soups"]


@pytest.mark.slow
def test_bands_are_95_percent_intervals_of_the_mean_over_pairs():
    rows = planted(cells=("other",))
    band = drawn(rows).axes[0].collections[0].get_paths()[0].vertices
    interval = mean_interval(values(rows, "other", "line_accuracy_aligned", 50))
    assert sorted(set(band[band[:, 0] == 50, 1])) == pytest.approx([interval.low, interval.high])


@pytest.mark.slow
def test_titles_ask_and_barriers_are_written_in():
    figure = drawn(planted())
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[0] == "same init: is there a barrier between two models?"
    assert titles[2].startswith("different inits: ")
    assert all(title.endswith("?") for title in titles)
    said = texts_of(figure)[0]
    assert said.startswith("9 pairs\nbarrier of the loss:\nnaive 0.0")
    assert "reading" not in said


def test_one_pair_is_a_reading_and_without_soups_there_is_a_line():
    figure = drawn(planted(cells=("other",), pairs=1, soups={}))
    assert texts_of(figure)[0].startswith("1 pair, a reading\n")
    assert set(lines_of(figure.axes[0])) == {"naive", "aligned", "mean of both ends"}
    assert lines_of(figure.axes[1]) == {}


@pytest.mark.slow
def test_rows_of_a_cell_of_the_same_name_in_another_stage_change_nothing():
    rows = planted(cells=("other",))
    other = rows.assign(stage="autoencoder", metric="accuracy_original", at=np.nan)
    both = draw(figure_named("zoo_alignment"), pd.concat([rows, other]))
    for ours, theirs in zip(both.axes, drawn(rows).axes, strict=True):
        assert lines_of(ours).keys() == lines_of(theirs).keys()
        assert all(np.array_equal(line, lines_of(theirs)[name]) for name, line in lines_of(ours).items())
