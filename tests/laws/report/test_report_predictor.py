"""Laws of what the report makes of predictors: what stands for the same originals, means, fronts, spectra, kernels, figures."""

import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from tables import drawn, joined
from weightspace.errors import InputError
from weightspace.predictor.figures.error import plot_predictor_error
from weightspace.predictor.figures.kernels import ROWS, plot_predictor_kernels, scaled_kernels, spread_kernels, strip_of
from weightspace.predictor.figures.points import MOST_PANELS, Point, side_by_side
from weightspace.predictor.figures.rate import front_of, plot_predictor_rate
from weightspace.predictor.figures.rounds import plot_predictor_rounds
from weightspace.predictor.figures.select import (
    KINDS,
    entries_with,
    entry_of,
    gain_of,
    grouped_by_originals,
    point_label,
    shared_label,
    short_labels,
)
from weightspace.predictor.figures.spectra import panels_of, plot_predictor_spectra
from weightspace.predictor.metrics import KERNELS_SCHEMA, SPECTRA_SCHEMA
from weightspace.report.intervals import Interval
from weightspace.report.registry import metric_named
from weightspace.report.select import value_matrix
from weightspace.report.style import write_figure
from weightspace.table import SCHEMA, Source

BYTES = {"digits": 24_000.0, "cifar10": 1_090_000.0}  # of originals
SIZES = {"h16": 0.11, "h24": 0.2, "h32": 0.33, "h48": 0.62}  # share of bytes, by the end of a predictor's name
CONTROLS = {  # share of bytes, error and gain
    "quantized_8": (0.25, 0.004, -0.0005),
    "quantized_6": (0.19, 0.02, -0.002),
    "quantized_4": (0.13, 0.09, -0.02),
    "quantized_3": (0.1, 0.2, -0.1),
    "quantized_2": (0.07, 0.5, -0.6),
    "pruned_50": (0.5, 0.1, -0.001),
    "pruned_25": (0.27, 0.35, -0.03),
    "pruned_10": (0.12, 0.6, -0.3),
    "low_rank_50": (0.55, 0.2, -0.015),
    "low_rank_25": (0.3, 0.4, -0.15),
    "averaged": (1.0, 0.03, 0.001),
}
MATCHED = {"noise": -0.04, "truncated": -0.015, "shrunk": -0.001, "low_pass": -0.03, "small": -0.012}
METRICS_PLOTS = [plot_predictor_rate, plot_predictor_error, plot_predictor_rounds]


NUMBERS = {"quantized": "bits", "pruned": "kept_share", "low_rank": "kept_share"}


def cell_of(predictor, control):
    """What the table of cells says of a control."""
    kind = next(kind for kind in KINDS if control.startswith(kind))
    number = control.removeprefix(kind).strip("_")
    numbers = {NUMBERS[kind]: float(number) / (1 if kind == "quantized" else 100)} if number else {}
    return {"kind": kind, "of": predictor} | numbers


def about(cells):
    """What the table of cells says of predictors: originals are named by the first word."""
    return {("predictor", cell): {"of": cell.split("_")[0]} for cell in cells}


def rows_of(stage, cell, seed, originals, means, rng, rounds=1):
    """One job's rows; `means` are the share of bytes, the error and the gain."""
    task = cell.split("_")[0]
    share, error, gain = means
    source = Source("planted", stage, cell, seed)
    rows = []
    for n in range(originals):
        accuracy = 0.9 + 0.01 * np.sin(n + len(task))
        smooth = rng.uniform(0.95, 1.05)
        values = {"accuracy_original": accuracy, "bytes_original": BYTES[task], "bytes": share * BYTES[task] * smooth}
        for t in range(1, rounds + 1):
            gained = gain + 0.002 * (t - 1) + 0.003 * rng.standard_normal()
            own = {"accuracy_gain": gained, "relative_error": error * t**0.5 * smooth}
            own |= {"stable_rank_predicted": 5 * 0.9**t * smooth, "high_frequency_share_ordered_predicted": 0.3 * 0.8**t * smooth}
            values |= own
            rows += [source.row(name, value, subject=n, at=t) for name, value in own.items() if rounds > 1]
        values |= {"stable_rank_original": 5.0, "high_frequency_share_ordered_original": 0.3}
        values["accuracy_predicted"] = accuracy + values["accuracy_gain"]
        rows += [source.row(name, value, subject=n) for name, value in values.items()]
    return rows


