"""A zoo is its models' identities: whatever stack, shard or death they were trained through."""

import re
from contextlib import suppress
from itertools import combinations
from typing import NamedTuple

import pytest
import torch
import weightspace.zoo.train
from corner_images import planted_images
from torch import Tensor
from weightspace.checkpoints import in_range, read_zoo, which_learned, write_index
from weightspace.ensemble import learning_bar
from weightspace.errors import InputError
from weightspace.settings import settings_hash
from weightspace.store import TrainingState
from weightspace.table import Source, write_metrics
from weightspace.zoo.metrics import METRICS
from weightspace.zoo.settings import ZooConfig
from weightspace.zoo.train import (
    MEASURES,
    TrainedModels,
    batches,
    join_shards,
    make_task,
    members,
    models_table,
    new_stack,
    shard_writer,
    split_of,
    train_models,
    zoo_metrics,
)

LINEAR = ["flatten", "linear 6", "activation", "linear classes"]
CONV = ["conv 3 3", "pool 2", "activation", "conv 4 2", "activation", "flatten", "linear classes"]
DROPOUT = ["conv 3 3", "dropout 0.2", "activation", "flatten", "dropout 0.5", "linear classes"]


def config_of(**changes):
    return ZooConfig(**{
        "images": "planted", "architecture": LINEAR, "inits": ["kaiming_normal", "uniform"], "learning_rates": [0.01, 0.05],
        "weight_decays": [0.0, 0.1], "num_seeds": 2, "batch_size": 8, "epochs": [0, 1, 3], "stack_size": 8,
    } | changes)  # fmt: skip


class Trained(NamedTuple):
    """What training leaves of some models, and their weights, read from its parts."""

    in_range: Tensor
    measures: Tensor
    weights: Tensor


def train(config, path, models=None, key="run"):
    """Models of a zoo, trained or gone on with, and their table."""
    task = make_task(config, planted_images())
    models = members(config) if models is None else models
    writer = shard_writer(task, f"{path}.parts")
    trained = train_models(task, models, TrainingState(path, key), writer)
    weights = writer.finish().read([member.model for member in models], config.epochs)
    return Trained(*trained, weights), models_table(config, models, trained)


def assert_same(ours, theirs):
    for mine, other in zip(ours[0], theirs[0], strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=0, equal_nan=True)
    assert ours[1].equals(theirs[1]) or str(ours[1].to_pylist()) == str(theirs[1].to_pylist())


# who is in it


def test_members_are_every_combination_once_with_seeds_slowest():
    config = config_of(num_seeds=3)
    zoo = members(config)
    assert len({member.identity for member in zoo}) == len(zoo) == config.num_models
    assert [member.model for member in zoo] == list(range(len(zoo)))
    assert [member.seed for member in zoo] == sorted(member.seed for member in zoo)


@pytest.mark.parametrize("shared", [None, 1, 2])
def test_models_that_share_an_init_start_equal_and_no_others(shared):
    config = config_of(shared_inits=shared, num_seeds=5, stack_size=64)
    zoo = members(config)
    weights = new_stack(make_task(config, planted_images()), zoo).weights
    for ours, theirs in combinations(zoo, 2):
        share = shared is not None and ours.init == theirs.init and ours.seed % shared == theirs.seed % shared
        assert torch.equal(weights[ours.model], weights[theirs.model]) == share


def test_each_model_sees_every_image_once_per_epoch_in_its_own_order_each_time():
    config = config_of(batch_size=7)
    task, zoo = make_task(config, planted_images()), members(config)[:3]
    orders = [torch.cat([images for images, _ in batches(task, zoo, epoch)], 1).flatten(2) for epoch in (1, 2)]
    every = orders[0][0]
    for order in (*orders[0], *orders[1]):
        assert torch.equal(order.sum(1).sort().values, every.sum(1).sort().values)
    assert all(not torch.equal(ours, theirs) for ours, theirs in combinations([*orders[0], *orders[1]], 2))


def test_labels_stay_with_their_images():
    task = make_task(config_of(), planted_images())
    for images, labels in batches(task, members(task.config)[:2], 1):
        corner = images[..., :3, :3].mean((2, 3, 4))
        assert torch.equal((corner * 0.15 * 255 + 0.2 * 255 - 50).div(60).round().long(), labels)


