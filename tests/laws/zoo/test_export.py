"""What is exported is the network: plain torch loads it strictly and answers alike, and the import reads it back."""

import importlib.util
import json
import re

import pandas as pd
import pyarrow as pa
import pytest
import torch
import yaml
from planted_zoos import stored_zoo
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn
from weightspace.checkpoints import write_index
from weightspace.ensemble import outputs
from weightspace.errors import InputError
from weightspace.nets.activations import ACTIVATIONS
from weightspace.nets.init import initial_weights
from weightspace.nets.layers import LAYERS, WRITTEN
from weightspace.nets.printed import module_text
from weightspace.nets.spec import ARCHITECTURES, RESIDUAL_ARCHITECTURES, build_spec
from weightspace.rng import generator_for
from weightspace.table import read_table, write_table
from weightspace.zoo.export import chosen, export_zoo, main
from weightspace.zoo.importing import import_zoo
from weightspace.zoo.sources import CheckpointsConfig

LAYERS_OF_IMAGES = [
    "conv 6 3 1", "layer_norm", "activation", "conv 8 3 1 2 2", "avg_pool 3 1 2", "branch", "conv 8 3 1", "batch_norm",
    "activation", "branch", "conv 8 1", "add", "add", "dropout 0.3", "pool 3 1 2", "flatten", "linear 5", "layer_norm",
    "activation", "linear classes",
]  # fmt: skip
LAYERS_OF_SEQUENCES = [
    "conv 6 3 1", "branch", "conv 9 3 1 2", "activation", "add_padded", "conv 8 2 0 2", "sequence", "position_embedding",
    "branch", "layer_norm", "linear 24", "attention 2", "linear 8", "add", "activation", "dropout 0.1", "branch", "linear 8",
    "add", "layer_norm", "mean", "linear classes",
]  # fmt: skip
SHAPES = {"resnet18": (3, 40, 40), "cnn_digits": (1, 8, 8), "cnn": (1, 28, 28), "mlp": (3, 4, 4)}


def network_of(text):
    """The class that a printed module defines."""
    space = {}
    exec(compile(text, "network.py", "exec"), space)
    return space["Network"]


def moved(spec, *identity):
    """Weights of a network in float64, running statistics and norms among them, none at the value that it starts from."""
    rng = generator_for("export", *identity)
    weights = initial_weights(spec, "kaiming_normal", rng, bias=None).double()
    return weights + 0.05 * torch.rand(spec.num_weights, generator=rng, dtype=torch.float64)


def assert_answers_alike(spec, weights, network):
    images = torch.randn(5, *spec.image_shape, generator=generator_for("export", "images"), dtype=torch.float64)
    ours = outputs(spec, weights.unsqueeze(0), images)[0]
    with torch.no_grad():
        torch.testing.assert_close(
            network.double().eval()(images), ours, rtol=0, atol=1e-6 * float(ours.abs().max().clamp_min(1))
        )


def loaded(spec, weights):
    """The printed module with weights that were taken apart by the spec's names alone."""
    network, start, state = network_of(module_text(spec))(), 0, {}
    for name, shape in spec.shapes.items():
        size = torch.Size(shape).numel()
        state[name] = weights[start : start + size].view(shape)
        start += size
    network.load_state_dict(state, strict=True)
    return network


@pytest.mark.slow
@pytest.mark.parametrize("name", [*ARCHITECTURES, *RESIDUAL_ARCHITECTURES])
def test_every_shipped_architecture_answers_as_its_printed_module(name):
    spec = build_spec(name, "relu", SHAPES.get(name, (3, 32, 32)), 7)
    weights = moved(spec, name)
    assert_answers_alike(spec, weights, loaded(spec, weights))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("layers", [LAYERS_OF_IMAGES, LAYERS_OF_SEQUENCES], ids=["images", "sequences"])
def test_every_activation_and_every_kind_of_layer_is_printed(activation, layers):
    spec = build_spec(layers, activation, (2, 12, 12), 3)
    weights = moved(spec, activation)
    assert_answers_alike(spec, weights, loaded(spec, weights))


def test_every_kind_of_layer_is_printed_or_has_a_route():
    tried = {layer.partition(" ")[0] for layer in LAYERS_OF_IMAGES + LAYERS_OF_SEQUENCES}
    assert tried == set(WRITTEN)
    for layer in LAYERS.values():
        assert (layer.printed is None) == (layer.route is not None)


def test_the_printed_module_is_what_it_says():
    text = module_text(build_spec("cnn", "tanh", (1, 28, 28), 10))
    assert "        self.conv1 = nn.Conv2d(1, 8, 5)\n" in text
    assert "        return torch.tanh(x)\n" in text
    network = network_of(text)()
    assert isinstance(network, nn.Module)
    assert sum(parameter.numel() for parameter in network.parameters()) == 2464