def planted_metrics(predictors=("digits_h16", "digits_h24", "digits_h32", "digits_h48"), originals=5, seeds=(0, 1, 2), **kinds):
    """Predictors by name, with the controls in `kinds`: `controls` of the last, `matched` of each, and `rounds`."""
    rng, rows, cells = np.random.default_rng(0), [], about(predictors)
    for cell in predictors:
        share = next((share for end, share in SIZES.items() if end in cell.split("_")), 0.4)
        means = share, 0.3 * (0.1 / share), -0.002 / share**2 + 0.007
        for seed in seeds:
            rows += rows_of("predictor", cell, seed, originals, means, rng, kinds.get("rounds", 1))
        controls = {name: CONTROLS[name] for name in kinds.get("controls", ()) if cell == predictors[-1]}
        controls |= {name: (share, means[1], MATCHED[name] / share) for name in kinds.get("matched", ())}
        for name, control in controls.items():
            rows += rows_of("predictor_control", f"{cell}_{name}", seeds[0], originals, control, rng)
            cells["predictor_control", f"{cell}_{name}"] = cell_of(cell, name)
    return joined(rows, cells)


def with_recalibrated(table, task="cifar10"):
    """The table, and for a task half the gain with batch norms recalibrated, by which the originals gain a fifth of a point."""
    own = table[table["cell"].str.startswith(task)]
    gains = own[own["metric"] == "accuracy_gain"]
    originals = own[own["metric"] == "accuracy_original"]
    added = [
        gains.assign(metric="accuracy_gain_recalibrated", value=gains["value"] / 2),
        originals.assign(metric="accuracy_original_recalibrated", value=originals["value"] + 0.002),
    ]
    return pd.concat([table, *added], ignore_index=True)


def planted_spectra(cells=("digits_h16", "digits_h32"), layers=3, values=12):
    """Falling singular values by cell and layer; the predicted ones fall faster."""
    rows = []
    for number, cell in enumerate(cells):
        for seed in (3, 4):
            for layer in range(layers):
                original = 4.0 * (1 + layer) * np.exp(-np.arange(values) / 6.0) + len(cell.split("_")[0]) / 10
                predicted = original * np.exp(-np.arange(values) * (0.3 - 0.1 * number)) + (seed - 3)
                row = {"scenario": "planted", "stage": "predictor", "cell": cell, "seed": seed, "layer": f"conv{layer}.weight"}
                rows.append(row | {"original": original.tolist(), "predicted": predicted.tolist()})
    return joined(pa.Table.from_pylist(rows, schema=SPECTRA_SCHEMA).to_pandas(), about(cells))


