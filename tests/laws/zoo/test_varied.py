"""A zoo of several stacks is one zoo: its models are those of zoos of one stack, and each network has its own activation."""

import importlib.util
from collections import Counter
from contextlib import suppress

import pytest
import torch
from corner_images import planted_images
from safetensors.torch import load_file
from test_zoo import CONV, LINEAR, config_of, train, train_killed
from weightspace.checkpoints import chosen_networks, read_zoo, write_index
from weightspace.chosen import ChosenNetworks
from weightspace.ensemble import each_by_its_own, evaluate, outputs
from weightspace.errors import InputError
from weightspace.images.tensors import normalize
from weightspace.nets.forward import unflatten
from weightspace.table import Source, read_table
from weightspace.zoo.export import export_zoo
from weightspace.zoo.lines import alignment_metrics, models_to_align
from weightspace.zoo.members import members, recipe_of, split_of, stacks_of
from weightspace.zoo.properties import properties_table
from weightspace.zoo.settings import AlignmentConfig, ZooConfig
from weightspace.zoo.train import join_shards, make_task, shard_members, tasks_of

VARIED = {"activation": ["relu", "tanh"], "batch_size": [8, 5]}
ONE = {"inits": ["kaiming_normal"], "learning_rates": [0.01], "weight_decays": [0.0]}


def varied_of(varied=VARIED, **changes):
    content = config_of(**ONE).model_dump() | changes
    return ZooConfig(**{name: value for name, value in content.items() if name not in varied} | {"varied": varied})


def network_of(path):
    """The class of an exported module."""
    module = importlib.util.spec_from_file_location("network", path)
    namespace = importlib.util.module_from_spec(module)
    module.loader.exec_module(namespace)
    return namespace.Network()


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A trained zoo of two activations, two batch sizes and two seeds each: configuration, index and table."""
    folder, config = tmp_path_factory.mktemp("mixed"), varied_of()
    _, table = train(config, folder / "zoo", shard_members(config, 0))
    return config, read_zoo(folder / "zoo.parts"), table


# who is in it


def test_members_are_every_combination_once_and_their_stack_is_what_they_were_given():
    config = varied_of({"activation": ["relu", "tanh", "g"], "augment": [False, True]}, num_seeds=3, learning_rates=[0.1, 0.2])
    zoo = members(config)
    assert len({member.identity for member in zoo}) == len(zoo) == config.num_models == 36
    assert [member.model for member in zoo] == list(range(36))
    assert [member.seed for member in zoo] == sorted(member.seed for member in zoo)
    for member in zoo:
        stack = config.stacks[member.stack]
        assert member.varied == (f"activation={stack.activation}", f"augment={stack.augment}")
        assert stack.choices == {}
    assert Counter(member.stack for member in zoo) == dict.fromkeys(range(6), 6)


def test_a_zoo_in_which_nothing_varies_is_what_it_was():
    config = config_of()
    assert [member.identity for member in members(config)] == [tuple(member)[1:5] for member in members(config)]
    assert config.stacks == [config]
    assert "varied" not in config.model_dump()


@pytest.mark.parametrize("varied", [VARIED, {"architecture": [LINEAR, "mlp 3"], "schedule": ["steps", "cosine"]}], ids=str)
def test_what_a_job_is_told_is_the_zoo(varied):
    config = varied_of(varied)
    assert ZooConfig(**config.model_dump(mode="json")) == config
    assert set(config.model_dump()) & set(varied) == set()


def test_models_that_share_an_init_start_equal_whatever_does_not_shape_it():
    config = varied_of({"activation": ["relu", "tanh"], "biases": ["published", "uniform"]}, shared_inits=1, num_seeds=2)
    starts = {member.init_identity(config) for member in members(config)}
    assert len(starts) == 2
    alone = varied_of(num_seeds=2)
    assert len({member.init_identity(alone) for member in members(alone)}) == alone.num_models


# training


def of_one_stack(config, stack):
    """The zoo in which settings that vary have one value each."""
    own = config.stacks[stack]
    return varied_of({name: [getattr(own, name)] for name in config.choices}, num_seeds=config.num_seeds)


def test_models_of_each_stack_are_those_of_a_zoo_of_that_stack_alone_to_the_last_bit(mixed, tmp_path):
    """Draws are by a model's identity, which has what it was given of the settings that vary."""
    config, zoo, table = mixed
    rows = {(row["model"], row["epoch"]): row for row in table.to_pylist()}
    for stack in range(config.num_stacks):
        alone, own = train(of_one_stack(config, stack), tmp_path / f"{stack}")
        models = [member.model for member in members(config) if member.stack == stack]
        assert torch.equal(alone.weights, zoo.read(models, config.epochs))
        for row in own.to_pylist():
            assert row == rows[models[row["model"]], row["epoch"]] | {"model": row["model"]}


