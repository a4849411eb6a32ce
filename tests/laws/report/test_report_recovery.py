"""Laws of what the report makes of recoveries: pooled cells, intervals over teachers, verdicts, trees of clusters, figures."""

import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from conftest import ROOT
from matplotlib.legend import Legend
from scipy.cluster.hierarchy import fcluster, linkage
from tables import drawn, joined, write_cells
from weightspace.errors import InputError
from weightspace.recovery.figures.clusters import plot_recovery_clusters, trees_of
from weightspace.recovery.figures.coverage import plot_recovery_coverage
from weightspace.recovery.figures.merges import count_at_cut, trunk_of
from weightspace.recovery.figures.neurons import angle_text, pair_of, plot_recovery_neurons, shown_cells, spread_units
from weightspace.recovery.figures.select import factor_of, geometric_interval, grouped, grouped_by_factor
from weightspace.recovery.figures.sizes import plot_recovery_sizes, points_of
from weightspace.recovery.figures.solved import bins_by_ease, plot_recovery_solved
from weightspace.recovery.metrics import MERGES_SCHEMA, METRICS, NEURONS_SCHEMA
from weightspace.report.claims import Region, judge_claims, read_claims
from weightspace.report.collect import collect_tables
from weightspace.report.draw import draw
from weightspace.report.names import number_with_interval
from weightspace.report.reference import keep_reference
from weightspace.report.regenerate import regenerate
from weightspace.report.registry import figure_named, figures_of, metric_named
from weightspace.report.select import Side, cells_named, interval_of, is_reading, paired_interval, value_matrix
from weightspace.table import SCHEMA, Source, read_table, write_metrics, write_table

CLAIMS = ROOT / "config" / "claims.yaml"
SWEPT = re.compile(r"_rho\d+$")
SOLVED = {1: 0.1, 2: 0.5, 4: 0.85, 8: 0.95}  # planted shares by expansion factor
KINDS = {"single": 0.1, "pruned": 0.0, "distilled": 0.05}  # planted shares of the baselines
METRICS_PLOTS = [plot_recovery_solved, plot_recovery_coverage, plot_recovery_sizes]
ALL_PLOTS = list(figures_of(["recovery"]))


def planted_values(factor, share, teachers, rng):
    """One seed's metrics [teacher] of a recovery or of a baseline (factor 1, with no students)."""
    ease = -12 * rng.random(teachers)
    solved = rng.random(teachers) < share + 0.3 * (0.5 + ease / 12) * (1 - abs(2 * share - 1))
    true = np.full(teachers, 8.0)
    recovered = np.where(solved, true, true + rng.integers(1, 3, teachers))
    error = 10 ** np.where(solved, -10 + rng.standard_normal(teachers), -2.5 + 0.5 * rng.standard_normal(teachers))
    values = {
        "expansion_factor": np.full(teachers, factor),
        "size_true": true,
        "size_student": factor * true,
        "size_recovered": recovered,
        "overhead": (recovered - true) / true,
        "identifiability": ease,
        "solved": solved,
        "output_deviation": 1 + rng.random(teachers),
        "rmse_train": error,
        "rmse_held_out": 1.1 * error,
        "rmse_student_best": 2 * error + 1e-6,
    }
    distance = np.where(solved, -13 + 3 * rng.random(teachers), -3 + 2.5 * rng.random(teachers))
    return values | {f"coverage_1e-{k}": 1 / (1 + np.exp(3 * (distance + k))) for k in range(1, 13)}


def about(cells, kinds=()):
    """What the table of cells says: recoveries whose names end in rho are of one grid."""
    said = {("recovery", cell): {"of": "teacher", "group": "synthetic" if SWEPT.search(cell) else None} for cell in cells}
    return said | {
        ("recovery_baseline", f"{cell}_{kind}"): {"kind": kind, "of": cell} for cell in cells for kind in kinds
    }  # fmt: skip