# splits


def test_a_split_is_a_models_own_whoever_else_is_in_the_zoo():
    small = config_of(num_seeds=4)
    large = config_of(num_seeds=20, learning_rates=[0.01, 0.02, 0.05], inits=["uniform", "kaiming_normal"])
    ours, theirs = ({member.identity: split_of(member, config) for member in members(config)} for config in (small, large))
    assert len(set(ours.values())) == 3
    assert ours.items() <= theirs.items()


@pytest.mark.slow
def test_splits_have_roughly_their_shares():
    config = config_of(num_seeds=500, val_share=0.15, test_share=0.25)
    splits = [split_of(member, config) for member in members(config)]
    for split, share in {"train": 0.6, "val": 0.15, "test": 0.25}.items():
        assert abs(splits.count(split) / len(splits) - share) < 4 * (share * (1 - share) / len(splits)) ** 0.5


@pytest.mark.parametrize("share", ["val_share", "test_share"])
def test_a_larger_share_of_one_split_takes_no_model_out_of_it(share):
    few, many = config_of(num_seeds=50, **{share: 0.1}), config_of(num_seeds=50, **{share: 0.3})
    name = share.removesuffix("_share")
    chosen = [{m.model for m in members(config) if split_of(m, config) == name} for config in (few, many)]
    assert chosen[0] < chosen[1] or share == "val_share"
    assert len(chosen[0]) < len(chosen[1])


# training


@pytest.mark.slow
def test_training_learns(tmp_path):
    trained, _ = train(config_of(inits=["kaiming_normal"], weight_decays=[0.0], epochs=[0, 40]), tmp_path / "state")
    measures = trained.measures
    loss = measures[..., MEASURES.index("train_loss")]
    accuracy = measures[..., MEASURES.index("train_accuracy")]
    assert (loss[:, 1] < loss[:, 0]).all()
    assert accuracy[:, 1].mean() > 0.9 > 0.6 > accuracy[:, 0].mean()


@pytest.mark.slow
@pytest.mark.parametrize("architecture", [LINEAR, CONV, DROPOUT], ids=["linear", "conv", "dropout"])
@pytest.mark.parametrize("num_shards", [1, 2, 3])
def test_joined_shards_are_the_zoo_trained_as_one(tmp_path, num_shards, architecture):
    """Bit for bit: stacks of two or more models."""
    config = config_of(architecture=architecture, num_shards=num_shards)
    whole, table = train(config_of(architecture=architecture), tmp_path / "whole")
    spec = make_task(config, planted_images()).spec
    shards, tables = [], []
    for shard in range(num_shards):
        tables.append(train(config, tmp_path / f"{shard}", members(config)[shard::num_shards])[1])
        shards.append(read_zoo(tmp_path / f"{shard}.parts"))
    zoo, joined = join_shards(shards[::-1], tables[::-1])
    write_index(tmp_path / "zoo", zoo)
    zoo = read_zoo(tmp_path / "zoo")
    assert torch.equal(zoo.read(zoo.models, zoo.epochs), whole.weights)
    assert joined.equals(table)
    assert (zoo.spec, zoo.epochs, zoo.models) == (spec, config.epochs, list(range(config.num_models)))


