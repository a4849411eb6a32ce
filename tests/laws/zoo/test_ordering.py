"""Every model of a zoo is put beside one of them, once, at all its epochs."""

import pyarrow as pa
import pytest
import torch
from planted_zoos import stored_zoo
from weightspace.autoencoder.data import Population, checkpoints_by_split
from weightspace.autoencoder.settings import AutoencoderSettings
from weightspace.errors import InputError
from weightspace.nets.forward import forward
from weightspace.nets.spec import build_spec
from weightspace.nets.symmetry import permutation_map, sample_permutations
from weightspace.unit_orders import UnitOrders, in_order, read_unit_orders, write_unit_orders
from weightspace.zoo.ordering import unit_orders

LAYERS = ["conv 6 3", "batch_norm", "activation", "pool 2", "flatten", "linear 5", "activation", "linear classes"]
SPEC = build_spec(LAYERS, "relu", (1, 6, 6), 3)
EPOCHS, SPLITS = [1, 2, 4], ["val", "train", "test", "train", "test", "val", "train"]


def planted(folder, diverged=(), noise=0.0, spec=SPEC):
    """A zoo of one network that moves a little, permuted anew for each model, and its table."""
    num = len(SPLITS)
    same = (torch.randn(spec.num_weights) + 0.01 * torch.randn(len(EPOCHS), spec.num_weights)).expand(num, -1, -1)
    permutations = sample_permutations(spec, num, torch.Generator().manual_seed(0))
    weights = same.gather(2, permutation_map(spec, permutations).unsqueeze(1).expand_as(same)) if permutations else same.clone()
    weights = weights + noise * torch.randn(weights.shape)
    for model, epoch in diverged:
        weights[model, EPOCHS.index(epoch)] = torch.nan
    rows = [
        {"model": model, "epoch": epoch, "split": split, "diverged": (model, epoch) in diverged, "init_tensor": "a"}
        for model, split in enumerate(SPLITS) for epoch in [*EPOCHS, 9]
    ]  # fmt: skip
    return stored_zoo(folder / "zoo", spec, EPOCHS, weights, [3, 4]), pa.Table.from_pylist(rows), weights


def in_places(weights, found):
    """All checkpoints, [model, epoch, weight], in the order that was found."""
    models = torch.arange(len(weights)).repeat_interleave(len(EPOCHS)).tolist()
    return in_order(SPEC, weights.flatten(0, 1), models, found).view_as(weights)


def test_permuted_copies_lie_in_the_references_places_at_every_epoch(tmp_path):
    zoo, table, weights = planted(tmp_path)
    found = unit_orders(zoo, table)
    assert (found.reference, found.models) == (1, list(range(7)))
    assert torch.equal(in_places(weights, found), weights[1].expand(7, -1, -1))


def test_ordered_networks_do_what_they_did_and_the_reference_is_untouched(tmp_path):
    zoo, table, weights = planted(tmp_path, noise=0.5)
    weights = weights.abs()  # of running variances too
    found = unit_orders(zoo, table)
    after = in_places(weights, found)
    images = torch.randn(1, 4, 1, 6, 6)
    for epoch in range(len(EPOCHS)):
        ours, theirs = (forward(SPEC, stack[:, epoch].contiguous(), images) for stack in (after, weights))
        torch.testing.assert_close(ours, theirs)
    assert torch.equal(after[1], weights[1])
    assert not torch.equal(after, weights)


def test_a_model_that_diverged_is_ordered_by_its_last_usable_epoch_and_is_no_reference(tmp_path):
    diverged = {(1, 4), (2, 2), (2, 4), *((5, epoch) for epoch in EPOCHS)}
    zoo, table, weights = planted(tmp_path, diverged)
    found = unit_orders(zoo, table)
    assert (found.reference, found.models) == (3, [0, 1, 2, 3, 4, 6])
    usable = weights[:5][:, :1].flatten(0, 1)
    ordered = in_order(SPEC, usable, list(range(5)), found)
    assert torch.equal(ordered, weights[3, 0].expand(5, -1))


def test_without_a_usable_train_model_there_is_nothing_to_align_with(tmp_path):
    zoo, table, _ = planted(tmp_path, {(1, 4), (3, 4), (6, 4)})
    with pytest.raises(InputError, match="no train model is usable at epoch 4"):
        unit_orders(zoo, table)


def test_orders_come_back_from_their_file(tmp_path):
    zoo, table, _ = planted(tmp_path)
    found = unit_orders(zoo, table)
    write_unit_orders(tmp_path / "orders", found)
    again = read_unit_orders(tmp_path / "orders")
    assert again[:2] == found[:2]
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(again.orders, found.orders, strict=True))


def test_networks_without_hidden_units_stay_as_they_are():
    weights = torch.randn(2, 5)
    assert in_order(SPEC, weights, [0, 1], UnitOrders(0, [0, 1], [])) is weights


def test_an_autoencoder_sees_the_aligned_networks_of_every_split(tmp_path):
    zoo, table, weights = planted(tmp_path)
    config = AutoencoderSettings(zoo="planted", steps=1, structure_weight=1.0, align=True)
    found = unit_orders(zoo, table)
    for orders, alike in ((found, True), (None, False)):
        population = Population("planted", zoo._replace(bar=None), table, orders=orders)
        for part in checkpoints_by_split(config, population, torch.device("cpu")).values():
            for epoch in EPOCHS:
                own = part.at_epoch(epoch).weights
                assert bool((own == own[:1]).all()) == alike
                assert not alike or torch.equal(own[0], weights[1, EPOCHS.index(epoch)])
