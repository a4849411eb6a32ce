"""The figures of the plane and of distances show what their rows say, ask a question, and stand with few networks too."""

import numpy as np
import pytest
from tables import joined
from weightspace.generation.figures.distances import plot_generation_distances
from weightspace.generation.figures.plane import plot_generation_plane
from weightspace.generation.over_runs import MEASURED, Measured
from weightspace.table import Source

AXES = ("similarity", "accuracy_judged")  # across, up
pytestmark = pytest.mark.slow
SETS = {  # kind, distance, similarity, accuracy
    "kde": ("samples", 1.0, 0.93, 0.92),
    "kde_anchors": ("anchors", 0.0, 1.0, 0.94),
    "kde_noise": ("noise", 1.9, 0.41, 0.88),
    "kde_soup": ("soup", 5.0, 0.3, 0.8),
    "kde_flow": ("flow", 6.0, 0.23, 0.7),
    "kde_scratch": ("scratch", 9.5, 0.52, 0.93),
}


def network_rows(source, num, numbers, of=""):
    rng = np.random.default_rng(num)
    distance, similarity, accuracy = (each * (1 + 0.02 * rng.normal(size=num)) for each in numbers)
    measured = Measured(
        np.arange(num, dtype=float), distance, similarity, accuracy, similarity, accuracy, np.full(max(1, num // 10), 0.03)
    )
    values = zip(MEASURED.values(), MEASURED, strict=True)
    return [
        source.row(metric + of, value, subject=n) for metric, field in values for n, value in enumerate(getattr(measured, field))
    ]


def planted(num=30, seeds=(0, 1), sets=SETS):
    rows, about = [], {}
    for seed in seeds:
        for cell, (kind, *numbers) in sets.items():
            source = Source("planted", "generation" if kind == "samples" else "generation_rival", cell, seed)
            about[source.stage, cell] = {"kind": kind, "of": "kde", "label": cell.replace("_", " ")}
            rows += network_rows(source, num, numbers)
        rows += network_rows(Source("planted", "generation", "kde", seed), num + 1, (9.5, 0.52, 0.93), "_held_out")
    return joined(rows, about)


def mean_of(rows, cell, metric):
    return rows[(rows["cell"] == cell) & (rows["metric"] == metric)]["value"].mean()


def test_the_plane_has_each_set_at_its_means_and_the_front_of_noise():
    rows = planted()
    (axes,) = plot_generation_plane(rows).axes
    shown = {container.get_label(): container.lines[0].get_xydata()[0] for container in axes.containers}
    for name, cell, of in (
        ("generated networks", "kde", ""),
        ("held-out networks", "kde", "_held_out"),
        ("soups", "kde_soup", ""),
    ):
        expected = [mean_of(rows, cell, f"{metric}{of}") for metric in ("similarity", "accuracy_judged")]
        np.testing.assert_allclose(shown[name], expected)
    front = {line.get_label(): line.get_xydata() for line in axes.lines}["front of noise"]
    expected = [
        [mean_of(rows, cell, metric) for metric in ("similarity", "accuracy_judged")] for cell in ("kde_noise", "kde_anchors")
    ]
    np.testing.assert_allclose(front, expected)
    assert axes.get_title(loc="left") == "kde: better than noise that is as new?\ncopy"


def test_distances_have_a_row_per_set_with_its_median_and_its_share():
    rows = planted(seeds=(0,))
    (axes,) = plot_generation_distances(rows).axes
    assert axes.get_title(loc="left").endswith("?")
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "held-out networks",
        *(cell.replace("_", " ") for cell in SETS),
    ]
    medians = [line.get_xydata()[0] for line in axes.lines if len(line.get_xydata()) == 1]
    for place, cell in enumerate(SETS, 1):
        own = rows[(rows["cell"] == cell) & (rows["metric"] == "distance_train")]["value"]
        np.testing.assert_allclose(medians[place], [own.median(), place])
    told = [text.get_text() for text in axes.texts]
    assert told[0] == "0.00 [0.00, 0.00]  copy"
    assert told[-1] == "U/(mn) and verdict"


def test_few_networks_and_no_rivals_can_be_drawn():
    for rows in (planted(num=1, seeds=(0,)), planted(sets={"kde": SETS["kde"]})):
        assert plot_generation_plane(rows).axes[0].get_title(loc="left").startswith("kde: ")
        assert plot_generation_distances(rows).axes