@pytest.mark.slow
@pytest.mark.parametrize("architecture", [LINEAR, CONV], ids=["linear", "conv"])
def test_a_model_in_a_stack_of_its_own_is_the_same_to_rounding(tmp_path, architecture):
    config = config_of(architecture=architecture, learning_rates=[0.001], weight_decays=[0.0])
    together, _ = train(config, tmp_path / "together")
    alone, _ = train(config.model_copy(update={"stack_size": 1}), tmp_path / "alone")
    torch.testing.assert_close(alone.weights, together.weights, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_a_model_that_diverged_is_a_row_like_others(tmp_path):
    config = config_of(optimizer="sgd", learning_rates=[0.01, 1e30])
    trained, table = train(config, tmp_path / "state")
    rows = table.to_pylist()
    assert len(rows) == config.num_models * len(config.epochs)
    for row in rows:
        member = members(config)[row["model"]]
        assert row["diverged"] == (member.learning_rate == 1e30 and row["epoch"] > 0)
        assert row["split"] == split_of(member, config)
        assert {name: row[name] for name in member._fields} == member._asdict()
    healthy = [member.model for member in members(config) if member.learning_rate == 0.01]
    alone, _ = train(config, tmp_path / "alone", [members(config)[n] for n in healthy])
    assert torch.equal(alone.weights, trained.weights[healthy])
    assert torch.equal(trained.in_range, in_range(trained.weights))


@pytest.mark.slow
def test_a_checkpoint_of_finite_weights_beyond_any_sense_diverged(tmp_path):
    config = config_of()
    trained, _ = train(config, tmp_path / "state")
    trained.weights[2, 1, 0], trained.weights[3, 2, 0], trained.measures[4, 0, 0] = 3e37, 1e15, torch.inf
    known = TrainedModels(in_range(trained.weights), trained.measures)
    table = models_table(config, members(config), known).to_pandas()
    assert table.loc[table["diverged"], ["model", "epoch"]].to_numpy().tolist() == [[2, 1], [4, 0]]


@pytest.mark.slow
@pytest.mark.parametrize(("num_learned", "told"), [(0, "none of 16 models, "), (3, "3 of 16 models "), (16, "16 of 16 models ")])
def test_it_is_said_how_many_models_learned_more_than_a_constant_answer(tmp_path, num_learned, told):
    """By the last epoch, on train images; one that diverged has not."""
    config = config_of()
    trained = TrainedModels(*train(config, tmp_path / "state")[0][:2])
    bar = learning_bar(torch.tensor([0, 0, 1, 2]).repeat(100))  # a little above 1/2
    trained.measures[:, :, MEASURES.index("train_accuracy")] = 0.99
    trained.measures[num_learned:, -1, MEASURES.index("train_accuracy")] = bar - 1e-3
    assert which_learned(models_table(config, members(config), trained), bar).startswith(told)
    trained.in_range[0, -1] = False
    left = which_learned(models_table(config, members(config), trained), bar)
    assert left.startswith(f"{num_learned - 1} of 16" if num_learned > 1 else "none of 16")


def test_the_gap_is_train_minus_test_accuracy_of_the_same_epoch(tmp_path):
    trained, table = train(config_of(), tmp_path / "state")
    named = dict(zip(MEASURES, trained.measures.flatten(0, 1).T, strict=True))
    assert (
        table["generalization_gap"].to_pylist() == (named["train_accuracy"].double() - named["test_accuracy"].double()).tolist()
    )
    assert {name: table[name].to_pylist() for name in MEASURES} == {name: values.tolist() for name, values in named.items()}


def test_a_zoo_of_untrained_models_is_a_zoo(tmp_path):
    config = config_of(epochs=[0])
    trained, _ = train(config, tmp_path / "state")
    start = new_stack(make_task(config, planted_images()), members(config)).weights
    assert torch.equal(trained.weights[:, 0], start)


def test_every_measure_is_a_metric_of_every_model_and_epoch(tmp_path):
    config = config_of()
    _, table = train(config, tmp_path / "state")
    rows = zoo_metrics(Source("s", "zoo", "planted", 0), table)
    write_metrics(tmp_path / "metrics.parquet", rows, METRICS)
    values = {(row["subject"], row["metric"], row["at"]): row["value"] for row in rows}
    assert len(values) == len(rows)
    for record in table.to_pylist():
        assert values[str(record["model"]), "test_accuracy", record["epoch"]] == record["test_accuracy"]
    assert sum(name == "diverged" for _, name, _ in values) == config.num_models


# faults


class KilledError(Exception):
    """Stands for kill -9: nothing after it runs."""


class Eager(TrainingState):
    """Saves whenever asked."""

    def save_if_due(self, tensors, **metadata):
        self.next_save = 0.0
        super().save_if_due(tensors, **metadata)


def train_killed(config, path, monkeypatch, epochs, key="run"):
    """Train a zoo and die after so many epochs of stacks."""

    class Deadly:
        left = epochs

        def __init__(self, *_):
            pass

        def update(self, *_):
            type(self).left -= 1
            if not self.left:
                raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(weightspace.zoo.train, "Progress", Deadly)
        with suppress(KilledError):
            task = make_task(config, planted_images())
            train_models(task, members(config), Eager(path, key), shard_writer(task, f"{path}.parts"))
    assert Deadly.left == 0


@pytest.mark.slow
@pytest.mark.parametrize("killed_after", range(1, 9))
def test_training_killed_at_any_epoch_goes_on_bit_for_bit(tmp_path, monkeypatch, killed_after):
    config = config_of(architecture=CONV)  # two stacks of four epochs each
    train_killed(config, tmp_path / "state", monkeypatch, killed_after)
    assert_same(train(config, tmp_path / "state"), train(config, tmp_path / "whole"))


@pytest.mark.slow
@pytest.mark.parametrize("architecture", [LINEAR, DROPOUT], ids=["linear", "dropout"])
def test_a_run_killed_twice_goes_on_bit_for_bit(tmp_path, monkeypatch, architecture):
    config = config_of(architecture=architecture)
    for _ in range(2):
        train_killed(config, tmp_path / "state", monkeypatch, 3)
    assert_same(train(config, tmp_path / "state"), train(config, tmp_path / "whole"))


@pytest.mark.slow
def test_dropout_acts_in_training_and_in_no_measure(tmp_path):
    dropped, table = train(config_of(architecture=DROPOUT), tmp_path / "dropout")
    without = config_of(architecture=[layer for layer in DROPOUT if "dropout" not in layer])
    whole, other = train(without, tmp_path / "whole")
    first = [[row["test_loss"] for row in rows.to_pylist() if row["epoch"] == 0] for rows in (table, other)]
    assert first[0] == first[1]
    assert (dropped.weights[:, 1] != whole.weights[:, 1]).any(1).all()


def test_a_resumed_run_does_not_train_again_what_is_trained(tmp_path, monkeypatch):
    config = config_of()
    train_killed(config, tmp_path / "state", monkeypatch, 6)
    done = []
    original = weightspace.zoo.train.train_epoch
    monkeypatch.setattr(weightspace.zoo.train, "train_epoch", lambda *args: done.append(1) or original(*args))
    train(config, tmp_path / "state")
    assert len(done) == 2


@pytest.mark.slow
def test_a_state_of_another_run_is_ignored(tmp_path, monkeypatch):
    config, other = config_of(), config_of(learning_rates=[0.2, 0.3])
    train_killed(other, tmp_path / "state", monkeypatch, 5, key=settings_hash(other.model_dump()))
    assert_same(train(config, tmp_path / "state", key=settings_hash(config.model_dump())), train(config, tmp_path / "whole"))


def test_a_resumed_run_counts_only_its_own_epochs_as_done(tmp_path, monkeypatch, capsys):
    config = config_of(stack_size=16)
    train_killed(config, tmp_path / "state", monkeypatch, 3)  # epochs 0, 1, 2 of all 16 models
    train(config, tmp_path / "state")
    assert "model epochs 32/48: resumed" in capsys.readouterr().out


def out_of_memory(num_times, original):
    left = [num_times]

    def train_epoch(*args):
        left[0] -= 1
        if left[0] >= 0:
            raise torch.OutOfMemoryError("planted")
        return original(*args)

    return train_epoch


@pytest.mark.slow
@pytest.mark.parametrize("num_times", [1, 2])
def test_when_memory_ends_the_stack_is_halved_and_the_weights_are_the_same(tmp_path, monkeypatch, capsys, num_times):
    config = config_of(architecture=CONV)
    whole = train(config, tmp_path / "whole")
    monkeypatch.setattr(weightspace.zoo.train, "train_epoch", out_of_memory(num_times, weightspace.zoo.train.train_epoch))
    assert_same(train(config, tmp_path / "state"), whole)
    sizes = re.findall(r"out of GPU memory: on with stacks of (\d+)", capsys.readouterr().out)
    assert sizes == ["4", "2"][:num_times]


def test_when_not_one_model_fits_it_is_said_in_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(weightspace.zoo.train, "train_epoch", out_of_memory(10**6, None))
    with pytest.raises(InputError, match="not even one model"):
        train(config_of(), tmp_path / "state")