def planted_metrics(cells, teachers=10, seeds=(0,), kinds=KINDS):
    """Table of recoveries, `cells` with their expansion factors, and of their baselines."""
    rng, rows = np.random.default_rng(0), []
    for cell, factor in cells.items():
        for seed in seeds:
            jobs = {("recovery", cell): planted_values(factor, SOLVED.get(factor, 0.6), teachers, rng)}
            for kind, share in kinds.items():
                jobs["recovery_baseline", f"{cell}_{kind}"] = planted_values(1, share, teachers, rng) | {
                    "size_recovered": np.full(teachers, 8.0)
                }
            for (stage, name), values in jobs.items():
                source = Source("planted", stage, name, seed)
                rows += [source.row(key, float(x), subject=n) for key, column in values.items() for n, x in enumerate(column)]
    return joined(rows, about(cells, kinds))


def synthetic(problems, factors=(1, 2, 4, 8)):
    return {f"synthetic_p{n}_rho{factor}": factor for factor in factors for n in range(problems)}


def planted_merges(cells=("synthetic_rho4",), layers=1, students=10, units=8, width=16, spread=1e-3):
    """Merges of neurons of students, `units` of each the teacher's and the rest anything; cut where a slow count is largest."""
    rng, rows = np.random.default_rng(0), []
    for cell in cells:
        for layer in range(layers):
            teacher = rng.standard_normal((units, 5))
            copies = teacher + spread * rng.standard_normal((students, units, 5))
            rest = 3 * rng.standard_normal((students, width - units, 5))
            neurons = np.concatenate([copies, rest], axis=1).reshape(-1, 5)
            rows += merges_of(linkage(neurons, "average"), np.repeat(np.arange(students), width), students // 2, (cell, layer))
    return pa.Table.from_pylist(rows, schema=MERGES_SCHEMA)


def merges_of(tree, student, least, where):
    """Rows of one linkage; clusters of at least `least` distinct students count."""
    num = len(tree) + 1
    held = {n: {student[n]} for n in range(num)}
    found, counts, rows = set(), [], []
    for step, (left, right, height, members) in enumerate(tree):
        held[num + step] = held[left] | held[right]
        found -= {left, right}
        if len(held[num + step]) >= least:
            found.add(num + step)
        counts.append(len(found))
        sizes = {"height": height, "members": int(members), "students": len(held[num + step]), "count": counts[-1]}
        rows.append(
            {
                "scenario": "planted",
                "stage": "recovery",
                "least": least,
                "cell": where[0],
                "seed": 0,
                "layer": where[1],
                "step": step,
            }
            | sizes
        )
        rows[-1] |= {"left": int(left), "right": int(right), "num_neurons": num}
    last = max(np.flatnonzero(np.array(counts) == max(counts)))
    cut = tree[last, 2] if last + 1 == len(tree) else (tree[last, 2] + tree[last + 1, 2]) / 2
    return [row | {"cut": cut} for row in rows]


def planted_neurons(cells=None, units=20, missing=0):
    """Units of teachers by cell and shape of the weights; angles rise with the unit's number."""
    rng, rows = np.random.default_rng(0), []
    for cell, shape in (cells or {"digits_g": (1, 8, 8)}).items():
        for neuron in range(units):
            teacher = rng.standard_normal(int(np.prod(shape))) * np.hanning(np.prod(shape))
            lost = neuron >= units - missing
            near = teacher + 0.02 * (neuron + 1) * rng.standard_normal(teacher.size)
            row = {
                "scenario": "planted",
                "stage": "recovery",
                "cell": cell,
                "seed": 0,
                "subject": "0",
                "layer": 0,
                "neuron": neuron,
            }
            row |= {"angle_degrees": float("nan") if lost else float(neuron), "shape": list(shape), "teacher": teacher.tolist()}
            rows.append(row | {"recovered": None if lost else near.tolist()})
    return pa.Table.from_pylist(rows, schema=NEURONS_SCHEMA)


@pytest.fixture(scope="module")
def sixty():
    """60 cells of 15 problems with 10 teachers, one attack on each."""
    return planted_metrics(synthetic(15))


@pytest.fixture(scope="module")
def merges():
    return joined(planted_merges(("synthetic_rho4", "digits_g")).to_pandas())


# ---- names and tables


def test_every_metric_of_a_recovery_has_one_entry_and_strangers_have_none():
    names = set(planted_metrics({"a": 4}, teachers=1)["metric"])
    names |= {"rmse_shifted", "rmse_clustered", "rmse_student_median", "agreement", "agreement_shifted"}
    for name in names:
        assert [metric for metric in METRICS if metric.name == name] == [metric_named(name, "recovery")]
    for name in ("coverage_1e-0", "coverage_1e-13", "rmse", "size_", "angle_median_degrees", "agreement_"):
        with pytest.raises(InputError, match="there is no metric"):
            metric_named(name)


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("solved", (0, 1)),
        ("coverage_1e-12", (0, 1)),
        ("agreement", (0, 1)),
        ("size_right", (0, 1)),
        ("size_recovered", (0, np.inf)),
        ("rmse_student_best", (0, np.inf)),
        ("overhead", (-1, np.inf)),
        ("angle_max_degrees", (0, 180)),
        ("identifiability", (-np.inf, 0)),
    ],
)
def test_an_interval_of_a_recovery_ends_sourcethe_values_of_its_metric_end(metric, expected):
    assert metric_named(metric, "recovery").range == expected