def test_rows_have_what_varies_and_splits_are_of_the_whole_zoo(mixed):
    config, _, table = mixed
    for row in table.to_pylist():
        member = members(config)[row["model"]]
        assert member.varied == (f"activation={row['activation']}", f"batch_size={row['batch_size']}")
        assert row["split"] == split_of(member, config)
    assert {(row["activation"], row["batch_size"]) for row in table.to_pylist()} == {
        ("relu", 8), ("relu", 5), ("tanh", 8), ("tanh", 5),
    }  # fmt: skip


def test_joined_shards_are_the_zoo_trained_as_one(mixed, tmp_path):
    config, zoo, table = mixed
    shards, tables = [], []
    for shard in range(2):  # of one batch size each, and both activations
        own = config.model_copy(update={"num_shards": 2})
        tables.append(train(own, tmp_path / f"{shard}", shard_members(own, shard))[1])
        shards.append(read_zoo(tmp_path / f"{shard}.parts"))
    joined, rows = join_shards(shards[::-1], tables)
    write_index(tmp_path / "zoo", joined)
    joined, models = read_zoo(tmp_path / "zoo"), range(config.num_models)
    assert [joined.spec_of(model) for model in models] == [zoo.spec_of(model) for model in models]
    assert torch.equal(joined.read(models, config.epochs), zoo.read(models, config.epochs))
    assert rows.equals(table.sort_by([("model", "ascending"), ("epoch", "ascending")]))