def planted_kernels(cells=("digits_h16", "digits_h32"), layers=(5, 3, 3), number=8):
    """Kernels by cell and the sides of its layers."""
    rng, rows = np.random.default_rng(0), []
    for cell in cells:
        for layer, side in enumerate(layers):
            for n in range(number):
                original = rng.standard_normal(side * side) / (1 + layer)
                predicted = 0.8 * original + 0.1 * rng.standard_normal(side * side)
                row = {
                    "scenario": "planted",
                    "stage": "predictor",
                    "cell": cell,
                    "seed": 0,
                    "layer": f"conv{layer}.weight",
                    "side": side,
                }
                row |= {"filter": n // 4, "channel": n % 4, "original": original.tolist(), "predicted": predicted.tolist()}
                rows.append(row)
    return joined(pa.Table.from_pylist(rows, schema=KERNELS_SCHEMA).to_pandas(), about(cells))


def errorbars(axes):
    """Means (x, y) of all markers with intervals in an axes, by label, and their bars' ends."""
    found = {}
    for container in axes.containers:
        bars = [segment for collection in container.lines[2] for segment in collection.get_segments()]
        found.setdefault(container.get_label(), []).append((container.lines[0].get_xydata(), np.concatenate(bars)))
    return found


@pytest.fixture(scope="module")
def rich():
    """Four sizes of predictors of one set of originals with every control, and two predictors of another."""
    others = planted_metrics(("cifar10_h16", "cifar10_h48"), controls=["quantized_8", "quantized_4"], matched=["noise", "small"])
    return pd.concat([planted_metrics(controls=CONTROLS, matched=MATCHED), others])


@pytest.fixture(scope="module")
def rich_figures(rich):
    return {plot: plot(rich) for plot in (plot_predictor_rate, plot_predictor_error)}


# ---- selections


def test_every_planted_metric_is_known():
    for name in planted_metrics(originals=1, rounds=2)["metric"].unique():
        metric_named(name)


def test_an_entry_is_what_the_table_of_cells_says_and_not_what_a_name_looks_like():
    rows = rows_of("predictor_control", "digits_noise_2_small", 0, 1, (0.1, 0.1, 0.0), np.random.default_rng(0))
    table = joined(rows, {("predictor_control", "digits_noise_2_small"): {"kind": "pruned", "of": "x", "kept_share": 0.25}})
    assert entry_of(table, "digits_noise_2_small") == ("digits_noise_2_small", "x", "pruned", "25 %")


@pytest.mark.slow
def test_only_cells_that_have_all_metrics_are_taken_predictors_first(rich):
    lacking = rich[(rich["cell"] != "digits_h24") | (rich["metric"] != "bytes")]
    both, one = (entries_with(lacking, *names) for names in (("bytes", "accuracy_gain"), ("accuracy_gain",)))
    assert {entry.cell for entry in one} - {entry.cell for entry in both} == {"digits_h24"}
    kinds = [entry.kind == "predicted" for entry in one]
    assert kinds == sorted(kinds, reverse=True)


def test_a_set_of_originals_is_named_by_what_its_predictors_share():
    assert shared_label(["CIFAR-10 r20 h16", "CIFAR-10 r20 h32"]) == "CIFAR-10 r20"
    assert shared_label(["rounds"]) == "rounds"
    assert shared_label(["rounds", "joint h16", "other"]) == "rounds and 2 more"


def test_cells_of_the_same_originals_are_one_group_and_originals_of_like_accuracy_are_not(rich):
    alike = rich.assign(value=rich["value"].mask(rich["metric"] == "accuracy_original", 0.9))
    groups = grouped_by_originals(alike, entries_with(alike, "bytes"))
    assert [{entry.predictor.split("_")[0] for entry in group.entries} for group in groups] == [{"digits"}, {"cifar10"}]
    assert [group.label for group in groups] == ["digits", "cifar10"]


def test_predictors_are_told_apart_by_the_words_they_do_not_share():
    table = planted_metrics(("digits_h16", "digits_h32", "digits_h32_order_none"), 1, (0,), controls=["quantized_8", "averaged"])
    group = grouped_by_originals(table, entries_with(table, "bytes"))[0]
    short = short_labels(table, group)
    assert [point_label(entry, short) for entry in group.entries] == ["h16", "h32", "h32 order none", "8 bit", ""]
    assert short_labels(table, group._replace(entries=group.entries[:1])) == {}


def test_values_are_in_the_order_of_originals_and_holes_are_refused():
    table = planted_metrics(("digits_h16",), 12)
    entry = entries_with(table)[0]
    rows = table[table["metric"] == "bytes"]
    expected = [
        [rows[(rows["seed"] == seed) & (rows["subject"] == str(n))]["value"].item() for n in range(12)] for seed in range(3)
    ]
    assert value_matrix(table.sample(frac=1, random_state=0), entry.cell, "bytes").to_numpy().tolist() == expected
    hole = (table["metric"] == "bytes") & (table["seed"] == 1) & (table["subject"] == "3")
    with pytest.raises(InputError, match="cell digits_h16: not every seed has bytes of the same models"):
        value_matrix(table[~hole], entry.cell, "bytes")


def test_the_gain_is_that_of_predicted_over_original_accuracy(rich):
    entry = entries_with(rich)[0]
    difference = value_matrix(rich, entry.cell, "accuracy_predicted") - value_matrix(rich, entry.cell, "accuracy_original")
    assert gain_of(rich, entry).mean == pytest.approx(difference.to_numpy().mean())


# ---- rate and error


def point(share, gain):
    return Point(Interval(share, share, share, ""), Interval(gain, gain, gain, ""), "predicted", "")


def test_the_front_is_what_a_slow_search_for_unbeaten_points_finds():
    rng = np.random.default_rng(0)
    for _ in range(20):
        places = [(1.0, 0.0), *zip(rng.uniform(0.05, 1.2, 12), rng.normal(-0.01, 0.02, 12), strict=True)]
        beaten = [any(a[0] <= b[0] and a[1] >= b[1] and a != b for a in places) for b in places]
        slow = sorted(place for place, worse in zip(places, beaten, strict=True) if not worse)
        assert front_of([point(*place) for place in places[1:]]).tolist() == [list(place) for place in slow]


def test_points_of_a_kind_at_one_place_are_moved_apart_about_it_and_others_stay():
    points = [point(0.3, n) for n in range(3)] + [
        point(0.31, 3),
        point(0.1, 4),
        point(0.9, 5),
        point(0.3, 6)._replace(kind="small"),
    ]
    moved = side_by_side(points, 0.04)
    near, far = ([place.across.mean for place in part] for part in (moved[:4], moved[4:]))
    assert np.diff(np.log(near)) == pytest.approx([0.04] * 3)
    assert np.log(near).mean() == pytest.approx(np.log([0.3, 0.3, 0.3, 0.31]).mean())
    assert far == pytest.approx([0.1, 0.9, 0.3])
    assert [place.gain for place in moved] == [place.gain for place in points]


@pytest.mark.slow
@pytest.mark.parametrize(("plot", "across", "over"), [
    (plot_predictor_rate, "bytes", "bytes_original"),
    (plot_predictor_error, "relative_error", None),
])  # fmt: skip
def test_points_are_drawn_at_the_means_of_the_table_and_within_their_bars(rich, rich_figures, plot, across, over):
    found = errorbars(rich_figures[plot].axes[0])
    rows = rich[rich["cell"].str.startswith("digits") & (rich["stage"] == "predictor")]
    means = rows[rows["at"].isna()].groupby(["metric", "cell"])["value"].mean()
    expected = means[across] / (means[over] if over else 1)
    drawn_at = np.concatenate([place for place, _ in found["predictor"]])
    drawn_at, expected = (
        places[places[:, 0].argsort()] for places in (drawn_at, np.stack([expected, means["accuracy_gain"]], 1))
    )
    assert drawn_at == pytest.approx(expected)
    for (place,), ends in (pair for series in found.values() for pair in series):
        assert (ends.min(0) <= place).all()
        assert (place <= ends.max(0)).all()


@pytest.mark.slow
@pytest.mark.parametrize("plot", [plot_predictor_rate, plot_predictor_error])
def test_nothing_that_is_drawn_or_written_is_outside_the_axes(rich_figures, plot):
    figure = rich_figures[plot]
    text = drawn(figure)
    assert "5 originals × 3 seeds, controls 1 seed" in text
    assert "95 % bootstrap intervals" in text
    for axes in figure.axes:
        low, high = np.transpose([axes.get_xlim(), axes.get_ylim()])
        ends = np.concatenate([ends for series in errorbars(axes).values() for _, ends in series])
        assert ((low <= ends) & (ends <= high)).all()
        frame = axes.get_window_extent()
        boxes = [label.get_window_extent() for label in axes.texts if label.get_text()]
        assert all(frame.padded(1).contains(*corner) for box in boxes for corner in (box.min, box.max))
        assert not any(a.overlaps(b) for n, a in enumerate(boxes) for b in boxes[:n])


@pytest.mark.slow
def test_the_rate_figure_names_predictors_and_numbers_of_controls(rich_figures):
    figure = rich_figures[plot_predictor_rate]
    written = {label.get_text() for label in figure.axes[0].texts}
    assert written >= {*SIZES, "8 bit", "2 bit", "10 %", "50 %"}
    text = drawn(figure)
    assert all(KINDS[kind] in text for kind in ("quantized", "pruned", "low_rank", "small", "averaged"))
    assert KINDS["noise"] not in text


@pytest.mark.slow
def test_the_bytes_above_are_the_shares_below(rich_figures):
    figure = rich_figures[plot_predictor_rate]
    drawn(figure)
    for axes, original in zip(figure.axes, BYTES.values(), strict=True):
        (top,) = axes.child_axes
        assert np.array(top.get_xlim()) * 1000 == pytest.approx(np.array(axes.get_xlim()) * original)


@pytest.mark.slow
def test_an_error_of_zero_and_a_gain_beyond_ten_points_are_drawn(rich):
    zero = (rich["cell"] == "digits_h48_averaged") & (rich["metric"] == "relative_error")
    figure = plot_predictor_error(rich.assign(value=rich["value"].mask(zero, 0.0)))
    ((place, _),) = errorbars(figure.axes[0])[KINDS["averaged"]]
    assert figure.axes[0].transAxes.inverted().transform(figure.axes[0].transData.transform(place)).min() > 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [6, 7])