@pytest.mark.parametrize(("make", "schema"), [(planted_merges, MERGES_SCHEMA), (planted_neurons, NEURONS_SCHEMA)])
def test_tables_of_recoveries_come_back_in_the_order_of_the_files_and_others_are_refused(tmp_path, make, schema):
    first, second = make().slice(0, 3), make().slice(3)
    for name, table in (("b", first), ("a", second)):
        write_table(tmp_path / name, table)
    assert collect_tables([tmp_path / "b", tmp_path / "a"], schema).equals(pa.concat_tables([first, second]))
    assert collect_tables([], schema).equals(schema.empty_table())
    write_table(tmp_path / "c", first.drop_columns(["layer"]))
    with pytest.raises(InputError, match=re.escape(f"{tmp_path / 'c'}: not a table with columns")):
        read_table(tmp_path / "c", schema)


# ---- pooled cells


@pytest.mark.slow
def test_a_pattern_pools_the_teachers_of_all_cells_that_match_and_no_others(sixty):
    values = value_matrix(sixty, "synthetic_*_rho4", "solved")
    rows = sixty[sixty["cell"].str.fullmatch(r"synthetic_p\d+_rho4") & (sixty["metric"] == "solved")]
    assert values.shape == (1, 150)
    assert {f"{row.cell}/{row.subject}": row.value for row in rows.itertuples()} == values.loc[0].to_dict()
    interval = interval_of(sixty, "synthetic_*_rho4", "solved")
    assert interval.mean == pytest.approx(rows["value"].mean())
    assert interval.n == "150 teachers × 1 seed"
    assert len(cells_named(sixty, "synthetic_p3_*")) == 16
    assert cells_named(sixty, "synthetic_p3_rho2") == ["synthetic_p3_rho2"]


def test_teachers_are_in_the_order_of_their_numbers():
    values = value_matrix(planted_metrics({"a": 4, "ab": 4}, teachers=12, kinds={}), "a*", "solved")
    assert list(values.columns[[0, 2, 11, 12]]) == ["a/0", "a/2", "a/11", "ab/0"]


def test_cells_of_a_pattern_must_have_the_metric_the_seeds_and_the_stage_in_common():
    table = planted_metrics({"a_x": 4, "a_y": 4}, seeds=(0, 1), kinds={})
    assert value_matrix(table, "a_*", "solved").shape == (2, 20)
    of_y = table["cell"] == "a_y"
    with pytest.raises(InputError, match="not every seed"):
        value_matrix(table[~of_y | (table["seed"] == 0)], "a_*", "solved")
    with pytest.raises(InputError, match="cell a_y has no metric solved"):
        value_matrix(table[~of_y | (table["metric"] != "solved")], "a_*", "solved")
    with pytest.raises(InputError, match="recovery and recovery_baseline have that name"):
        value_matrix(table.assign(stage=table["stage"].where(~of_y, "recovery_baseline")), "a_*", "solved")
    with pytest.raises(InputError, match=r"cell b_\* has no metric"):
        value_matrix(table, "b_*", "solved")


