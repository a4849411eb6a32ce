"""Laws of what comes after the measurements: one table, intervals, verdicts, figures, pages."""

import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from conftest import ROOT
from tables import joined, texts_of, write_cells
from weightspace.autoencoder.figures.collapse import plot_collapse
from weightspace.autoencoder.metrics import EMBEDDINGS_SCHEMA
from weightspace.autoencoder.metrics import METRICS as OF_AUTOENCODERS
from weightspace.errors import InputError
from weightspace.options import Options, read_scenario
from weightspace.report.claims import Region, judge_claims, read_claims, verdict
from weightspace.report.claims_table import plot_claims
from weightspace.report.collect import collect_metrics
from weightspace.report.draw import draw
from weightspace.report.intervals import Interval, mean_interval
from weightspace.report.pages import claims_page, timings_page, to_html, to_markdown
from weightspace.report.regenerate import Shown, regenerate, table_to_draw
from weightspace.report.registry import FIGURES, figure_named, metric_named
from weightspace.report.select import (
    Side,
    cells_of,
    choose,
    describe,
    has_metric,
    interval_of,
    is_reading,
    paired_interval,
    value_matrix,
)
from weightspace.report.style import write_figure
from weightspace.report.timings import tabulate_timings
from weightspace.table import SCHEMA, Source, read_metrics, write_metrics, write_table
from weightspace.zoo.figures.accuracy import num_diverged, plot_zoo_accuracy
from weightspace.zoo.metrics import METRICS as OF_ZOOS

METRICS = [*OF_ZOOS, *OF_AUTOENCODERS]
CLAIMS = ROOT / "config" / "claims.yaml"
CELLS = {  # of the planted table: reconstruction quality, and how much of it is a prototype
    "contrast_structure": (0.89, 0.1, 3),
    "contrast_structure_behavior_softmax": (0.965, 0.95, 3),
    "contrast_structure_behavior_logit": (0.94, 0.3, 3),
    "structure_behavior_softmax": (0.96, 0.95, 1),
    "behavior_softmax": (0.96, 1.0, 1),
    "contrast_structure_behavior_softmax_balanced": (0.93, 0.5, 3),
    "contrast_structure_behavior_logit_balanced": (0.93, 0.4, 3),
}
BASELINES = {"init_mean": (0.95, 0.9, 1), "pca": (0.9, 0.2, 1), "noise": (0.7, 0.0, 1)}
SAME_INIT = r"agreement_same_init.*|weights_deviation_within_init|retrieval_chance"
QUERIES = ("", "_mixed", "_noise")
TARGETS = ("test_accuracy", "generalization_gap", "epoch")


def planted_values(accuracy, prototype, models, rng):
    """One seed's metrics [model] of an autoencoder with the planted qualities."""
    original = 0.96 - 0.02 * rng.random(models)
    values = {
        "accuracy_original": original,
        "accuracy_reconstruction": np.clip(accuracy - (1 - prototype) * 0.05 * rng.random(models), 0, 1),
        "weights_squared_error": 1.1 * (0.1 + prototype) * rng.gamma(20, 1 / 20, models),
        "weights_deviation": 1.1 * rng.gamma(20, 1 / 20, models),
        "weights_deviation_within_init": 0.9 * rng.gamma(20, 1 / 20, models),
        "retrieval_chance": np.full(models, 4 / models),
        "weights_l2": 4 + 3 * prototype + rng.random(models),
        "weights_l2_unmasked": 6 + 3 * prototype + rng.random(models),
        "retrieval_weights": rng.random(models) > prototype,
        "diversity_original": 10 + rng.random(models),
        "diversity_reconstruction": (10 + rng.random(models)) * (1 - 0.6 * prototype),
        "diversity_outputs_original": 0.08 + 0.01 * rng.random(models),
        "diversity_outputs_reconstruction": (0.08 + 0.01 * rng.random(models)) * (1 - 0.9 * prototype),
    }
    for queries, level in zip(QUERIES, (0.93, 0.7, 0.4), strict=True):
        values[f"agreement_own{queries}"] = level + 0.05 * (1 - prototype) - 0.03 * rng.random(models)
        values[f"agreement_same_init{queries}"] = level + 0.02 * (1 - prototype) - 0.02 * rng.random(models)
        values[f"agreement_other{queries}"] = level - 0.03 * rng.random(models)
        values[f"agreement_originals{queries}"] = level - 0.03 * rng.random(models)
        values[f"retrieval_outputs{queries}"] = rng.random(models) > 0.4 + 0.6 * prototype
    return values


