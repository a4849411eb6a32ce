"""The verdict: statistics are those of slow counts and of scipy, intervals hold the truth, planted generators are told apart."""

import numpy as np
import pytest
import torch
import weightspace.generation.code_tests
import weightspace.generation.novelty
from planted_generators import network_set, planted_zoo, rival
from scipy.stats import mannwhitneyu
from tables import joined
from weightspace.generation.controls import control_metrics
from weightspace.generation.controls_metrics import CONTROLS
from weightspace.generation.frontier import front_at, gap, gaps, pareto
from weightspace.generation.over_runs import (
    Measured,
    attribution,
    copying_interval,
    data_copying,
    expected_similarity,
    interval_over_runs,
    weighted_mean,
    weighted_quantile,
)
from weightspace.generation.verdict import COPY, GENERALIZING, PERTURBATION, UNDECIDED, judge, judged_from
from weightspace.nets.symmetry import permutation_map, sample_permutations
from weightspace.table import Source, write_metrics


def measured(num=60, distance=10.0, similarity=0.5, accuracy=0.9, gain=0.03, seed=0, runs=None):
    """Networks whose numbers vary about these means."""
    rng = np.random.default_rng(seed)
    draw = rng.normal(size=(3, num))
    alike = similarity + 0.03 * draw[1]
    right = accuracy + 0.01 * draw[2]
    gains = gain + 0.003 * rng.normal(size=max(1, num // 10))
    runs = np.arange(num) if runs is None else runs
    return Measured(runs, distance * (1 + 0.1 * draw[0]), alike, right, alike, right, gains)


def noise(*points):
    """The noise frontier: sets of such similarities and accuracies."""
    sets = [measured(60, 0.1, similarity, accuracy, seed=9) for similarity, accuracy in points]
    return {"noise": sets}


HELD_OUT = measured(seed=1)
NOISE = noise((0.95, 0.9), (0.6, 0.85), (0.4, 0.7))
SETS = {
    "copies": (measured(distance=0.1, similarity=0.97), COPY),
    "noise": (measured(distance=0.5, similarity=0.45, accuracy=0.74, seed=2), PERTURBATION),
    "as new as held-out ones": (measured(num=200, seed=3), GENERALIZING),
    "good but near": (measured(distance=7.0, seed=4), UNDECIDED),
    "far but alike": (measured(similarity=0.58, accuracy=0.91, seed=4), UNDECIDED),
    "of one mind": (measured(num=200, gain=0.0, seed=5), UNDECIDED),
    "one model": (measured(num=1, seed=3), UNDECIDED),
    "of one run": (measured(num=60, seed=3, runs=np.zeros(60, dtype=int)), UNDECIDED),
    "not finite": (measured(seed=3)._replace(distance=np.full(60, np.nan)), UNDECIDED),
}


@pytest.mark.slow
@pytest.mark.parametrize(("ours", "number"), SETS.values(), ids=SETS)
def test_planted_numbers_have_their_verdict_and_a_reason(ours, number):
    verdict = judge(ours, HELD_OUT, NOISE)
    assert verdict.number == number, verdict.sentence
    assert "U/(mn)" in verdict.reason or "ensemble gain" in verdict.reason or "mistakes" in verdict.reason


@pytest.mark.slow
def test_training_itself_is_not_below_noise_that_is_trained_as_long():
    trained = [each._replace(tuned_similarity=HELD_OUT.similarity, tuned_accuracy=HELD_OUT.accuracy) for each in NOISE["noise"]]
    ours, rivals = SETS["as new as held-out ones"][0], {"noise": trained}
    assert judge(ours, HELD_OUT, rivals).number == PERTURBATION
    assert "after fine-tuning" in judge(ours, HELD_OUT, rivals).reason
    assert judge(ours, HELD_OUT, rivals, "scratch").number == GENERALIZING


@pytest.mark.slow
def test_without_rivals_nothing_is_new():
    assert judge(SETS["as new as held-out ones"][0], HELD_OUT, {}).number == UNDECIDED


# data copying


@pytest.mark.parametrize("levels", [10**9, 5])
def test_u_is_that_of_scipy_and_of_a_slow_count(levels):
    rng = np.random.default_rng(0)
    ours, theirs = rng.integers(0, levels, 17) / 3, rng.integers(0, levels, 23) / 3
    slow = sum((a > b) + (a == b) / 2 for a in ours for b in theirs)
    found = data_copying(ours, theirs)
    assert found.u_share * 17 * 23 == pytest.approx(slow)
    assert slow == mannwhitneyu(ours, theirs).statistic
    if levels > 1000:
        p = mannwhitneyu(ours, theirs, method="asymptotic", use_continuity=False, alternative="less").pvalue
        assert 0.5 * (1 + torch.erf(torch.tensor(found.z / 2**0.5, dtype=torch.double))) == pytest.approx(p)


def test_z_u_of_copies_is_its_floor():
    found = data_copying(np.zeros(124), np.ones(124))
    assert found.z == pytest.approx(found.floor)
    assert found.floor == pytest.approx(-13.6, abs=0.05)
    assert data_copying(np.ones(5), np.ones(5)).z == 0


def test_copies_of_one_run_widen_the_interval():
    ours, theirs = measured(60, seed=1), measured(60, seed=2)
    wide, narrow = (copying_interval(each, theirs) for each in (ours._replace(runs=np.arange(60) // 20), ours))
    assert wide.mean == narrow.mean
    assert wide.high - wide.low > narrow.high - narrow.low


# intervals


@pytest.mark.slow
def test_an_interval_over_runs_holds_the_mean_as_often_as_it_says():
    rng, held = np.random.default_rng(0), 0
    runs = np.repeat(np.arange(12), 5)
    for _ in range(200):
        values = np.repeat(rng.normal(size=12), 5) + rng.normal(size=60)
        interval = interval_over_runs(lambda counts, values=values: weighted_mean(values, counts), [runs])
        held += interval.low <= 0 <= interval.high
    assert 180 <= held <= 198


def test_a_weighted_quantile_is_that_of_values_repeated():
    rng = np.random.default_rng(0)
    values, counts = rng.normal(size=(4, 30)), rng.integers(0, 4, (4, 30)).astype(float)
    for share in (0.5, 0.95):
        expected = [
            np.quantile(np.repeat(one, own.astype(int)), share, method="inverted_cdf")
            for one, own in zip(values, counts, strict=True)
        ]
        np.testing.assert_array_equal(weighted_quantile(values, counts, share), expected)


# matched accuracy


def test_a_line_is_expected_where_similarity_is_one_and_its_end_beyond():
    accuracy = np.linspace(0.5, 0.9, 41)
    line = measured(41)._replace(accuracy=accuracy, similarity=1 - accuracy)
    at = np.array([0.55, 0.8, 0.95])
    expected = expected_similarity(line, at, np.ones((1, 41)))
    np.testing.assert_allclose(expected, [[0.45, 0.2, 0.1]], atol=1e-9)
    np.testing.assert_allclose(expected_similarity(line, accuracy, np.ones((1, 41)), own=True), [1 - accuracy], atol=1e-9)


def test_where_all_accuracies_are_equal_the_mean_is_expected():
    same = measured(20)._replace(accuracy=np.full(20, 0.9))
    np.testing.assert_allclose(expected_similarity(same, np.array([0.9, 0.1]), np.ones((1, 20))), same.similarity.mean())


# front


def test_the_front_has_the_points_that_nothing_beats():
    x, y = np.array([0.5, 0.2, 0.8, 0.6, 0.2]), np.array([0.7, 0.3, 0.9, 0.6, 0.2])
    assert [each.tolist() for each in pareto(x, y)] == [[0.2, 0.5, 0.8], [0.3, 0.7, 0.9]]
    assert [front_at(x, y, at) for at in (0.1, 0.2, 0.35, 0.8, 1.0)] == pytest.approx([0.3, 0.3, 0.5, 0.9, 0.9])


def test_a_rival_is_not_above_its_own_front_and_a_better_one_is_by_its_gap():
    rivals = noise((0.9, 0.9), (0.5, 0.5))["noise"]
    assert gap(rivals[1], rivals).mean == 0
    assert gap(rivals[1], rivals).high <= 0
    better = measured(60, similarity=0.7, accuracy=0.8, seed=3)
    found = gap(better, rivals)
    assert found.mean == pytest.approx(0.1, abs=0.01)
    assert found.low > 0.08


def test_each_front_has_the_noise_and_is_there_if_its_rivals_are():
    soups = {"soup": [measured(60, similarity=0.5, accuracy=0.89, seed=6)]}
    found = gaps(measured(seed=3), NOISE | soups)
    assert set(found) == {"noise", "soups"}
    assert found["soups"].mean < found["noise"].mean


# parents


def test_copies_are_attributed_to_their_parents():
    parents = np.linspace(0.5, 0.9, 9)
    assert attribution(parents, parents) == pytest.approx((1.0, 1.0))
    assert attribution(0.1 + parents / 2, parents) == pytest.approx((0.5, 1.0))
    assert np.isnan(attribution(np.ones(9), parents)).all()


# planted generators


@pytest.fixture(scope="module")
def planted_rows():
    """Metrics of a copier and of fresh training as samples, and of their rivals, on the digits."""
    problem, fresh = planted_zoo()
    weights = rival(problem, "anchors")
    orders = sample_permutations(problem.spec, len(weights), torch.Generator().manual_seed(1))
    permuted = weights.gather(1, permutation_map(problem.spec, orders))
    sets = {"copier": network_set(problem, "samples", permuted), "fresh": network_set(problem, "samples", fresh)}
    for size in (0.1, 0.2, 0.4):
        sets[f"noise_{size}"] = network_set(problem, "noise", rival(problem, "noise", size=size))
    sets["soup_2"] = network_set(problem, "soup", rival(problem, "soup", members=2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weightspace.generation.novelty, "CANDIDATES", 2)
        patch.setattr(weightspace.generation.novelty, "RESTARTS", 2)
        patch.setattr(weightspace.generation.code_tests, "COPIES", 3)
        return control_metrics(problem, sets, torch.Generator().manual_seed(0))


EXPECTED = {"copier": COPY, "fresh": GENERALIZING, "noise_0.2": PERTURBATION, "noise_0.4": PERTURBATION, "soup_2": PERTURBATION}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "number"), EXPECTED.items(), ids=EXPECTED)
def test_planted_generators_get_the_right_verdict(planted_rows, name, number):
    assert planted_rows[name]["verdict"] == number


@pytest.mark.slow
def test_rows_say_the_same_verdict_and_their_metrics_are_listed(planted_rows, tmp_path):
    rows, about = [], {}
    for name, metrics in planted_rows.items():
        if name == "copier":
            continue
        source = Source("planted", "generation" if name == "fresh" else "generation_rival", name, 0)
        kind = {"of": "fresh", "kind": name.split("_")[0], "label": name}
        about[source.stage, name] = kind if name != "fresh" else {"label": name}
        for metric, values in metrics.items():
            whole = values.dim() == 0
            for n, value in enumerate(values.reshape(-1).tolist()):
                rows.append(source.row(metric, value, subject="" if whole else n))
    write_metrics(tmp_path / "metrics.parquet", rows, CONTROLS)
    judged = judged_from(joined(rows, about), "fresh")
    assert list(judged.sets) == [name for name in planted_rows if name != "copier"]
    for name in ("fresh", "soup_2"):
        assert judged.verdict(name).number == planted_rows[name]["verdict"]


@pytest.mark.slow
def test_an_autoencoder_that_copies_sees_one_function_in_all_orders_and_scales(planted_rows):
    own = planted_rows["fresh"]
    for change in ("permuted", "rescaled"):
        assert own[f"symmetry_accuracy_{change}"] <= 0.001
        assert own[f"symmetry_mistakes_{change}"] <= 0.01
    assert own["symmetry_mistakes_different"] > 0.3


@pytest.mark.slow
def test_reconstructions_of_a_code_that_is_the_weights_are_their_originals(planted_rows):
    own = planted_rows["fresh"]
    for split, accuracy in (("train", planted_zoo()[0].train_properties["test_accuracy"]), ("held_out", None)):
        assert not own[f"reconstruction_distance_{split}"].any()
        assert (own[f"reconstruction_similarity_{split}"] == 1).all()
        if accuracy is not None:
            assert own[f"reconstruction_accuracy_{split}"].tolist() == accuracy.tolist()