@pytest.mark.parametrize(("teachers", "seeds", "reading"), [(1, 1, True), (2, 2, True), (5, 1, False), (1, 5, True)])
def test_few_teachers_are_a_reading_however_often_they_are_attacked_and_five_are_not(teachers, seeds, reading):
    table = planted_metrics({"a": 4}, teachers, range(seeds))
    assert [is_reading(table, cell, "solved") for cell in ("a", "a*e", "a_single")] == [reading] * 3


def test_a_recovery_and_its_baseline_are_compared_teacher_by_teacher():
    table = planted_metrics({"a": 4}, 10, (0, 1))
    difference = paired_interval(table, Side("a", "solved"), Side("a_single", "solved"))
    means = [value_matrix(table, cell, "solved").to_numpy().mean() for cell in ("a", "a_single")]
    assert difference.mean == pytest.approx(means[0] - means[1])
    assert difference.n == "10 teachers × 2 seeds"


# ---- claims


def solved_claim(cell, threshold):
    claim = next(claim for claim in read_claims(CLAIMS) if claim.id == "synthetic_solved")
    return claim.model_copy(update={"cell": cell, "rule": Region(above=threshold)})


@pytest.mark.slow
def test_a_claim_on_a_pattern_is_decided_by_the_interval_over_all_teachers(sixty):
    patterns = ["synthetic_*_rho8", "synthetic_*_rho1", "synthetic_*_rho2", "nothing_*"]
    verdicts = judge_claims(sixty, [solved_claim(pattern, 0.8 if "rho2" not in pattern else 0.5) for pattern in patterns])
    rows = verdicts.judged.to_pylist()
    assert [row["verdict"] for row in rows] == ["reproduced", "not reproduced", "inconclusive"]
    assert [row["n"] for row in rows] == ["150 teachers × 1 seed"] * 3
    assert not any(row["reading"] for row in rows)
    assert verdicts.left_out == ["synthetic_solved"]


def test_a_claim_on_a_single_attack_is_inconclusive():
    table = planted_metrics({"mnist_g_256": 4}, teachers=1)
    rows = judge_claims(table, read_claims(CLAIMS)).judged.to_pylist()
    assert {row["id"] for row in rows} == {"size_mnist_g_256", "rmse_mnist_g_256"}
    assert all(row["reading"] and row["verdict"] == "inconclusive" for row in rows)


def test_a_network_with_units_missing_does_not_have_a_small_overhead():
    table = planted_metrics({"digits_g": 4}, teachers=5, kinds={})
    claims = [claim for claim in read_claims(CLAIMS) if claim.id == "overhead_digits_g"]
    some = 0.01 * table["subject"].astype(int)
    for overhead, expected in ((0.0, "reproduced"), (0.05, "reproduced"), (0.3, "not reproduced"), (-0.9, "not reproduced")):
        planted = table.assign(value=table["value"].where(table["metric"] != "overhead", overhead + some))
        assert judge_claims(planted, claims).judged["verdict"].to_pylist() == [expected]


def test_small_and_large_numbers_keep_their_digits():
    assert number_with_interval(0.001532, 0.0012, 0.0019) == "0.0015 [0.0012, 0.0019]"
    assert number_with_interval(-4.4e-5, -0.00244, 0.0026) == "-0.0000 [-0.0024, 0.0026]"
    assert number_with_interval(-0.0001, -0.00031, 5.8e-05) == "-0.00010 [-0.00031, 0.00006]"
    assert number_with_interval(2.31e-13, 1e-13, 4e-13) == "2.3e-13 [1e-13, 4e-13]"
    assert number_with_interval(258.0, 256.0, 260.0) == "258.0 [256.0, 260.0]"
    assert number_with_interval(0.0, 0.0, 0.0) == "0.000 [0.000, 0.000]"
    assert number_with_interval(0.003, -0.5, 0.6) == "0.003 [-0.500, 0.600]"