def planted_probes(prototype, models, rng):
    """One seed's squared errors and deviations [model] of probes."""
    means = {"embedding": 0.1 + 0.3 * prototype, "random_encoder": 0.45, "weight_statistics": 0.2}
    values = {f"deviation_{target}": rng.gamma(5, 1 / 5, models) for target in TARGETS}
    values |= {f"error_{t}_{name}": means[name] * rng.gamma(5, 1 / 5, models) for t in TARGETS for name in means}
    return {f"probe_{name}": column for name, column in values.items()}


def planted_metrics(models=40, steps=20, cells=CELLS, zoo_models=60, baselines=BASELINES):
    """Rows of a whole scenario with planted effects; one model of the zoo diverges."""
    rng = np.random.default_rng(0)
    zoo, rows = Source("planted", "zoo", "digits", 0), []
    for model in range(zoo_models):
        for epoch in (0, 1, 2, 4, 8, 14, 20):
            accuracy = np.nan if model == 3 and epoch > 4 else 0.1 + (0.8 + 0.06 * rng.random()) * (1 - np.exp(-epoch / 2))
            rows.append(zoo.row("test_accuracy", float(accuracy), subject=model, at=epoch))
            rows.append(zoo.row("train_accuracy", float(accuracy + 0.02), subject=model, at=epoch))
        rows.append(zoo.row("diverged", float(model == 3), subject=model))
    for cell, (accuracy, prototype, seeds) in cells.items():
        for seed in range(seeds):
            source = Source("planted", "autoencoder", cell, seed)
            for part, scale in (("total", 1.2), ("contrast", 3.0), ("structure", 1.0), ("behavior", 0.1 * ("behavior" in cell))):
                losses = scale * (0.1 + np.exp(-np.arange(steps) / 5) + 0.02 * rng.random(steps))
                rows += [
                    source.row(f"loss_{part}", float(loss), split="train", at=50 * step + 50) for step, loss in enumerate(losses)
                ]
            values = planted_values(accuracy + 0.004 * rng.standard_normal(), prototype, models, rng)
            code = {"code_numbers": np.full(models, 336.0)}
            rows += rows_of(source, {**values, **planted_probes(prototype, models, rng), **code})
    for cell, (accuracy, prototype, _) in baselines.items():
        code = {"code_numbers": np.full(models, 42.0)} if cell == "pca" else {}
        rows += rows_of(Source("planted", "baseline", cell, 0), planted_values(accuracy, prototype, models, rng) | code)
    return rows


def rows_of(source, columns):
    """One row per metric and model."""
    return [
        source.row(name, float(value), subject=100 + model)
        for name, values in columns.items()
        for model, value in enumerate(values)
    ]


@pytest.fixture(scope="module")
def metrics():
    return joined(planted_metrics())


# ---- one table


def test_collecting_keeps_every_row_in_the_order_of_the_files(tmp_path):
    rows = planted_metrics(models=3, steps=2, zoo_models=4)
    half = len(rows) // 2
    write_metrics(tmp_path / "b.parquet", rows[:half], METRICS)
    write_metrics(tmp_path / "a.parquet", rows[half:], METRICS)
    table = collect_metrics([tmp_path / "b.parquet", tmp_path / "a.parquet"])
    assert table.to_pandas().equals(pa.Table.from_pylist(rows, schema=SCHEMA).to_pandas())
    assert cells_of(table.to_pandas(), "autoencoder") == list(CELLS)
    assert cells_of(table.to_pandas(), "autoencoder", "baseline") == [*CELLS, *BASELINES]