def test_of_more_predictors_than_can_be_named_those_with_a_control_or_an_error_of_their_own_are(number):
    sizes = planted_metrics(matched=["noise"])
    alike = planted_metrics(tuple(f"digits_h24_way_{n}" for n in range(number)))
    figure = plot_predictor_error(pd.concat([sizes, alike]))
    found, (axes,) = errorbars(figure.axes[0]), figure.axes
    assert len(found["predictor"]) == (10 if number == 6 else 4)
    assert len(found.get("other predictors", [])) == (0 if number == 6 else 7)
    assert len([label for label in axes.texts if label.get_text()]) == len(found["predictor"])
    assert ("without a control" in drawn(figure)) == (number == 7)
    without = pd.concat([sizes[sizes["stage"] == "predictor"], alike])
    assert len(errorbars(plot_predictor_error(without).axes[0])["predictor"]) == (10 if number == 6 else 3)


@pytest.mark.slow
def test_a_value_that_is_not_finite_is_counted_and_not_drawn(rich):
    broken = (rich["cell"] == "digits_h24") & (rich["metric"] == "accuracy_gain") & (rich["subject"] == "1")
    table = rich.assign(value=rich["value"].mask(broken))
    assert "5 originals × 3 seeds, controls 1 seed, 1 not finite" in drawn(plot_predictor_rate(table))