# ---- groups of recoveries


@pytest.mark.slow
def test_up_to_so_many_cells_stand_alone_and_more_are_pooled_by_factor(sixty):
    cells = list(synthetic(1))
    assert [group.cells for group in grouped(sixty, cells, 4)] == [[cell] for cell in cells]
    pooled = grouped(sixty, list(synthetic(15)), 4)
    assert [group.label for group in pooled] == ["ρ = 1", "ρ = 2", "ρ = 4", "ρ = 8"]
    assert all(cell.endswith(f"rho{group.label[4:]}") for group in pooled for cell in group.cells)
    assert sum(len(group.cells) for group in pooled) == 60


@pytest.mark.slow
def test_only_cells_of_one_group_are_pooled(sixty):
    others = [f"digits_{name}_rho4" for name in ("g", "tanh", "relu", "elu", "silu")]
    alone = planted_metrics(dict.fromkeys(others, 4), kinds={}).assign(group=None)
    groups = grouped(pd.concat([sixty, alone]), [*others, *synthetic(15)], 4)
    assert [group.cells for group in groups[4:]] == [[name] for name in others]
    assert sum(len(group.cells) for group in groups[:4]) == 60


def test_cells_with_other_seeds_or_searched_factors_have_their_own_group():
    table = pd.concat(
        [
            planted_metrics({"a": 4, "b": 4, "c": 10}, kinds={}),
            planted_metrics({"d": 4}, seeds=(0, 1), kinds={}),
            planted_metrics({"e": 4, "f": 4}, kinds={}),
        ]
    )
    table.loc[(table["cell"] == "e") & (table["metric"] == "expansion_factor") & (table["subject"] == "3"), "value"] = 8.0
    table = table[(table["cell"] != "f") | (table["metric"] != "expansion_factor")]
    assert [factor_of(table, cell) for cell in "acef"] == ["4", "10", "searched", "unknown"]
    expected = {
        "4, seeds [0]": ["a", "b"], "4, seeds [0, 1]": ["d"], "10": ["c"], "searched": ["e"], "unknown": ["f"]
    }  # fmt: skip
    assert grouped_by_factor(table, list("abcdef")) == expected
    assert list(grouped_by_factor(table, list("abcdef"))) == list(expected)


def test_the_geometric_interval_follows_a_factor_and_ends_at_machine_epsilon():
    values = 10.0 ** np.random.default_rng(0).normal(-3, 1, (2, 9))
    first, scaled = geometric_interval(values), geometric_interval(100 * values)
    assert first.mean == pytest.approx(10 ** np.log10(values).mean())
    assert scaled[:3] == pytest.approx([100 * value for value in first[:3]])
    assert first.low < first.mean < first.high
    assert geometric_interval(np.zeros((1, 3)))[:3] == pytest.approx((1e-16,) * 3)
    assert np.isnan(geometric_interval(np.array([[1.0, np.nan]])).mean)


def test_bins_by_ease_are_in_rising_order_and_leave_no_teacher_out():
    rng = np.random.default_rng(0)
    ease, solved = -10 * rng.random((2, 37)), (rng.random((2, 37)) < 0.5).astype(float)
    bins = bins_by_ease(ease, solved)
    counts = [int(interval.n.split()[0]) for _, interval in bins]
    assert [place for place, _ in bins] == sorted(place for place, _ in bins)
    assert sum(counts) == 37
    assert max(counts) - min(counts) <= 1
    assert np.average([interval.mean for _, interval in bins], weights=counts) == pytest.approx(solved.mean())
    assert len(bins_by_ease(ease[:, :1], solved[:, :1])) == 1


# ---- trees of clusters


def tree_of(table, cell="synthetic_rho4"):
    return table[table["cell"] == cell]