def test_collecting_refuses_a_measurement_that_is_there_twice(tmp_path):
    row = Source("s", "zoo", "digits", 0).row("diverged", 0.0, subject=7)
    write_metrics(tmp_path / "a.parquet", [row], METRICS)
    write_metrics(tmp_path / "b.parquet", [{**row, "value": 1.0}], METRICS)
    with pytest.raises(InputError, match="subject '7', metric 'diverged'"):
        collect_metrics([tmp_path / "a.parquet", tmp_path / "b.parquet"])


# ---- selections


@pytest.mark.slow
def test_a_difference_takes_the_models_that_both_cells_have(metrics):
    fewer = metrics[(metrics["cell"] != "contrast_structure") | (metrics["subject"] != "105")]
    pair = [Side(cell, "agreement_own") for cell in ("contrast_structure_behavior_logit", "contrast_structure")]
    assert paired_interval(metrics, *pair).n == "40 models × 3 seeds"
    assert paired_interval(fewer, *pair).n == "39 models × 3 seeds"


def test_seeds_that_measured_different_models_are_an_error(metrics):
    rows = (metrics["cell"] == "contrast_structure") & (metrics["subject"] == "105") & (metrics["seed"] == 1)
    with pytest.raises(InputError, match="not every seed"):
        value_matrix(metrics[~rows], "contrast_structure", "agreement_own")


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("retrieval_weights", (0, 1)),
        ("retrieval_chance", (0, 1)),
        ("accuracy_reconstruction", (0, 1)),
        ("agreement_same_init_noise", (0, 1)),
        ("weights_r2_within_init", (-np.inf, 1)),
        ("weights_l2", (0, np.inf)),
        ("probe_r2_epoch_embedding", (-np.inf, 1)),
    ],
)
def test_an_interval_ends_where_the_values_of_its_metric_end(metrics, metric, expected):
    assert metric_named(metric).range == expected
    lowest, highest = expected
    for cell in CELLS:
        interval = interval_of(metrics, cell, metric)
        assert lowest <= interval.low <= interval.mean <= interval.high <= highest


def test_a_baseline_is_read_like_an_autoencoder_and_counts_no_seeds(metrics):
    assert describe(metrics, "pca", "accuracy_original") == interval_of(metrics, "pca", "weights_r2").n == "40 models"
    ours, theirs = (Side(cell, "agreement_own") for cell in ("contrast_structure", "pca"))
    assert paired_interval(metrics, ours, theirs).n == "40 models × 3 seeds"
    assert paired_interval(metrics, theirs, Side("pca", "agreement_other")).n == "40 models"


def test_a_name_of_an_autoencoder_and_of_a_baseline_is_an_error(metrics):
    with pytest.raises(InputError, match="stages autoencoder and baseline have that name"):
        interval_of(metrics.replace({"cell": {"pca": "behavior_softmax"}}), "behavior_softmax", "weights_r2")


# ---- claims


@pytest.mark.parametrize(
    ("low", "high", "rule", "expected"),
    [
        (0.1, 0.2, {"above": 0}, "reproduced"),
        (-0.2, -0.1, {"above": 0}, "not reproduced"),
        (-0.1, 0.2, {"above": 0}, "inconclusive"),
        (0.0, 0.0, {"above": 0}, "inconclusive"),
        (1.0, 1.0, {"above": 0.8}, "inconclusive"),
        (-0.2, -0.1, {"below": 0}, "reproduced"),
        (0.1, 0.2, {"below": 0}, "not reproduced"),
        (0.1, 0.2, {"within": [0.1, 0.2]}, "reproduced"),
        (0.3, 0.4, {"within": [0.1, 0.2]}, "not reproduced"),
        (0.0, 0.05, {"within": [0.1, 0.2]}, "not reproduced"),
        (float("-inf"), -0.1, {"above": 0}, "inconclusive"),
        (0.0, 0.3, {"within": [0.1, 0.2]}, "inconclusive"),
        (0.15, 0.3, {"within": [0.1, 0.2]}, "inconclusive"),
        (float("nan"), float("nan"), {"above": 0}, "inconclusive"),
    ],
)
def test_the_whole_interval_decides_the_verdict(low, high, rule, expected):
    region = Region.model_validate_json(pd.Series(rule).to_json())
    assert verdict(Interval((low + high) / 2, low, high, ""), region) == expected


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("models", [5, 74])
def test_where_nothing_varied_a_mean_decides_no_claim(seeds, models):
    assert verdict(mean_interval(np.ones((seeds, models))), Region(above=0.8)) == "inconclusive"


