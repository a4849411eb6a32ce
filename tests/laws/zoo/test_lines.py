"""Lines and soups: what lies between permuted copies of one network is that network, after alignment and not before."""

from collections import Counter
from math import ceil

import pandas as pd
import pyarrow as pa
import pytest
import torch
import weightspace.zoo.lines
from corner_images import planted_images
from hypothesis import given
from hypothesis import strategies as st
from planted_zoos import stored_zoo
from weightspace.ensemble import evaluate, recalibrated, with_own_statistics
from weightspace.errors import InputError
from weightspace.nets.between import interpolate, soup
from weightspace.nets.forward import unflatten
from weightspace.nets.spec import build_spec
from weightspace.nets.symmetry import permutation_map, sample_permutations
from weightspace.table import Source, write_metrics
from weightspace.zoo.lines import (
    PERCENTS,
    Models,
    alignment_metrics,
    bench_of,
    height,
    line_metrics,
    models_to_align,
    soup_metrics,
)
from weightspace.zoo.members import groups_of
from weightspace.zoo.metrics import METRICS
from weightspace.zoo.settings import AlignmentConfig

PLAIN = ["conv 5 3", "activation", "flatten", "linear 7", "activation", "linear classes"]
NORMED = ["conv 5 3", "batch_norm", "activation", "conv 4 2", "batch_norm", "activation", "mean", "linear classes"]
SOURCE = Source("planted", "alignment", "cell", 0)
CPU = torch.device("cpu")


def spec_of(layers=PLAIN, activation="relu"):
    return build_spec(layers, activation, (1, 6, 6), 3)


def random_weights(spec, num, seed=0):
    weights = torch.randn(num, spec.num_weights, generator=torch.Generator().manual_seed(seed)) / 2
    for name, tensor in unflatten(spec, weights).items():
        if name.endswith("running_var"):
            tensor.copy_(tensor.square() + 0.5)
    return weights


def copies(spec, weights, num):
    """Each network `num` times, each time with its units in another order: [model, copy, weight]."""
    every = weights.repeat_interleave(num, 0)
    maps = permutation_map(spec, sample_permutations(spec, len(every), torch.Generator().manual_seed(1)))
    return every.gather(1, maps).unflatten(0, (len(weights), num))


def config_of(**changes):
    return AlignmentConfig(**{"zoo": "planted", "epoch": 3, "kind": "different_init", "soups": [2, 4]} | changes)


def models_of(spec, num, inits=4):
    return Models(spec, {10 * n: f"init-{n % inits}" for n in range(num)}, random_weights(spec, num))


# groups


