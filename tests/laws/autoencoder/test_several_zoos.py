"""One autoencoder over zoos of several architectures: each step learns from one, each is measured by itself."""

from contextlib import suppress

import numpy as np
import pyarrow as pa
import pytest
import torch
import weightspace.autoencoder.train
from killing import KilledError, eager_until
from planted_zoos import stored_zoo
from small_scenario import read, scenario_content
from test_autoencoder import EPOCHS, SOURCE, SPEC, SPLITS, config_of, planted_images
from test_norms import NORMED, networks
from torch import nn
from weightspace.autoencoder.batches import turn
from weightspace.autoencoder.data import Population
from weightspace.autoencoder.embeddings import embeddings_table
from weightspace.autoencoder.evaluate import evaluate_autoencoders
from weightspace.autoencoder.losses import LOSSES
from weightspace.autoencoder.metrics import EMBEDDINGS_SCHEMA, METRICS
from weightspace.autoencoder.model import Autoencoder
from weightspace.autoencoder.problem import data_of_zoos
from weightspace.autoencoder.store import read_autoencoder, write_autoencoder
from weightspace.autoencoder.train import loss_metrics, train_autoencoder
from weightspace.checks import check_scenario
from weightspace.errors import InputError
from weightspace.store import TrainingState
from weightspace.table import write_metrics

CPU = torch.device("cpu")
BOTH = {"zoo": ["plain", "normed"], "epochs": [3, 5], "batch_size": 3, "behavior_weight": 0.3, "batches": "epochs"}


def populations(folder, times=1):
    """A zoo without norms and one with them; `times` as many models of the first."""
    found = []
    for name, spec, splits in (("plain", SPEC, SPLITS * times), ("normed", NORMED, SPLITS)):
        weights = networks(spec, len(splits) * len(EPOCHS)).view(len(splits), len(EPOCHS), -1)
        rows = [
            {"model": model, "epoch": epoch, "split": split, "diverged": False, "init_tensor": "a", "train_accuracy": 0.9,
             "test_accuracy": model / 100, "generalization_gap": model / 50 - epoch}
            for model, split in enumerate(splits) for epoch in EPOCHS
        ]  # fmt: skip
        zoo = stored_zoo(folder / name, spec, EPOCHS, weights)
        found.append(Population(name, zoo, pa.Table.from_pylist(rows), planted_images()))
    return found


def test_tokens_of_all_zoos_are_as_long_as_the_longest_unit_and_positions_are_each_zoos_own(tmp_path):
    plain, normed = data_of_zoos(config_of(**BOTH), populations(tmp_path), CPU)
    longest = max(SPEC.layers[1].row, SPEC.layers[0].row, *(layer.row for layer in NORMED.layers))
    assert plain.codec.layout.index.shape[1] == normed.codec.layout.index.shape[1] == longest
    for data, spec in ((plain, SPEC), (normed, NORMED)):
        assert (data.codec.spec, data.config.zoo) == (spec, "plain" if spec is SPEC else "normed")
        assert data.codec.layout.positions[:, 0].tolist() == list(range(len(data.codec.layout.index)))
        torch.testing.assert_close(data.codec.to_weights(data.codec.to_tokens(data.codec.to_weights(
            data.codec.to_tokens(data.weights)))), data.codec.to_weights(data.codec.to_tokens(data.weights)))  # fmt: skip