@pytest.mark.slow
def test_the_claims_file_names_cells_and_metrics_that_exist():
    full = read_scenario([ROOT / "config" / "scenarios"], Options(scenario="digits-full"))
    claims = [claim for claim in read_claims(CLAIMS) if claim.paper == "Meynent et al. 2025"]
    assert {cell for claim in claims for cell in (claim.cell, claim.minus or claim.cell)} <= set(full.autoencoders)
    assert all(metric_named(claim.metric) for claim in read_claims(CLAIMS))


def claims_on_planted_cells():
    return [claim for claim in read_claims(CLAIMS) if claim.cell in CELLS]


@pytest.mark.slow
def test_planted_effects_get_their_verdicts_and_claims_without_cells_are_left_out(metrics):
    claims = claims_on_planted_cells()
    verdicts = judge_claims(metrics, claims)
    found = dict(zip(verdicts.judged["id"].to_pylist(), verdicts.judged["verdict"].to_pylist(), strict=True))
    assert found["accuracy_behavior_helps"] == "reproduced"
    assert found["agreement_behavior_helps"] == "not reproduced"
    assert found["distance_behavior_helps"] == "not reproduced"
    fewer = judge_claims(metrics[metrics["cell"] != "behavior_softmax"], claims)
    assert sorted(fewer.left_out) == sorted(claim.id for claim in claims if claim.cell == "behavior_softmax")
    assert len(fewer.judged) + len(fewer.left_out) == len(claims)


@pytest.mark.slow
def test_one_seed_is_inconclusive_whatever_its_interval_and_the_pages_say_so(metrics):
    claims = claims_on_planted_cells()
    verdicts = judge_claims(metrics, claims)
    once = {cell for cell, (_, _, seeds) in CELLS.items() if seeds == 1}
    for claim, row in zip(claims, verdicts.judged.to_pylist(), strict=True):
        assert row["reading"] == bool({claim.cell, claim.minus} & once)
        decided = verdict(Interval(row["ours"], row["low"], row["high"], ""), claim.rule)
        assert row["verdict"] == ("inconclusive" if row["reading"] else decided)
    readings = sum(row["reading"] for row in verdicts.judged.to_pylist())
    assert to_markdown(claims_page(verdicts, "planted")).count("| inconclusive (too few vary: a reading) |") == readings > 0
    assert texts_of(plot_claims(verdicts.judged.to_pandas())).count("too few vary: a reading") == readings


def test_of_each_open_claim_that_is_no_reading_the_page_says_what_would_decide_it(metrics):
    verdicts = judge_claims(metrics, claims_on_planted_cells())
    rows = verdicts.judged.to_pylist()
    assert set(verdicts.needed) == {row["id"] for row in rows if row["verdict"] == "inconclusive" and not row["reading"]}
    text = to_markdown(claims_page(verdicts, "planted"))
    assert text.count("| inconclusive; would decide it: ") == len(verdicts.needed) > 0
    assert all(f"would decide it: {needed} |" in text for needed in verdicts.needed.values())
    numbers = [int(word) for needed in verdicts.needed.values() for word in needed.split() if word.isdigit()]
    assert all(number > 3 for number in numbers)


def test_one_model_is_a_reading_however_many_seeds_but_of_two_it_is_not(metrics):
    cell = "contrast_structure"
    for models, reading in ((["100"], True), (["100", "101"], False)):
        assert is_reading(metrics[metrics["subject"].isin(models)], cell, "agreement_own") is reading
    assert is_reading(metrics[metrics["seed"] == 0], cell, "probe_r2_epoch_embedding")