# ---- batch norm recalibrated, and sets of originals


def stars_of(axes):
    """Where stars stand in an axes, by label."""
    return {line.get_label(): line.get_xydata()[0].tolist() for line in axes.lines if line.get_marker() == "*"}


@pytest.mark.slow
def test_a_second_panel_shows_gains_of_recalibrated_networks_on_the_same_axes(rich):
    table = with_recalibrated(rich)
    figure = plot_predictor_error(table)
    plain, again, other = figure.axes
    titles = [axes.get_title("left").split(":")[0] for axes in figure.axes]
    assert titles == ["cifar10", "cifar10, batch norm recalibrated", "digits"]
    assert (plain.get_xlim(), plain.get_ylim()) == (again.get_xlim(), again.get_ylim())
    for name in ("predictor", KINDS["noise"]):
        before, after = (np.array([place for (place,), _ in errorbars(axes)[name]]) for axes in (plain, again))
        assert after == pytest.approx(before * [1, 0.5])
    assert stars_of(plain)["original"] == stars_of(other)["original"] == [0, 0]
    assert stars_of(again)["original, batch norm recalibrated"] == pytest.approx([0, 0.002])
    text = drawn(figure)
    assert "statistics measured anew" in text
    assert "original, batch norm recalibrated" in text
    assert "recalibrated" not in drawn(plot_predictor_error(rich))


@pytest.mark.slow
def test_recalibrated_panels_have_only_what_was_measured_recalibrated(rich):
    table = with_recalibrated(rich)
    lacking = (table["cell"] == "cifar10_h16") & (table["metric"] == "accuracy_gain_recalibrated")
    plain, again, _ = plot_predictor_error(table[~lacking]).axes
    assert [len(errorbars(axes)["predictor"]) for axes in (plain, again)] == [2, 1]