def test_each_zoo_has_its_turn_as_often_as_it_has_batches_and_counts_its_own_steps(tmp_path):
    data = data_of_zoos(config_of(**BOTH), populations(tmp_path, times=3), CPU)
    counts = [len(each.weights) // 3 for each in data]
    assert counts == [8, 2]
    turns = [turn(data, step, 0) for step in range(3 * sum(counts))]
    for done in range(3):
        own = turns[done * sum(counts) : (done + 1) * sum(counts)]
        for zoo, num in enumerate(counts):
            assert [each.step for each in own if each.zoo == zoo] == list(range(done * num, (done + 1) * num))
    assert [each.zoo for each in turns] != [turn(data, step, 1).zoo for step in range(len(turns))]
    assert [turn(data[:1], step, 0) for step in range(30)] == [(0, step) for step in range(30)]


def trained_on(data, path, state=TrainingState):
    return train_autoencoder(data, SOURCE, state(path, "run"))


@pytest.mark.slow
def test_training_on_several_zoos_killed_at_a_step_goes_on_bit_for_bit(tmp_path):
    data = data_of_zoos(config_of(**BOTH, steps=9, loss_scale="first_batch"), populations(tmp_path), CPU)
    with suppress(KilledError):
        trained_on(data, tmp_path / "state", eager_until(4))
    resumed, whole = (trained_on(data, tmp_path / name) for name in ("state", "whole"))
    for ours, theirs in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(resumed.curves, whole.curves)
    assert torch.equal(resumed.turns, whole.turns)
    assert resumed.loss_scales == whole.loss_scales


@pytest.mark.slow
def test_curves_of_a_zoo_are_means_over_its_own_steps(tmp_path, monkeypatch):
    seen = [[], []]
    config = config_of(**BOTH, steps=60)
    data = data_of_zoos(config, populations(tmp_path), CPU)
    original = weightspace.autoencoder.train.batch_losses

    def watched(own, *args):
        losses = original(own, *args)
        seen[config.zoos.index(own.config.zoo)].append(losses["structure"].item())
        return losses

    monkeypatch.setattr(weightspace.autoencoder.train, "batch_losses", watched)
    trained = trained_on(data, tmp_path / "state")
    for zoo, (curves, turns) in enumerate(zip(trained.curves, trained.turns, strict=True)):
        start = 0
        for report, num in enumerate(turns.tolist()):
            values = seen[zoo][start : start + num]
            start += num
            assert curves[report, list(LOSSES).index("structure")].item() == pytest.approx(sum(values) / max(1, num), rel=1e-5)
    rows = loss_metrics(SOURCE, trained, config)
    assert {row["cell"] for row in rows} == {"plain_plain", "plain_normed"}
    assert len(rows) == 4 * int((trained.turns > 0).sum())


@pytest.mark.slow
def test_each_zoo_is_measured_by_its_own_test_models_under_its_own_cell(tmp_path):
    zoos = populations(tmp_path)
    data = data_of_zoos(config_of(**BOTH, steps=4, window=None), zoos, CPU)
    write_autoencoder(tmp_path / "model", data, trained_on(data, tmp_path / "state"), 0)
    stored = read_autoencoder(tmp_path / "model")
    rows = evaluate_autoencoders(stored, zoos, SOURCE._replace(cell="both"), CPU)
    write_metrics(tmp_path / "metrics.parquet", rows, METRICS)
    for zoo in zoos:
        (alone,) = ([row for row in rows if row["cell"] == cell] for cell in [f"both_{zoo.name}"])
        own = evaluate_autoencoders({zoo.name: stored[zoo.name]}, [zoo], SOURCE._replace(cell=f"both_{zoo.name}"), CPU)
        assert alone == own
        assert {row["subject"] for row in own if row["split"] == "test"} == {"2", "4", "7"}
    assert len(rows) == sum(len([row for row in rows if row["cell"] == f"both_{zoo.name}"]) for zoo in zoos)
    places = embeddings_table(stored, zoos, SOURCE._replace(cell="both"), CPU)
    assert places.schema == EMBEDDINGS_SCHEMA
    for (cell, encoder), own in places.to_pandas().groupby(["cell", "encoder"]):
        assert set(own["subject"]) == {"2", "4", "7"}
        assert not own.duplicated(["subject", "at"]).any()
        np.testing.assert_allclose(own[["x", "y"]].mean(), 0, atol=1e-6)
        assert 0 < own["y_share"].iloc[0] <= own["x_share"].iloc[0] <= 1, (cell, encoder)
    assert set(places["cell"].to_pylist()) == {f"both_{zoo.name}" for zoo in zoos}


def test_a_contrast_of_sequences_of_several_lengths_is_refused(tmp_path):
    data = data_of_zoos(config_of(**BOTH), populations(tmp_path), CPU)
    layouts = [each.codec.layout for each in data]
    shortest = min(len(layout.index) for layout in layouts)
    for window in (None, shortest + 1):
        config = config_of(contrast_weight=0.1, window=window)
        with pytest.raises(InputError, match=rf"^window: the contrast compares sequences of one length: {shortest} at most"):
            Autoencoder(config, layouts, torch.Generator())
    for changes in ({"contrast_weight": 0.1, "window": shortest}, {}):
        model = Autoencoder(config_of(**changes), layouts, torch.Generator().manual_seed(0))
        assert nn.utils.parameters_to_vector(model.parameters()).isfinite().all()


# scenarios


def scenario_of_two(folder, **changes):
    content = scenario_content()
    content |= {"predictors": {}, "figures": {}}
    content["zoos"]["digits"]["num_seeds"] = 40
    content["zoos"]["mlps"] = content["zoos"]["digits"] | {"architecture": "mlp"}
    both = content["autoencoders"]["plain"] | {"zoo": ["digits", "mlps"], "label": "Both"} | changes
    content["autoencoders"]["both"] = both
    return content, lambda: read(folder, content)


def test_an_autoencoder_of_two_zoos_is_a_cell_for_each_in_tables_and_figures(tmp_path):
    content, scenario = scenario_of_two(tmp_path)
    content["figures"] = {"reconstruction": {"cells": ["both_*", "plain"]}}
    cells = {row["cell"]: row for row in scenario().cells("mine") if row["stage"] == "autoencoder"}
    assert {name: (row["of"], row["label"]) for name, row in cells.items()} == {
        "plain": ("digits", "plain"), "both_digits": ("digits", "Both, digits"), "both_mlps": ("mlps", "Both, mlps"),
    }  # fmt: skip
    assert scenario().shown_in("reconstruction") == ["both_digits", "both_mlps", "plain"]
    assert ("autoencoder", "both", 0) in scenario().measured()
    check_scenario(scenario(), "mine")


REFUSED = {
    "an unknown zoo": ({"zoo": ["digits", "others"]}, "autoencoders.both.zoo: there is no cell 'others' in zoos"),
    "a zoo twice": ({"zoo": ["digits", "digits"]}, "autoencoders.both.zoo: .*names 'digits' twice"),
    "an epoch that one does not keep": ({"epochs": [1]}, "autoencoders.both.epochs: zoo 'digits' keeps no epoch 1"),
    "a contrast of two lengths": ({"contrast_weight": 0.1}, "autoencoders.both.window: the contrast compares"),
}


@pytest.mark.parametrize(("changes", "told"), REFUSED.values(), ids=REFUSED)
def test_several_zoos_that_do_not_fit_are_named(tmp_path, changes, told):
    _, scenario = scenario_of_two(tmp_path, **changes)
    with pytest.raises(InputError, match=told):
        check_scenario(scenario(), "mine")


def test_a_name_that_a_cell_of_one_zoo_has_already_is_refused(tmp_path):
    content, scenario = scenario_of_two(tmp_path)
    content["autoencoders"]["both_mlps"] = content["autoencoders"]["plain"]
    with pytest.raises(InputError, match="autoencoders.both.zoo: a cell has the name 'both_mlps' too"):
        scenario()