def test_an_r2_is_of_all_models_together_and_its_difference_to_another_is_paired(metrics):
    rows = metrics[(metrics["cell"] == "contrast_structure") & (metrics["split"] == "test")].groupby("metric")["value"].mean()
    names = [f"probe_r2_epoch_{features}" for features in ("embedding", "random_encoder")]
    expected = [1 - rows[f"probe_error_epoch_{name}"] / rows["probe_deviation_epoch"] for name in ("embedding", "random_encoder")]
    found = [interval_of(metrics, "contrast_structure", name) for name in names]
    assert [interval.mean for interval in found] == pytest.approx(expected)
    difference = paired_interval(metrics, *(Side("contrast_structure", name) for name in names))
    assert difference.mean == pytest.approx(expected[0] - expected[1])
    assert difference.low < difference.mean < difference.high
    other = paired_interval(metrics, *(Side(cell, names[0]) for cell in ("contrast_structure", "structure_behavior_softmax")))
    assert other.n == "40 models × 3 and 1 seeds"


def test_a_derived_metric_whose_parts_are_missing_is_named(metrics):
    bare = metrics[metrics["metric"] != "weights_deviation"]
    assert not has_metric(bare, "pca", "weights_r2")
    with pytest.raises(InputError, match="cell pca has no metric weights_deviation"):
        interval_of(bare, "pca", "weights_r2")


def test_a_baseline_needs_no_seeds_for_a_verdict(metrics):
    claim = read_claims(CLAIMS)[0].model_copy(update={"cell": "contrast_structure", "minus": "noise"})
    alone = claim.model_copy(update={"cell": "pca", "minus": None, "rule": Region(above=0.5)})
    assert judge_claims(metrics, [claim, alone]).judged["verdict"].to_pylist() == ["reproduced", "reproduced"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("kind: in kind", "kin: in kind", r"claims\.0\.kind: Field required"),
        ("rule: {above: 0}", "rule: {above: 0, below: 1}", "exactly one of above, below, within"),
        ("metric: accuracy_reconstruction", "metric: acuracy", "there is no metric 'acuracy'"),
        ("- id: accuracy_behavior_helps\n", "- id: agreement_behavior_helps\n", "is there twice"),
        ("    kind: in kind\n", "    kind: in kind\n    kind: number\n", "'kind' is there twice"),
        ("claims:", "claims: [", "not YAML"),
    ],
)
def test_a_wrong_claims_file_is_refused_with_its_path(tmp_path, old, new, message):
    text = CLAIMS.read_text()
    assert old in text
    (tmp_path / "claims.yaml").write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=message) as error:
        read_claims(tmp_path / "claims.yaml")
    assert str(tmp_path) in str(error.value)


@pytest.mark.slow
def test_pages_hold_every_claim_and_escape_what_they_quote(metrics):
    verdicts = judge_claims(metrics, read_claims(CLAIMS))
    page = claims_page(verdicts, "a|b<c>")
    assert to_markdown(page).count("\n| ") == len(verdicts.judged) + 2
    assert "a\\|b<c>" in to_markdown(page)
    assert to_html(page).count("<tr>") == len(verdicts.judged) + 1
    assert "<c>" not in to_html(page)


# ---- figures


OF_ALL = [figure for figure in FIGURES if figure.table == "metrics" and not figure.column]
DRAWN = [figure.name for figure in OF_ALL if figure.stage in ("zoo", "autoencoder")]


def plotted(name, rows, **shown):
    """What is written in a figure of the registry."""
    return texts_of(draw(figure_named(name), rows, **shown))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in DRAWN if name != "rate"])  # of cells that ask for it
def test_a_figure_shows_every_cell_that_is_in_the_table(metrics, name):
    text = plotted(name, metrics)
    words = set(re.findall(r"\w+", text.lower()))
    for cell in cells_of(metrics, figure_named(name).stage):
        assert set(cell.split("_")) <= words
    assert "95 %" in text or name == "losses"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["reconstruction", "collapse", "probes", "losses"])