@pytest.mark.parametrize("spread", [1e-3, 0.0], ids=["noise", "equal neurons"])
def test_clusters_that_count_are_those_that_a_slow_cut_of_the_tree_finds(spread):
    table = joined(planted_merges(spread=spread).to_pandas())
    tree = table[["left", "right", "height", "members"]].to_numpy(float)
    student = np.repeat(np.arange(10), 16)
    trunk = trunk_of(table, len(table))
    for height in np.quantile(tree[:, 2], [0.1, 0.4, 0.5, 0.6, 0.8, 0.95]):
        labels = fcluster(tree, height, "distance")
        slow = sum(len(set(student[labels == label])) >= 5 for label in set(labels))
        forks = sum(fork.height <= height for fork in trunk.forks)
        assert (trunk.births <= height).sum() - forks == slow
        assert count_at_cut(table.assign(cut=height)) == slow


def test_no_branches_cross_and_the_lowest_are_kept(merges):
    table = tree_of(merges)
    whole, part = trunk_of(table, 1000), trunk_of(table, 5)
    assert len(whole.forks) == len(whole.births) - 1
    assert sorted(part.births) == sorted(whole.births)[:5]
    assert part.num_left_out == len(whole.births) - 5
    assert len(part.forks) == 4
    for trunk in (whole, part):
        tops = list(enumerate(trunk.births))
        for fork in trunk.forks:
            left = tops.index(fork.left)
            assert tops[left + 1] == fork.right  # only neighbors join
            assert max(fork.left[1], fork.right[1]) <= fork.height
            tops[left : left + 2] = [((fork.left[0] + fork.right[0]) / 2, fork.height)]
        assert len(tops) == 1


@pytest.mark.slow
def test_a_tree_without_a_large_cluster_has_no_branches_and_is_drawn():
    table = joined(planted_merges().to_pandas()).assign(count=0, students=1, members=1)
    assert len(trunk_of(table, 60).births) == 0
    assert "0 at the cut" in drawn(plot_recovery_clusters(table))


# ---- figures


SIZES = {"1 cell, 1 teacher, 1 seed": (1, 1, 1), "5 cells": (5, 3, 2)}