def small_zoo(folder, epochs=(0, 3), num=5):
    spec = build_spec(["conv 3 3", "activation", "flatten", "linear classes"], "g", (1, 6, 6), 4)
    weights = torch.stack([torch.stack([moved(spec, n, e).float() for e in epochs]) for n in range(num)])
    models = pd.DataFrame([
        {"model": n, "epoch": e, "init": "normal", "seed": n, "test_accuracy": 0.1 * n, "train_accuracy": 0.15 * n,
         "diverged": False, "split": ["train", "val", "test"][n % 3]}
        for n in range(num) for e in epochs
    ])  # fmt: skip
    return stored_zoo(folder / "tiny" / "shards" / "0", spec, epochs, weights, [num - 2, 2]), models


def test_an_exported_zoo_loads_in_plain_torch_from_its_own_folder(tmp_path):
    zoo, models = small_zoo(tmp_path)
    files = export_zoo(zoo, models, tmp_path / "out", "tiny")
    module = importlib.util.spec_from_file_location("network", tmp_path / "out" / "network.py")
    namespace = importlib.util.module_from_spec(module)
    module.loader.exec_module(namespace)
    images = torch.randn(2, 1, 6, 6)
    for row, file in zip(models.to_dict("records"), files, strict=True):
        with safe_open(tmp_path / "out" / file, "pt") as opened:
            assert opened.metadata() == {"format": "pt"}
        network = namespace.Network()
        network.load_state_dict(load_file(tmp_path / "out" / file), strict=True)
        weights = zoo.checkpoints([(row["model"], row["epoch"])])[0]
        torch.testing.assert_close(network.eval()(images), outputs(zoo.spec, weights[None], images)[0], rtol=0, atol=1e-6)
    assert not list(tmp_path.glob("*.partial"))


def test_an_exported_zoo_is_imported_as_it_was(tmp_path):
    zoo, models = small_zoo(tmp_path)
    export_zoo(zoo, models, tmp_path / "out", "tiny")
    back = import_zoo(CheckpointsConfig(source="checkpoints", path=str(tmp_path / "out")), None, tmp_path / "back")
    assert back.zoo.spec == zoo.spec
    assert back.zoo.epochs == zoo.epochs
    assert torch.equal(back.zoo.read(zoo.models, zoo.epochs), zoo.read(zoo.models, zoo.epochs))
    assert back.dropped.num_rows == 0
    table = back.models.to_pandas()
    for column in models:
        assert table[column].tolist() == models[column].tolist()


def test_a_card_has_front_matter_and_code_that_runs(tmp_path, monkeypatch):
    zoo, models = small_zoo(tmp_path)
    export_zoo(zoo, models[models["model"] == 2], tmp_path / "out", "tiny")
    text = (tmp_path / "out" / "README.md").read_text()
    front, body = re.fullmatch(r"---\n(.*?)---\n(.*)", text, flags=re.DOTALL).groups()
    assert yaml.safe_load(front)["library_name"] == "pytorch"
    assert "1 model at epochs 0, 3" in body
    assert "median 0.200" in body
    assert json.loads((tmp_path / "out" / "config.json").read_text())["activation"] == "g"
    monkeypatch.chdir(tmp_path / "out")
    monkeypatch.syspath_prepend(tmp_path / "out")
    session: dict = {}
    exec(compile(*re.findall(r"```python\n(.*?)```", body, flags=re.DOTALL), "README.md", "exec"), session)
    assert session["logits"].shape == (1, 4)


def test_the_command_exports_chosen_models_and_says_what_is_wrong(tmp_path, capsys):
    zoo, models = small_zoo(tmp_path)
    write_index(tmp_path / "tiny" / "weights.safetensors", zoo)
    measured = pd.concat([models, models.query("epoch == 3").assign(epoch=4)])  # at an epoch more than is stored
    write_table(tmp_path / "tiny" / "models.parquet", pa.Table.from_pandas(measured, preserve_index=False))
    main([str(tmp_path / "tiny"), str(tmp_path / "one"), "--models", "3", "--epochs", "3"])
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'one'}: 1 state dict")
    names = {path.name for path in (tmp_path / "one").iterdir()}
    assert names == {"README.md", "config.json", "model.safetensors", "models.parquet", "network.py"}
    assert read_table(tmp_path / "one" / "models.parquet").to_pylist()[0]["file"] == "model.safetensors"
    for arguments, told in {
        ("tiny", "one"): "one: exists already",
        ("none", "two"): "weights.safetensors: no such file",
        ("tiny", "two", "--models", "9"): "there are no weights of model 9",
        ("tiny", "two", "--epochs", "4"): "there are no weights of epoch 4",
    }.items():
        zoo_folder, folder, *rest = arguments
        with pytest.raises(SystemExit, match=told):
            main([str(tmp_path / zoo_folder), str(tmp_path / folder), *rest])
        assert not (tmp_path / "two").exists()


def test_models_and_epochs_that_are_not_there_together_are_said(tmp_path):
    _, models = small_zoo(tmp_path)
    assert len(chosen(models, [1, 2], [3])) == 2
    with pytest.raises(InputError, match="there are no weights of epoch 3"):
        chosen(models[(models["model"] != 1) | (models["epoch"] != 3)], [1], [3])