def many_sets(num):
    """Tables of one predictor each, of originals of their own."""
    table = planted_metrics(("cifar10_h16",), 2, (0,))
    return [table.assign(cell=f"set{n}_h16", of=f"set{n}", label=f"set{n} h16") for n in range(num)]


@pytest.mark.slow
@pytest.mark.parametrize("plot", [plot_predictor_rate, plot_predictor_error])
@pytest.mark.parametrize("sets", [1, 3, 8, 10])
def test_sets_of_originals_are_drawn_or_counted(plot, sets):
    figure = plot(pd.concat(many_sets(sets)))
    assert len(figure.axes) == min(sets, MOST_PANELS)
    assert (f"{sets - MOST_PANELS} of {sets} sets of originals are not drawn" in drawn(figure)) == (sets > MOST_PANELS)


@pytest.mark.slow
def test_pairs_of_panels_are_not_torn_where_sets_of_originals_are_left_out():
    tables = [with_recalibrated(table, "set") for table in many_sets(5)]
    figure = plot_predictor_error(pd.concat(tables))
    assert len(figure.axes) == MOST_PANELS == 8
    assert "1 of 5 sets of originals are not drawn" in drawn(figure)


# ---- rounds


@pytest.mark.slow
def test_rounds_are_drawn_at_their_means_relative_to_the_original():
    table = planted_metrics(("digits_h32", "digits_h48"), rounds=4)
    figure = plot_predictor_rounds(table)
    own = table[table["cell"] == "digits_h32"]
    means, originals = own.groupby(["metric", "at"])["value"].mean(), own[own["at"].isna()].groupby("metric")["value"].mean()
    over = {
        "stable_rank_predicted": "stable_rank_original",
        "high_frequency_share_ordered_predicted": "high_frequency_share_ordered_original",
    }
    names = ("accuracy_gain", "relative_error", *over)
    for axes, name in zip(figure.axes, names, strict=True):
        ((places, _),) = errorbars(axes)["digits h32: 5 originals × 3 seeds"]
        expected = [means[name, t] / originals.get(over.get(name), 1) for t in range(1, 5)]
        assert places[:, 1] == pytest.approx(expected)
        assert places[:, 0].round().tolist() == [1, 2, 3, 4]


@pytest.mark.slow
def test_what_rounds_lack_is_left_away_and_the_rest_is_drawn():
    table = planted_metrics(("digits_h32",), 1, (0,), rounds=2)
    without = table[~table["metric"].str.startswith("high_frequency")]
    assert len(plot_predictor_rounds(without).axes) == 3
    several = planted_metrics(tuple(f"digits_h{n}" for n in range(7)), 2, (0,), rounds=2)
    assert "The first 5 of 7 cells" in drawn(plot_predictor_rounds(several))


def test_a_single_round_leaves_a_figure_that_says_so():
    assert "no predictor here has more than one" in drawn(plot_predictor_rounds(planted_metrics(originals=1, seeds=(0,))))


# ---- spectra and kernels


def test_cells_of_one_original_share_panels_and_layers_reach_from_the_first_to_the_last():
    table = planted_spectra(("digits_h16", "digits_h32"), layers=9)
    panels = panels_of(table)
    assert [rows[0]["layer"] for rows in panels] == [f"conv{n}.weight" for n in (0, 2, 3, 5, 6, 8)]
    assert [[row["cell"] for row in rows] for rows in panels] == [["digits_h16", "digits_h32"]] * 6
    assert {row["seed"] for rows in panels for row in rows} == {3}
    two = panels_of(planted_spectra(("digits_h16", "cifar10_h16"), layers=9))
    assert [row["cell"] for rows in two for row in rows] == ["digits_h16"] * 3 + ["cifar10_h16"] * 3


@pytest.mark.slow
def test_spectra_are_drawn_as_they_are_in_the_table_down_to_a_floor():
    table = planted_spectra(layers=1)
    sunk = table.assign(predicted=[[*row[:-1], 0.0] for row in table["predicted"]])
    figure = plot_predictor_spectra(sunk)
    assert "n = 1" in drawn(figure)
    lines = figure.axes[0].lines
    first = sunk.iloc[0]
    assert lines[0].get_ydata() == pytest.approx(first["original"])
    assert lines[1].get_ydata() == pytest.approx([*first["predicted"][:-1], 1e-4 * max(first["original"])])