@pytest.mark.slow
def test_one_model_a_stack_is_the_same_to_rounding(mixed, tmp_path):
    config, zoo, _ = mixed
    alone, _ = train(config.model_copy(update={"stack_size": 1}), tmp_path / "alone")
    torch.testing.assert_close(alone.weights, zoo.read(zoo.models, zoo.epochs), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("epochs", [6, 7], ids=["between stacks", "in the second"])
def test_a_run_killed_in_its_second_stack_goes_on_bit_for_bit(mixed, tmp_path, monkeypatch, epochs):
    config, zoo, _ = mixed
    monkeypatch.setattr("test_zoo.members", lambda config: shard_members(config, 0))
    train_killed(config, tmp_path / "state", monkeypatch, epochs)  # a stack has 4 of them, untrained and after 1, 2, 3
    monkeypatch.undo()
    resumed, _ = train(config, tmp_path / "state", shard_members(config, 0))
    models = [member.model for member in shard_members(config, 0)]
    assert torch.equal(resumed.weights, zoo.read(models, config.epochs))


# the store


def test_each_model_has_its_own_spec_and_a_zoo_of_one_says_nothing_of_it(mixed, tmp_path):
    config, zoo, _ = mixed
    for member in members(config):
        assert zoo.spec_of(member.model).activation == config.stacks[member.stack].activation
    train(varied_of({"batch_size": [8, 5]}), tmp_path / "plain")
    plain = read_zoo(tmp_path / "plain.parts")
    assert plain.other == {}
    assert b'"other"' not in plain.path.read_bytes()


def test_weights_of_two_architectures_are_read_apart(tmp_path):
    config = varied_of({"architecture": [LINEAR, CONV]}, epochs=[1])
    apart = [each.spec for each in tasks_of(make_task(config, planted_images()))]
    with suppress(InputError):  # the helper reads all models at once
        train(config, tmp_path / "both", shard_members(config, 0))
    zoo = read_zoo(tmp_path / "both.parts")
    for stack, spec in enumerate(apart):
        own = [member.model for member in members(config) if member.stack == stack]
        alone, _ = train(of_one_stack(config, stack).model_copy(update={"epochs": [1]}), tmp_path / f"{stack}")
        assert torch.equal(zoo.read(own, [1]), alone.weights)
        assert {zoo.spec_of(model).architecture for model in own} == {spec.architecture}
    with pytest.raises(InputError, match="models 0 and 1 are of architectures whose weights differ in shape"):
        zoo.read(zoo.models, [1])


def test_chosen_networks_have_their_own_spec_and_unlike_ones_are_refused(mixed):
    config, zoo, _ = mixed
    relu, tanh = ([n for n in zoo.models if zoo.spec_of(n).activation == name] for name in ("relu", "tanh"))
    for models, name in ((relu, "relu"), (tanh, "tanh")):
        found = chosen_networks(zoo, ChosenNetworks(zoo="mine", models=models))
        assert (found.spec.activation, found.models) == (name, models)
        assert torch.equal(found.weights, zoo.read(models, [3])[:, 0])
    with pytest.raises(InputError, match=f"zoo 'mine': models {relu[0]} and {tanh[0]} differ in activation or architecture"):
        chosen_networks(zoo, ChosenNetworks(zoo="mine"))
    assert {stack.activation for stack in stacks_of(config, tanh)} == {"tanh"}
    assert recipe_of(config, tanh[-1:])["activation"] == "tanh"


# what reads it


def test_networks_answer_as_plain_modules_with_their_own_activation(mixed, tmp_path):
    _, zoo, table = mixed
    models = table.to_pandas()
    files = export_zoo(zoo, models, tmp_path / "out", "mixed")
    written = {row["file"]: row for row in read_table(tmp_path / "out" / "models.parquet").to_pylist()}
    weights = zoo.checkpoints(list(zip(models["model"], models["epoch"], strict=True)))
    images = torch.randn(9, 1, 6, 6)
    specs = [zoo.spec_of(model) for model in models["model"]]
    answers = each_by_its_own(zoo.spec, specs, lambda spec, places: outputs(spec, weights[places], images))
    for file, own in zip(files, answers, strict=True):
        network = network_of(tmp_path / "out" / f"{written[file]['network']}.py")
        network.load_state_dict(load_file(tmp_path / "out" / file), strict=True)
        torch.testing.assert_close(network.eval()(images), own, rtol=0, atol=1e-5)
    assert "Layers of `network_2`" in (tmp_path / "out" / "README.md").read_text()
    assert not torch.allclose(answers, outputs(zoo.spec, weights, images), atol=1e-3)


def test_measures_of_training_and_properties_are_each_networks_own(mixed):
    _, zoo, table = mixed
    images, table = planted_images(), table.sort_by([("model", "ascending"), ("epoch", "ascending")])
    found = properties_table(zoo, images, ["val_logits", "norms"])
    assert found.select(["model", "epoch"]).equals(table.select(["model", "epoch"]))
    measured = {(row["model"], row["epoch"]): row for row in table.to_pylist()}
    val, test = (normalize(each, images) for each in (images.val_x, images.test_x))
    for row in found.to_pylist():
        weights = zoo.checkpoints([(row["model"], row["epoch"])])
        spec = zoo.spec_of(row["model"])
        torch.testing.assert_close(torch.tensor(row["val_logits"]), outputs(spec, weights, val).flatten(), rtol=1e-4, atol=1e-5)
        loss = float(evaluate(spec, weights, test, images.test_y)[0])
        assert measured[row["model"], row["epoch"]]["test_loss"] == pytest.approx(loss, rel=1e-5)


def test_a_norm_of_a_layer_that_a_model_does_not_have_is_null(tmp_path):
    config = varied_of({"architecture": [LINEAR, CONV]}, epochs=[1])
    with suppress(InputError):
        train(config, tmp_path / "both", shard_members(config, 0))
    zoo = read_zoo(tmp_path / "both.parts")
    for row in properties_table(zoo, planted_images(), ["norms"]).to_pylist():
        layers = {layer.name for layer in zoo.spec_of(row["model"]).layers}
        assert {name.removeprefix("norm_") for name, value in row.items() if name.startswith("norm_") and value} == layers
        parameters = unflatten(zoo.spec_of(row["model"]), zoo.checkpoints([(row["model"], 1)]))
        whole = sum(float(each.square().sum()) for each in parameters.values()) ** 0.5
        assert row["norm"] == pytest.approx(whole, rel=1e-4)


def test_pairs_and_soups_are_of_networks_of_one_activation(mixed, capsys):
    config, zoo, table = mixed
    table = table.set_column(table.column_names.index("split"), "split", [["test"] * table.num_rows])
    alignment = AlignmentConfig(zoo="mixed", epoch=3, kind="different_init", soups=[2], num=3)
    models = models_to_align(alignment, zoo, table, torch.device("cpu"))
    assert [each.spec.activation for each in models] == ["relu", "tanh"]
    rows = alignment_metrics(alignment, models, planted_images(), Source("planted", "alignment", "cell", 0))
    told = capsys.readouterr().out.partition("different_init: ")[2].splitlines()[0]
    pairs = [[int(word) for word in pair.split(" and ")] for pair in told.split(", ")]
    assert [{zoo.spec_of(model).activation for model in pair} for pair in pairs] == [{"relu"}, {"relu"}, {"tanh"}]
    ends = {(row["subject"], row["at"]): row["value"] for row in rows if row["metric"] == "line_loss_naive"}
    measured = {row["model"]: row["test_loss"] for row in table.to_pylist() if row["epoch"] == 3}
    for n, (one, other) in enumerate(pairs):
        assert ends[str(n), 0] == pytest.approx(measured[one], rel=1e-4)
        assert ends[str(n), 100] == pytest.approx(measured[other], rel=1e-4)
    assert config.num_models == len(models[0].inits) + len(models[1].inits)