def test_baselines_stand_beside_reconstructions_and_have_neither_probes_nor_losses(metrics, name):
    text = plotted(name, metrics)
    assert all((f"{cell.replace('_', ' ')} 40 models" in text) == (name in ("reconstruction", "collapse")) for cell in BASELINES)


@pytest.mark.slow
def test_what_a_zoo_without_shared_inits_lacks_is_left_away(metrics):
    bare = metrics[~metrics["metric"].str.fullmatch(SAME_INIT)]
    for name, label in (
        ("collapse", "others, same init"),
        ("collapse", "chance given the init"),
        ("reconstruction", ", within init"),
    ):
        label_ends = re.compile(rf"{label}(?! \(|[.,])")
        assert label_ends.search(plotted(name, metrics))
        assert not label_ends.search(plotted(name, bare))


OF_IMAGES = r".*accuracy.*|agreement.*|retrieval_outputs.*|diversity_outputs.*|generalization_gap|probe_.*"


def test_zoos_that_are_measured_once_are_rows_of_one_panel_beside_the_curves_of_others():
    rows = [row for row in planted_metrics(cells={}, baselines={}) if row["cell"] == "digits"]
    for cell, epoch in (("single", 40), ("several", 9)):
        source = Source("planted", "zoo", cell, 0)
        for model in range(1 if cell == "single" else 5):
            rows += [source.row(f"{images}_accuracy", 0.5 + model / 10, subject=model, at=epoch) for images in ("train", "test")]
            rows.append(source.row("diverged", float(model == 4), subject=model))
    curves, once = plot_zoo_accuracy(joined(rows)).axes
    assert "60 models, 1 diverged" in " ".join(text.get_text() for text in curves.texts)
    said = [label.get_text() for label in once.get_yticklabels()]
    assert [text.splitlines()[0] for text in said] == ["single, epoch 40", "several, epoch 9"]
    assert said[0].endswith("1 model: 50.0 %")
    assert "5 models, 1 diverged: 70.0 % [" in said[1]
    assert [float(line.get_xdata()[0]) for line in once.lines if len(line.get_xdata())] == [0.5, 0.5, 0.7, 0.7]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["collapse", "reconstruction", "zoo_accuracy", "probes"])
@pytest.mark.parametrize("everywhere", [True, False], ids=["all cells", "one of two zoos"])
def test_what_is_not_known_without_images_is_left_away(metrics, name, everywhere):
    """A table in which one autoencoder, or all, and their zoo have nothing that needs images."""
    lacking = metrics["cell"].isin(["contrast_structure"]) | everywhere
    bare = metrics[~(lacking & metrics["metric"].str.fullmatch(OF_IMAGES))]
    text = plotted(name, bare)
    whole = {"collapse": "not measured without images", "reconstruction": "not measured without images",
             "zoo_accuracy": "No accuracy", "probes": "No probes"}[name]  # fmt: skip
    assert (whole in text) == (everywhere or name == "reconstruction")
    assert name == "zoo_accuracy" or "contrast structure" in text or everywhere


@pytest.mark.slow
def test_the_figure_of_code_sizes_joins_cells_of_a_group_at_their_means_by_size(metrics):
    grouped = metrics.copy()
    own = grouped["cell"].isin(["contrast_structure", "pca"])
    grouped.loc[own, "group"] = "one way"
    figure = draw(figure_named("code_size"), grouped)
    for axes, metric in zip(figure.axes, ("agreement_own", "agreement_own_mixed", "accuracy_reconstruction"), strict=True):
        drawn = {bars.get_label().partition(" (")[0]: bars[0] for bars in axes.containers}
        assert {"init mean", "noise"}.isdisjoint(drawn)
        means = [interval_of(grouped, cell, metric).mean for cell in ("pca", "contrast_structure")]
        np.testing.assert_allclose(drawn["one way"].get_ydata(), means)
        np.testing.assert_allclose(drawn["one way"].get_xdata() / drawn["one way"].get_xdata()[0], [1, 8])