@pytest.mark.slow
@pytest.mark.parametrize(("cells", "teachers", "seeds"), SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("plot", METRICS_PLOTS)
def test_a_figure_names_each_of_a_few_cells_and_says_n(plot, cells, teachers, seeds):
    names = {f"digits_{name}": 4 for name in ("g", "tanh", "sigmoid", "softplus", "relu")[:cells]}
    text = drawn(plot(planted_metrics(names, teachers, range(seeds))))
    assert all(cell.replace("_", " ") in text for cell in names)
    n = f"{teachers} teacher{'s' * (teachers > 1)} × {seeds} seed{'s' * (seeds > 1)}"
    assert (n in text) or f"n = {teachers} × {seeds}" in text
    assert "95 %" in text


@pytest.mark.slow
@pytest.mark.parametrize("plot", METRICS_PLOTS)
def test_a_figure_pools_sixty_cells_by_factor_and_says_n(plot, sixty):
    figure = plot(sixty)
    text = drawn(figure)
    assert all(f"ρ = {factor}" in text for factor in SOLVED)
    assert len(re.findall(r"ρ = \d:? 15 cells, 150 teachers × 1 seed", text)) >= 4
    assert figure.get_figheight() < 8


@pytest.mark.slow
@pytest.mark.parametrize("plot", METRICS_PLOTS)
def test_baselines_are_named_in_the_legend_where_there_are_any(plot):
    for kinds in (KINDS, {}):
        figure = plot(planted_metrics({"a": 2, "b": 4}, kinds=kinds))
        drawn(figure)
        labels = {text.get_text() for legend in figure.findobj(Legend) for text in legend.get_texts()}
        expected = plot is not plot_recovery_coverage and bool(kinds)
        assert any("own size" in label for label in labels) == expected


@pytest.mark.parametrize("plot", METRICS_PLOTS)
def test_a_black_box_leaves_an_empty_figure_that_says_why(plot):
    rows = [Source("planted", "recovery", "box", 0).row("rmse_held_out", 0.1, subject=0)]
    assert "no recovery here has a teacher" in drawn(plot(joined(rows)))


@pytest.mark.slow
@pytest.mark.parametrize("plot", METRICS_PLOTS)
def test_a_black_box_beside_other_recoveries_is_left_away(plot):
    table = planted_metrics({"a": 4})
    box = joined([Source("planted", "recovery", "blackbox", 0).row("rmse_held_out", 0.1, subject=0)])
    assert "blackbox" not in drawn(plot(pd.concat([table, box])))


def line_of(figure, label):
    """Data of the line with a label that starts so."""
    axes = figure.axes[0]
    handles, labels = axes.get_legend_handles_labels()
    handle = next(handle for handle, text in zip(handles, labels, strict=True) if text.startswith(label))
    return (handle.lines[0] if hasattr(handle, "lines") else handle).get_xydata()


@pytest.mark.slow
def test_planted_shares_are_sourcethe_figures_draw_them(sixty):
    shares = {factor: value_matrix(sixty, f"synthetic_*_rho{factor}", "solved").to_numpy().mean() for factor in SOLVED}
    assert line_of(plot_recovery_solved(sixty), "recovered")[:, 1] == pytest.approx(list(shares.values()))
    for factor in SOLVED:
        points = line_of(plot_recovery_coverage(sixty), f"ρ = {factor}:")
        assert points[:, 0] == pytest.approx([10.0**-k for k in range(12, 0, -1)])
        expected = [value_matrix(sixty, f"synthetic_*_rho{factor}", f"coverage_1e-{k}").to_numpy().mean() for k in (12, 3)]
        assert points[[0, 9], 1] == pytest.approx(expected)


def test_sizes_and_errors_are_relative_to_each_teacher():
    table = planted_metrics({"a": 4}, 6, (0, 1))
    points = points_of(table, ["a"])
    assert list(points) == ["recovered", "students", *KINDS]
    parts = [value_matrix(table, "a", name).to_numpy() for name in ("rmse_student_best", "output_deviation")]
    assert points["students"][1] == pytest.approx(parts[0] / parts[1])
    assert (points["students"][0] == 4).all()
    own = [value_matrix(table, "a_pruned", name).to_numpy() for name in ("rmse_held_out", "output_deviation")]
    assert points["pruned"][1] == pytest.approx(own[0] / own[1])


@pytest.mark.slow
def test_an_error_that_is_not_finite_is_counted_and_not_dropped():
    table = planted_metrics({"a": 4}, 6)
    broken = (table["cell"] == "a") & (table["metric"] == "rmse_held_out") & (table["subject"] == "2")
    text = drawn(plot_recovery_sizes(table.assign(value=table["value"].where(~broken, np.nan))))
    assert "6 teachers × 1 seed, 1 errors not finite" in text


@pytest.mark.slow
def test_the_clusters_figure_shows_first_layers_of_three_cells_and_the_count_at_the_cut():
    table = joined(planted_merges(("a", "b", "c", "d"), layers=2, students=6, units=4, width=8).to_pandas())
    titles = list(trees_of(table))
    assert [title.split("\n")[1][:7] for title in titles] == ["layer 0"] * 3
    assert [title[0] for title in titles] == ["a", "b", "c"]
    two = trees_of(table[table["cell"].isin(["a", "b"])])
    assert [title.split()[2][0] for title in two] == ["0", "0", "1"]
    text = drawn(plot_recovery_clusters(table))
    for tree in trees_of(table).values():
        assert f"{count_at_cut(tree)} at the cut" in text
    assert "48 neurons of all students" in text


@pytest.mark.slow
def test_more_clusters_than_fit_are_counted():
    table = planted_merges(students=4, units=70, width=75)
    assert re.search(r"60 clusters, those that form lowest of \d+", drawn(plot_recovery_clusters(joined(table.to_pandas()))))


@pytest.mark.slow
def test_weights_are_shown_as_images_of_two_cells_sourceany_has_images():
    shapes = {"synthetic_rho4": (5, 1, 1), "digits_g": (1, 8, 8), "cifar10_g": (3, 4, 4), "digits_tanh": (1, 8, 8)}
    table = joined(planted_neurons(shapes, missing=1).to_pandas())
    assert [cell.iloc[0]["cell"] for cell in shown_cells(table)] == ["digits_g", "cifar10_g"]
    figure = plot_recovery_neurons(table)
    text = drawn(figure)
    assert text.count("not found") == 2
    assert text.count("8 of 20 units") == 2
    images = [image for axes in figure.axes for image in axes.get_images()]
    assert len(images) == 16
    assert all(image.get_clim() == (-1, 1) for image in images)
    assert max(np.abs(image.get_array()).max() for image in images) == 1


@pytest.mark.slow
def test_weights_of_plain_inputs_are_shown_as_profiles():
    text = drawn(plot_recovery_neurons(joined(planted_neurons({"synthetic_rho4": (5, 1, 1)}, units=3).to_pandas())))
    assert "synthetic rho4: 3 of 3 units" in text
    assert text.count("input entry") == 3


def test_the_units_shown_reach_from_the_best_to_the_worst_angle():
    rows = spread_units(joined(planted_neurons(units=20, missing=2).to_pandas()).sample(frac=1, random_state=0))
    angles = [row["angle_degrees"] for row in rows]
    assert len(rows) == 8
    assert angles[0] == 0
    assert angles[:-1] == sorted(angles[:-1])
    assert angle_text(pair_of(rows[-1])) == "not found"


def test_a_pair_keeps_its_ratio_and_is_scaled_to_its_largest_weight():
    row = joined(planted_neurons(units=1).to_pandas()).iloc[0]
    pair = pair_of(row)
    assert max(np.abs(pair.teacher).max(), np.abs(pair.recovered).max()) == 1
    assert pair.teacher.ravel() / pair.recovered.ravel() == pytest.approx(row["teacher"] / row["recovered"], rel=1e-4)


@pytest.mark.parametrize("name", ["recovery_clusters", "recovery_neurons"])
def test_an_empty_table_leaves_a_figure_that_says_so(name):
    schema = {"recovery_clusters": MERGES_SCHEMA, "recovery_neurons": NEURONS_SCHEMA}[name]
    assert "no recovery of this scenario" in drawn(draw(figure_named(name), joined(schema.empty_table().to_pandas())))


# ---- regenerate


def write_run(folder):
    rows = planted_metrics({"digits_g": 4, "digits_tanh": 4}, 3)
    write_metrics(folder / "metrics.parquet", pa.Table.from_pandas(rows[SCHEMA.names], SCHEMA).to_pylist(), METRICS)
    write_cells(folder / "cells.parquet", rows)
    write_table(folder / "recovery_merges.parquet", planted_merges(("digits_g",)))
    write_table(folder / "recovery_neurons.parquet", planted_neurons())


@pytest.mark.slow
def test_regenerating_draws_recoveries_from_the_tables_beside_the_metrics(tmp_path):
    (tmp_path / "run").mkdir()
    write_run(tmp_path / "run")
    regenerate(tmp_path / "run/metrics.parquet", CLAIMS, tmp_path / "out", {})
    assert {path.stem for path in tmp_path.glob("out/figures/*.png")} == {*ALL_PLOTS, "claims"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["recovery_merges", "recovery_neurons", "cells"])
def test_a_table_of_recoveries_that_is_missing_or_damaged_is_named(tmp_path, name):
    write_run(tmp_path)
    path = tmp_path / f"{name}.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match=rf"{name}\.parquet: not a whole Parquet file"):
        regenerate(tmp_path / "metrics.parquet", CLAIMS, tmp_path, {})
    path.unlink()
    with pytest.raises(InputError, match=rf"{name}\.parquet: no such file"):
        regenerate(tmp_path / "metrics.parquet", CLAIMS, tmp_path, {})


@pytest.mark.slow
def test_the_reference_keeps_what_regenerating_needs(tmp_path):
    (tmp_path / "run").mkdir()
    write_run(tmp_path / "run")
    keep_reference(tmp_path / "run", tmp_path / "reference")
    regenerate(tmp_path / "reference/metrics.parquet", CLAIMS, tmp_path / "out", {})
    assert (tmp_path / "out/figures/recovery_clusters.png").is_file()