def test_kernels_have_one_scale_per_layer_and_the_difference_is_the_difference():
    rows = spread_kernels(planted_kernels(("digits_h16",), (3,)))
    for row, (original, predicted, difference) in zip(rows, scaled := scaled_kernels(rows), strict=True):
        assert difference == pytest.approx(predicted - original)
        assert original.ravel() / predicted.ravel() == pytest.approx(np.array(row["original"]) / row["predicted"], rel=1e-4)
    assert max(np.abs(triple[:2]).max() for triple in scaled) == 1


def test_a_strip_holds_every_kernel_once_in_three_rows():
    rows = spread_kernels(planted_kernels(("digits_h16",), (5, 3), 4))
    strip = strip_of(rows)
    bands = strip.image.reshape(3, 6, -1)
    for place, layer in enumerate(("conv0.weight", "conv1.weight")):
        name, first, last = strip.layers[place]
        shown = bands[:, :, int(first) : int(last) + 1]
        expected = np.stack(scaled_kernels([row for row in rows if row["layer"] == layer]), axis=1)
        assert name == layer
        for band, kernels in zip(shown, expected, strict=True):
            assert np.sort(band[np.isfinite(band)]) == pytest.approx(np.sort(kernels.ravel()))
    assert np.isfinite(strip.image).sum() == 3 * 4 * (25 + 9)


def test_the_kernels_shown_reach_from_the_first_to_the_last():
    table = planted_kernels(("digits_h16",), (3,) * 20, 2)
    rows = spread_kernels(table)
    assert len(rows) == 14
    assert [rows[place]["layer"] for place in (0, -1)] == ["conv0.weight", "conv19.weight"]


@pytest.mark.slow
def test_kernels_of_four_cells_are_drawn_on_one_scale_of_colors():
    cells = ("digits_h16", "digits_h24", "digits_h32", "digits_h48", "cifar10_h16")
    figure = plot_predictor_kernels(planted_kernels(cells))
    text = drawn(figure)
    assert [cell.replace("_", " ") in text for cell in cells] == [True] * 4 + [False]
    assert all(text.count(row) >= 4 for row in ROWS)
    images = [image for axes in figure.axes for image in axes.get_images()]
    assert [image.get_clim() for image in images] == [(-1, 1)] * 4


@pytest.mark.parametrize(("plot", "schema"), [
    (plot_predictor_spectra, SPECTRA_SCHEMA),
    (plot_predictor_kernels, KERNELS_SCHEMA),
    *((plot, SCHEMA) for plot in METRICS_PLOTS),
])  # fmt: skip
def test_an_empty_table_leaves_a_figure_that_says_so(plot, schema):
    assert re.search("no predictor (of this scenario|here) has", drawn(plot(joined(schema.empty_table().to_pandas()))))


@pytest.mark.slow
@pytest.mark.parametrize("plot", [plot_predictor_rate, plot_predictor_error])
def test_one_predictor_of_one_original_with_one_seed_is_drawn(plot):
    figure = plot(planted_metrics(("digits_h32",), 1, (0,)))
    assert "digits h32: 1 original × 1 seed" in drawn(figure)
    (series,) = errorbars(figure.axes[0]).values()
    assert len(series) == 1


@pytest.mark.slow
def test_the_same_tables_give_the_same_bytes(tmp_path):
    metrics, kernels = planted_metrics(("digits_h16", "digits_h32"), 2, (0,), controls=["quantized_8"]), planted_kernels()
    for run in "ab":
        write_figure(plot_predictor_rate(metrics), tmp_path / f"{run}0.pdf", tmp_path / f"{run}0.png")
        write_figure(plot_predictor_kernels(kernels), tmp_path / f"{run}1.pdf", tmp_path / f"{run}1.png")
    for name in ("0.pdf", "0.png", "1.pdf", "1.png"):
        assert (tmp_path / f"a{name}").read_bytes() == (tmp_path / f"b{name}").read_bytes()