@given(st.dictionaries(st.integers(0, 500), st.integers(0, 4), max_size=40), st.integers(2, 6))
def test_groups_are_whole_disjoint_and_of_their_kind(inits, size):
    for kind in ("same_init", "different_init"):
        groups = groups_of(inits, size, kind)
        members = [model for group in groups for model in group]
        assert len(set(members)) == len(members)
        assert set(members) <= set(inits)
        most = size if kind == "same_init" else ceil(size / max(1, len(set(inits.values()))))
        for group in groups:
            counts = Counter(inits[model] for model in group)
            assert len(group) == size
            assert max(counts.values()) <= most
            assert (len(counts) == 1) == (kind == "same_init")
    sizes = Counter(inits.values()).values()
    assert len(groups_of(inits, size, "same_init")) == sum(num // size for num in sizes)


def test_as_many_pairs_of_different_inits_as_there_can_be():
    for sizes in ([5, 5], [7, 2, 3], [4, 4, 4, 4], [6, 0]):
        inits = dict(enumerate(init for init, num in enumerate(sizes) for _ in range(num)))
        best = min(sum(sizes) // 2, sum(sizes) - max(sizes))
        assert best - 1 <= len(groups_of(inits, 2, "different_init")) <= best


def test_groups_do_not_depend_on_the_order_of_models():
    inits = {n: n % 3 for n in range(20)}
    turned = dict(reversed(inits.items()))
    for kind in ("same_init", "different_init"):
        assert groups_of(inits, 4, kind) == groups_of(turned, 4, kind)


# lines


def test_a_line_begins_and_ends_at_its_networks_and_a_soup_of_two_is_its_middle():
    ours, theirs = torch.randn(2, 3, 50)
    line = interpolate(ours, theirs, torch.tensor([0.0, 0.5, 1.0]))
    assert torch.equal(line[:, 0], ours)
    assert torch.equal(line[:, 2], theirs)
    torch.testing.assert_close(line[:, 1], soup(torch.stack([ours, theirs], dim=1)))


def test_between_permuted_copies_nothing_changes_after_alignment_and_much_does_before():
    spec = spec_of()
    measured = line_metrics(bench_of(spec, planted_images()), copies(spec, random_weights(spec, 6), 2))
    flat = measured["line_loss_aligned"]
    torch.testing.assert_close(flat, flat[:, :1].expand_as(flat), rtol=1e-4, atol=1e-5)
    assert measured["barrier_aligned"].abs().max() < 1e-4
    torch.testing.assert_close(measured["cosine_aligned"], torch.ones(6, dtype=torch.float64))
    assert (measured["line_loss_naive"] - flat).abs().max() > 0.1
    assert measured["cosine_naive"].max() < 0.9
    for way in ("loss", "accuracy"):
        for end in (0, -1):
            assert torch.equal(measured[f"line_{way}_naive"][:, 0], measured[f"line_{way}_aligned"][:, 0])
            torch.testing.assert_close(measured[f"line_{way}_naive"][:, end], measured[f"line_{way}_aligned"][:, end])


def test_a_barrier_is_where_val_images_say_and_as_high_as_test_images_say():
    spec, images = spec_of(), planted_images()
    ends = random_weights(spec, 6).view(3, 2, -1)
    bench = bench_of(spec, images)
    measured = line_metrics(bench, ends)
    for pair in range(3):
        line = interpolate(ends[pair, :1], ends[pair, 1:], PERCENTS / 100)[0]
        val, test = (height(evaluate(spec, line, *split)[0].unsqueeze(0), PERCENTS / 100)[0] for split in (bench.val, bench.test))
        torch.testing.assert_close(measured["barrier_naive"][pair], test[val.argmax()])


def test_height_is_0_on_a_straight_line_and_at_its_ends():
    shares = torch.linspace(0, 1, 5)
    straight = torch.tensor([[1.0], [2.0]]) + shares * torch.tensor([[3.0], [-1.0]])
    torch.testing.assert_close(height(straight, shares), torch.zeros(2, 5), rtol=0, atol=1e-6)
    raised = straight + torch.tensor([0, 0, 0.5, 0, 0])
    torch.testing.assert_close(height(raised, shares)[:, 2], torch.full((2,), 0.5))


# soups


@pytest.mark.parametrize("layers", [PLAIN, NORMED])
@pytest.mark.parametrize("size", [2, 5])
def test_a_soup_of_permuted_copies_is_the_network_after_alignment_and_not_before(layers, size):
    spec = spec_of(layers)
    bench = bench_of(spec, planted_images())
    networks = with_own_statistics(spec, random_weights(spec, 4), bench.train)
    measured = soup_metrics(bench, copies(spec, networks, size))
    loss, accuracy = evaluate(spec, networks, *bench.test)
    torch.testing.assert_close(measured["soup_loss_models"], loss, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(measured["soup_loss_aligned"], loss, rtol=1e-4, atol=1e-5)
    assert torch.equal(measured["soup_accuracy_aligned"], accuracy)
    assert (measured["soup_loss_naive"] - loss).abs().min() > 1e-3


def test_networks_with_batch_norms_get_the_statistics_of_the_images_and_others_stay():
    images = bench_of(spec_of(), planted_images()).train
    normed, plain = random_weights(spec_of(NORMED), 3), random_weights(spec_of(), 3)
    assert torch.equal(with_own_statistics(spec_of(), plain, images), plain)
    changed = with_own_statistics(spec_of(NORMED), normed, images)
    assert torch.equal(changed, recalibrated(spec_of(NORMED), normed, images))
    assert not torch.equal(changed, normed)


# rows


def test_rows_are_of_listed_metrics_one_for_each_pair_and_place(tmp_path):
    rows = alignment_metrics(config_of(), [models_of(spec_of(), 13)], planted_images(), SOURCE)
    write_metrics(tmp_path / "metrics.parquet", rows, METRICS)
    table = pd.DataFrame(rows)
    assert not table.duplicated(["metric", "subject", "at"]).any()
    counts = table.groupby(["metric", "at"], dropna=False)["subject"].nunique()
    assert counts["barrier_naive"].tolist() == counts["cosine_aligned"].tolist() == [6]
    for way in ("naive", "aligned"):
        assert counts[f"line_accuracy_{way}"].to_dict() == dict.fromkeys(PERCENTS.tolist(), 6)
        assert counts[f"soup_loss_{way}"].to_dict() == {2: 6, 4: 3}
    named = {metric.name: metric for metric in METRICS}
    for row in rows:
        low, high = named[row["metric"]].range
        assert low - 1e-6 <= row["value"] <= high + 1e-6


def test_rows_do_not_depend_on_how_many_are_computed_together(monkeypatch):
    models = models_of(spec_of(), 9)
    whole = alignment_metrics(config_of(), [models], planted_images(), SOURCE)
    monkeypatch.setattr(weightspace.zoo.lines, "AT_ONCE", 1)
    alone = alignment_metrics(config_of(), [models], planted_images(), SOURCE)
    assert [{**row, "value": 0} for row in whole] == [{**row, "value": 0} for row in alone]
    assert [row["value"] for row in whole] == pytest.approx([row["value"] for row in alone], rel=1e-4, abs=1e-5)


def test_num_bounds_pairs_and_soups(capsys):
    rows = pd.DataFrame(alignment_metrics(config_of(num=2, soups=[2, 11]), [models_of(spec_of(), 10)], planted_images(), SOURCE))
    assert rows.groupby("metric")["subject"].nunique().to_dict() == dict.fromkeys(rows["metric"].unique(), 2)
    assert set(rows.loc[rows["metric"] == "soup_loss_naive", "at"]) == {2}
    said = capsys.readouterr().out
    assert said.startswith("pairs, different_init: ")
    assert "no soup of 11, kind different_init: there are 10 usable test models" in said


def test_without_two_models_there_is_a_sentence():
    with pytest.raises(InputError, match="zoo 'planted' has no two usable test models for kind same_init at epoch 3"):
        alignment_metrics(config_of(kind="same_init"), [models_of(spec_of(), 4)], planted_images(), SOURCE)


@pytest.mark.parametrize("canonical", [False, True])
def test_models_are_the_test_models_that_did_not_diverge_at_their_epoch(canonical, tmp_path, capsys):
    spec = spec_of()
    weights = torch.stack([random_weights(spec, 6, seed) for seed in (0, 1)], dim=1)
    splits = ["test", "train", "test", "val", "test", "test"]
    table = pa.Table.from_pylist([
        {"model": n, "epoch": epoch, "split": splits[n], "init_tensor": f"i{n % 2}", "diverged": (n, epoch) in ((2, 3), (4, 0))}
        for n in range(6)
        for epoch in (0, 3)
    ])  # fmt: skip
    zoo = stored_zoo(tmp_path / "zoo", spec, [0, 3], weights)
    (models,) = models_to_align(config_of(canonical=canonical), zoo, table, CPU)
    assert models.inits == {0: "i0", 4: "i0", 5: "i1"}
    assert "left out diverged test models: 2 of 4" in capsys.readouterr().out
    same = torch.equal(models.weights, weights[[0, 4, 5], 1])
    assert same != canonical
    assert torch.equal(models.in_groups([[5, 0], [0, 4]]), models.weights[torch.tensor([[2, 0], [0, 1]])])
