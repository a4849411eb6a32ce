"""Figures of probes and of embeddings: every feature and property that is measured is drawn, and nothing else."""

import numpy as np
import pyarrow as pa
import pytest
from tables import joined
from weightspace.autoencoder.embeddings import first_two
from weightspace.autoencoder.figures.embeddings import plot_embeddings
from weightspace.autoencoder.figures.probes import lines_of, plot_probes
from weightspace.autoencoder.metrics import EMBEDDINGS_SCHEMA
from weightspace.report.select import interval_of
from weightspace.table import Source

MODELS = 20
READ = {"small": ["embedding", "weight_statistics"], "large": ["embedding", "pca_sequence", "answers"]}


def probe_rows(targets=("test_accuracy", "init"), error=0.3):
    """Rows of two autoencoders that probe different features; tau of all that has an order."""
    rng, rows = np.random.default_rng(0), []
    for cell, names in READ.items():
        source = Source("planted", "autoencoder", cell, 0)
        values = {"weights_l2": rng.gamma(5, 1, MODELS)}
        for target in targets:
            values[f"probe_deviation_{target}"] = rng.gamma(5, 1 / 5, MODELS)
            values |= {f"probe_error_{target}_{name}": error * rng.gamma(5, 1 / 5, MODELS) for name in names}
            if target != "init":
                values |= {f"probe_tau_{target}_{name}": rng.uniform(0.4, 0.6, MODELS) for name in names}
        rows += [source.row(name, value, subject=n) for name, own in values.items() for n, value in enumerate(own)]
    return joined(rows)


def drawn_of(axes):
    """What each series of a panel draws: the places of its lines and their means."""
    return {bars.get_label(): bars[0].get_xydata() for bars in axes.containers}


def texts_of(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_each_autoencoder_has_a_line_for_its_name_and_one_for_each_of_its_features():
    lines = lines_of(probe_rows())
    assert [(line.cell, line.features) for line in lines] == [
        (cell, name) for cell, names in READ.items() for name in [None, *names]
    ]  # fmt: skip


@pytest.mark.slow
def test_each_line_shows_its_own_r2_and_tau_where_there_is_one():
    rows = probe_rows()
    figure, lines = plot_probes(rows), lines_of(rows)
    accuracy, init = figure.axes
    assert set(drawn_of(accuracy)) == {"R²", "Kendall's τ"}
    assert set(drawn_of(init)) == {"R²"}
    for axes, target in ((accuracy, "test_accuracy"), (init, "init")):
        read = [line for line in lines if line.features]
        means = [interval_of(rows, line.cell, f"probe_r2_{target}_{line.features}").mean for line in read]
        np.testing.assert_allclose(drawn_of(axes)["R²"][:, 0], means)
        assert drawn_of(axes)["R²"][:, 1].round().tolist() == [n for n, line in enumerate(lines) if line.features]
    assert [label.get_text() for label in accuracy.get_yticklabels()] == [
        "", "embedding", "weight statistics", "", "embedding", "PCA, as sequence", "answers",
    ]  # fmt: skip
    assert {"small  20 models × 1 seed", "large  20 models × 1 seed"} <= set(texts_of(figure))


def test_an_r2_far_below_0_is_written_and_not_drawn():
    figure = plot_probes(probe_rows(targets=("init",), error=8))
    assert drawn_of(figure.axes[0]) == {}
    assert sum(text.startswith("◂ -") for text in texts_of(figure)) == 5


def embedding_rows(cells=("one", "two"), accuracy=True, epochs=(1, 5), seeds=(3, 4)):
    rng, rows = np.random.default_rng(0), []
    for cell in cells:
        for seed in seeds:
            for encoder in ("trained", "untrained"):
                for model in range(MODELS):
                    for epoch in epochs:
                        x, y = rng.normal(size=2)
                        rows.append({
                            **Source("planted", "autoencoder", cell, seed)._asdict(), "encoder": encoder, "subject": str(model),
                            "at": epoch, "test_accuracy": rng.uniform() if accuracy else None, "x": x, "y": y,
                            "x_share": 0.7, "y_share": 0.2,
                        })  # fmt: skip
    return joined(pa.Table.from_pylist(rows, schema=EMBEDDINGS_SCHEMA).to_pandas()).assign(epoch=9)  # a number of some cells


def scattered(figure):
    return [axes.collections[0] for axes in figure.axes if len(axes.collections) and axes.get_xlabel().endswith("%")]


@pytest.mark.slow
def test_each_autoencoder_has_two_encoders_by_two_properties_of_its_first_seed():
    rows = embedding_rows()
    figure = plot_embeddings(rows)
    panels = scattered(figure)
    assert len(panels) == 2 * 4
    own = rows[(rows["cell"] == "one") & (rows["seed"] == 3) & (rows["encoder"] == "trained")]
    for panel, values in ((panels[0], 100 * own["test_accuracy"]), (panels[2], own["at"])):
        np.testing.assert_allclose(panel.get_offsets(), own[["x", "y"]])
        np.testing.assert_allclose(panel.get_array(), values)
    assert figure.axes[0].get_ylabel() == "one\n20 models, seed 3"


@pytest.mark.slow
@pytest.mark.parametrize(("changes", "panels"), [({"accuracy": False}, 2), ({"epochs": (5,)}, 2), ({"cells": "abcdef"}, 16)])
def test_what_is_unknown_or_constant_is_left_away_and_at_most_four_autoencoders_are_shown(changes, panels):
    assert len(scattered(plot_embeddings(embedding_rows(**{"cells": ("one",)} | changes)))) == panels


@pytest.mark.parametrize(
    "rows",
    [joined(EMBEDDINGS_SCHEMA.empty_table().to_pandas()), embedding_rows(accuracy=False, epochs=(5,))],
    ids=["no rows", "nothing known"],
)
def test_without_anything_to_color_the_figure_says_so(rows):
    figure = plot_embeddings(rows)
    assert figure.axes == []
    assert figure.texts[0].get_text().startswith("Embeddings: there are none")


@pytest.mark.parametrize("width", [1, 2, 6])
def test_two_numbers_of_embeddings_are_the_directions_of_most_variance(width):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(50, width)) * np.arange(1, width + 1) + 3
    places, shares = first_two(values)
    assert places.shape == (50, 2)
    variances = np.sort(np.linalg.eigvalsh(np.atleast_2d(np.cov(values.T, bias=True))))[::-1]
    expected = [*variances, 0][:2]
    np.testing.assert_allclose(places.var(0), expected, atol=1e-12)
    np.testing.assert_allclose(shares, np.array(expected) / variances.sum(), atol=1e-12)
    np.testing.assert_allclose(first_two(values[::-1])[0], places[::-1], atol=1e-9)  # signs do not hang on the order


def test_embeddings_that_are_all_equal_lie_at_one_place():
    places, shares = first_two(np.ones((5, 3)))
    assert not places.any()
    assert shares == [0, 0]
