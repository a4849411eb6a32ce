"""The figure of fine-tuning: which lines it draws, and that it draws them."""

import numpy as np
import pytest
from tables import joined
from weightspace.errors import InputError
from weightspace.generation.figures.fine_tuning import plot_fine_tuning
from weightspace.report.draw import draw
from weightspace.report.registry import figure_named
from weightspace.table import Source

EPOCHS = [0, 1, 5]
KINDS = {"anchors": 0.9, "scratch": 0.1, "soup_2": 0.3, "soup_16": 0.5}  # of rivals, and their accuracy before fine-tuning


def rows_of(cells=("one", "other"), seeds=(0, 1), networks=4, kinds=KINDS):
    """Cells of generated networks, each with its rivals, whose accuracies rise from where they begin."""
    rng, rows, said = np.random.default_rng(0), [], {}
    for cell in cells:
        said["generation", cell] = {"kind": "kde_token", "of": "plain", "label": f"cell {cell}"}
        sets = {("generation", cell): 0.6} | {("generation_rival", f"{cell}_{name}"): start for name, start in kinds.items()}
        for (stage, name), start in sets.items():
            kind, _, number = name.removeprefix(f"{cell}_").partition("_")
            if stage == "generation_rival":
                said[stage, name] = {"kind": kind, "of": cell, "label": name} | ({"members": float(number)} if number else {})
            for seed in seeds:
                source = Source("planted", stage, name, seed)
                for metric in ("accuracy", "val_accuracy"):
                    rows += [
                        source.row(metric, start + (0.95 - start) * n / 3 + rng.normal(0, 0.01), subject=network, at=epoch)
                        for n, epoch in enumerate(EPOCHS)
                        for network in range(networks)
                    ]
    return joined(rows, said)


def texts(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_each_cell_has_a_panel_and_each_kind_of_rival_a_line():
    figure = plot_fine_tuning(rows_of())
    assert [axes.get_title(loc="left").splitlines() for axes in figure.axes] == [
        ["cell one (4 networks × 2 seeds)", "soup 16"], ["cell other (4 networks × 2 seeds)", "soup 16"]
    ]  # fmt: skip
    assert texts(figure) == ["generated", "anchors", "scratch", "soup"]
    starts = {round(float(line.get_ydata()[0]), 1) for line in figure.axes[1].lines if len(line.get_ydata())}
    assert starts == {0.6, 0.9, 0.1, 0.5}  # of soups the one that is best by val images


def test_the_rival_that_is_shown_is_chosen_by_val_images_and_not_by_test_images():
    rows = rows_of(["one"])
    worse = (rows["cell"] == "one_soup_16") & (rows["metric"] == "val_accuracy")
    rows.loc[worse, "value"] = 0.0
    figure = plot_fine_tuning(rows)
    assert "soup 2" in figure.axes[0].get_title(loc="left")


@pytest.mark.parametrize("rows", [rows_of(["one"], (0,), 1), rows_of(["one"], kinds={})], ids=["one network", "no rivals"])
def test_little_is_drawn_too(rows):
    assert len(draw(figure_named("generation_fine_tuning"), rows).axes) == 1


def test_without_generated_networks_there_is_no_figure():
    rows = rows_of(["one"])
    with pytest.raises(InputError, match="no rows of the stage generation"):
        plot_fine_tuning(rows[rows["stage"] == "generation_rival"])