@pytest.mark.slow
@pytest.mark.parametrize("nothing", [None, np.nan])
def test_the_figure_of_code_sizes_names_cells_of_no_group_by_their_labels(metrics, nothing):
    assert "contrast structure behavior logit" in plotted("code_size", metrics.assign(group=nothing))


@pytest.mark.slow
def test_the_figure_of_code_sizes_says_how_many_cells_it_has_no_marker_for():
    many = {f"{cell}_{copy}": values for copy in "ab" for cell, values in CELLS.items()}
    text = plotted("code_size", joined(planted_metrics(models=4, steps=2, cells=many, zoo_models=4)))
    assert f"Left out: {len(many) + 1 - 10} more" in text


@pytest.mark.slow
def test_the_collapse_figure_grows_with_its_rows(metrics):
    more = {f"{cell}_{copy}": values for copy in "ab" for cell, values in CELLS.items()}
    tall = joined(planted_metrics(models=4, steps=2, cells=more, zoo_models=4))
    heights = [plot_collapse(table).get_figheight() for table in (metrics, tall)]
    assert heights[1] - heights[0] == pytest.approx(0.84 * len(CELLS))


def test_of_fewer_than_five_models_each_is_drawn_and_no_interval():
    source = Source("planted", "zoo", "few", 0)
    rows = [source.row("test_accuracy", 0.5 + model / 10, subject=model, at=9) for model in range(2)]
    (axes,) = plot_zoo_accuracy(joined(rows)).axes
    assert axes.get_yticklabels()[0].get_text() == "few, epoch 9\n2 models: 55.0 %"
    assert [line.get_xdata().tolist() for line in axes.lines[:2]] == [[0.5, 0.6], [0.55]]


def test_a_diverged_model_is_counted_once(metrics):
    assert num_diverged(metrics[metrics["stage"] == "zoo"]) == 1


