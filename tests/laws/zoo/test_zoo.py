"""A zoo is its models' identities: whatever stack, shard or death they were trained through."""

from itertools import combinations
from typing import NamedTuple

import pytest
import torch
import weightspace.training
from corner_images import planted_images
from killing import Eager, killed
from torch import Tensor
from weightspace.checkpoints import in_range, read_zoo, which_learned, write_index
from weightspace.ensemble import learning_bar
from weightspace.images.tensors import normalize
from weightspace.nets.forward import forward, unflatten
from weightspace.nets.steps import Training
from weightspace.parts import AVERAGED
from weightspace.settings import settings_hash
from weightspace.store import TrainingState
from weightspace.table import Source, write_metrics
from weightspace.training import new_stack
from weightspace.zoo.metrics import METRICS
from weightspace.zoo.settings import ZooConfig
from weightspace.zoo.train import (
    IDENTITY,
    MEASURES,
    TrainedModels,
    join_shards,
    make_task,
    members,
    models_table,
    shard_writer,
    split_of,
    train_models,
    trainee,
    zoo_metrics,
)

LINEAR = ["flatten", "linear 6", "activation", "linear classes"]
CONV = ["conv 3 3", "pool 2", "activation", "conv 4 2", "activation", "flatten", "linear classes"]
NORMED = ["branch", "conv 3 3 1", "batch_norm", "add", "activation", "mean", "linear classes"]
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
    trained = train_models(task, "planted", models, TrainingState(path, key), writer)
    weights = writer.finish().read([member.model for member in models], config.epochs)
    return Trained(*trained, weights), models_table(config, models, trained)


def start_of(config):
    """Weights of all models before their first step."""
    trainees = [trainee(config, member, "planted") for member in members(config)]
    return new_stack(make_task(config, planted_images()), trainees).weights


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
    weights = start_of(config)
    for ours, theirs in combinations(zoo, 2):
        share = shared is not None and ours.init == theirs.init and ours.seed % shared == theirs.seed % shared
        assert torch.equal(weights[ours.model], weights[theirs.model]) == share


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


# draws, and the mean of the last epochs


SEEDS = {  # of the kept references' networks: start, order and dropout of model 3 of the zoo `nets`
    "teacher": [("teacher", "nets", 3), ("teacher", "nets", 3, "order"), ("teacher", "nets", 3, "dropout")],
    "original": [("original", "nets", 3), ("original", "nets", 3, "epoch"), ("original", "nets", 3, "dropout")],
}


@pytest.mark.parametrize("draws", SEEDS)
def test_draws_of_other_populations_are_of_the_zoos_name_and_the_models_index(draws):
    config = config_of(draws=draws)
    member = members(config)[3]
    own = trainee(config, member, "nets")
    assert [own.start, own.order, own.dropout] == SEEDS[draws]
    assert (own.init, own.learning_rate, own.weight_decay) == member[1:4]
    assert make_task(config, planted_images()).counts_anew == (draws == "original")
    assert len({tuple(row.tolist()) for row in start_of(config)}) == config.num_models


@pytest.mark.parametrize("draws", ["combination", "teacher"])
def test_joined_shards_have_the_mean_of_the_last_epochs_of_each_model_by_its_own_draws(tmp_path, draws):
    config = config_of(draws=draws, epochs=[1, 2, 3], averaged_epochs=2, num_shards=3, num_seeds=1)
    train(config_of(draws=draws, epochs=[1, 2, 3], num_seeds=1), tmp_path / "whole")
    shards, tables = [], []
    for shard in range(3):
        tables.append(train(config, tmp_path / f"{shard}", members(config)[shard::3])[1])
        shards.append(read_zoo(tmp_path / f"{shard}.parts"))
    zoo, whole = join_shards(shards, tables)[0], read_zoo(tmp_path / "whole.parts")
    write_index(tmp_path / "zoo", zoo)
    assert read_zoo(tmp_path / "zoo")._replace(path=zoo.path) == zoo
    assert (zoo.epochs, zoo.stored, whole.stored) == ([1, 2, 3], [1, 2, 3, AVERAGED], [1, 2, 3])
    each = zoo.read(zoo.models, zoo.epochs)
    assert torch.equal(each, whole.read(whole.models, whole.epochs))
    torch.testing.assert_close(zoo.read(zoo.models, [AVERAGED])[:, 0], each[:, 1:].mean(1))


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
        assert {name: row[name] for name in IDENTITY} == dict(zip(IDENTITY, member, strict=False))
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


def test_residual_models_are_measured_by_the_statistics_that_they_learned(tmp_path):
    """In use: with those of the images at hand, answers would be others."""
    config, images = config_of(architecture=NORMED, schedule="one_cycle", augment=True, label_smoothing=0.1), planted_images()
    trained, _ = train(config, tmp_path / "state")
    spec, x = make_task(config, images).spec, normalize(images.test_x, images).unsqueeze(0)
    for epoch in (1, 2):
        weights = trained.weights[:, epoch].contiguous()
        statistics = {name: each for name, each in unflatten(spec, weights).items() if "running" in name}
        started = unflatten(spec, trained.weights[:, 0].contiguous())
        assert all((each != started[name]).all() for name, each in statistics.items())
        for training, same in ((Training(), True), (Training({}), False)):
            accuracy = (forward(spec, weights, x, training=training).argmax(2) == images.test_y).float().mean(1)
            assert torch.equal(accuracy, trained.measures[:, epoch, MEASURES.index("test_accuracy")]) == same


def test_a_zoo_of_untrained_models_is_a_zoo(tmp_path):
    config = config_of(epochs=[0])
    trained, _ = train(config, tmp_path / "state")
    start = start_of(config)
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


def train_killed(config, path, monkeypatch, epochs, key="run"):
    """Train a zoo and die after so many epochs of stacks."""
    with killed(monkeypatch, weightspace.training, epochs):
        task = make_task(config, planted_images())
        train_models(task, "planted", members(config), Eager(path, key), shard_writer(task, f"{path}.parts"))


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
    original = weightspace.training.train_epoch
    monkeypatch.setattr(weightspace.training, "train_epoch", lambda *args: done.append(1) or original(*args))
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