@pytest.mark.slow
def test_the_same_table_gives_the_same_bytes(metrics, tmp_path):
    for run in "ab":
        write_figure(draw(figure_named("zoo_accuracy"), metrics), tmp_path / f"{run}.pdf", tmp_path / f"{run}.png")
    for suffix in ("pdf", "png"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


@pytest.mark.slow
def test_a_figure_shows_the_cells_that_it_is_told_to_in_that_order_and_under_their_labels(metrics):
    named = metrics.assign(label=metrics["label"].where(metrics["cell"] != "pca", "a linear code"))
    text = plotted("collapse", named, cells=["behavior_softmax", "pca", "contrast_structure"])
    assert all(label in text for label in ("contrast structure 40", "behavior softmax 40", "a linear code 40"))
    assert "noise 40 models" not in text
    assert list(dict.fromkeys(choose(metrics, ["pca", "contrast_structure"])["cell"])) == ["pca", "contrast_structure"]


@pytest.mark.slow
def test_a_figure_without_its_note_is_as_high_as_before_it_was_added(metrics):
    bare, noted = (draw(figure_named("collapse"), metrics, note=note) for note in (False, True))
    assert "Lines: mean agreement" in texts_of(noted)
    assert "Lines: mean agreement" not in texts_of(bare)
    assert bare.get_figheight() == pytest.approx(2 * (0.9 + 0.42 * (len(CELLS) + len(BASELINES))))


def test_what_stands_against_a_chosen_cell_is_shown_with_it():
    rows = [
        Source("s", stage, cell, 0).row("bytes", 1.0, subject=0)
        for stage, cell in (
            ("predictor", "a"),
            ("predictor", "b"),
            ("predictor_control", "a_noise"),
            ("predictor_control", "b_noise"),
        )
    ]
    table = joined(rows, {("predictor_control", f"{cell}_noise"): {"kind": "noise", "of": cell} for cell in "ab"})
    assert list(choose(table, ["b"])["cell"]) == ["b", "b_noise"]
    assert list(choose(table, ["b", "a"])["cell"]) == ["b", "b_noise", "a", "a_noise"]
    assert list(choose(table, None)["cell"]) == ["a", "b", "a_noise", "b_noise"]


@pytest.mark.slow
def test_the_report_imports_neither_torch_nor_snakemake():
    code = "import sys, weightspace.report.regenerate; sys.exit(bool({'torch', 'snakemake'} & set(sys.modules)))"
    path = str(ROOT / "workflow" / "scripts")
    assert (
        subprocess.run([sys.executable, "-c", f"import sys; sys.path.insert(0, {path!r}); {code}"], check=False).returncode == 0
    )


# ---- regenerate, timings


def write_run(folder, **planted):
    rows = planted_metrics(zoo_models=5, **planted)
    write_metrics(folder / "metrics.parquet", rows, METRICS)
    write_cells(folder / "cells.parquet", joined(rows))
    return folder / "metrics.parquet"


@pytest.mark.slow
def test_regenerating_needs_tables_alone(tmp_path):
    cells = {cell: CELLS[cell] for cell in ("contrast_structure", "behavior_softmax")}
    table = write_run(tmp_path, models=6, steps=3, cells=cells)
    write_table(tmp_path / "autoencoder_embeddings.parquet", EMBEDDINGS_SCHEMA.empty_table())
    assert str(table) in regenerate(table, CLAIMS, tmp_path, {"collapse": Shown(["pca"])})
    made = {path.name for path in tmp_path.rglob("*.*")}
    assert {f"{name}.{kind}" for name in (*DRAWN, "claims") for kind in ("pdf", "png", "html")} <= made
    assert "Left out" in (tmp_path / "claims.md").read_text()


@pytest.mark.slow
def test_one_figure_is_drawn_alone_and_a_strange_one_is_named(tmp_path):
    table = write_run(tmp_path, cells={}, baselines={})
    regenerate(table, CLAIMS, tmp_path, {}, ["zoo_accuracy"])
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.parquet", "cells.parquet", "figures"}
    assert {path.stem for path in tmp_path.glob("figures/*")} == {"zoo_accuracy"}
    with pytest.raises(InputError, match="there is no figure 'colapse' of this scenario, only zoo_accuracy, claims"):
        regenerate(table, CLAIMS, tmp_path, {}, ["colapse"])


@pytest.mark.slow
def test_a_scenario_of_zoos_alone_is_drawn(tmp_path):
    regenerate(write_run(tmp_path, cells={}, baselines={}), CLAIMS, tmp_path, {})
    assert {path.stem for path in tmp_path.glob("figures/*.pdf")} == {"zoo_accuracy", "claims"}
    assert len(read_metrics(tmp_path / "metrics.parquet"))


def test_the_run_comes_before_the_reference_and_neither_is_one_sentence(tmp_path):
    run, reference = tmp_path / "run.parquet", tmp_path / "reference.parquet"
    with pytest.raises(InputError, match=r"run\.parquet is missing.*snakemake --cores 2 --config scenario=digits"):
        table_to_draw(run, reference, "digits")
    reference.touch()
    assert table_to_draw(run, reference, "digits") == reference
    run.touch()
    assert table_to_draw(run, reference, "digits") == run


def test_timings_sum_over_the_jobs_of_a_rule(tmp_path):
    header = "s\th:m:s\tmax_rss\tmax_vms\n"
    for rule, job, seconds, memory in (("train", "a-0", 2.5, 300), ("train", "a-1", 4.0, "-"), ("fetch", "b", 1.0, 90)):
        (tmp_path / rule).mkdir(exist_ok=True)
        (tmp_path / rule / f"{job}.tsv").write_text(f"{header}{seconds}\t0:00:01\t{memory}\t1\n")
    timings = tabulate_timings(tmp_path).to_pandas().set_index("rule")
    assert list(timings.index) == ["train", "fetch"]
    assert timings.loc["train"].tolist() == [2, 6.5, 4.0, "a-1", 300.0]
    page = timings_page(timings.reset_index(), "planted")
    assert "3 jobs, 8 s" in to_markdown(page)


def test_timings_of_a_run_that_left_no_files_are_an_empty_table(tmp_path):
    assert len(tabulate_timings(tmp_path / "nowhere")) == 0
    assert "0 jobs" in to_markdown(timings_page(tabulate_timings(tmp_path).to_pandas(), "planted"))
