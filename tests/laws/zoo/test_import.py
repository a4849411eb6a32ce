"""What lies in files becomes a zoo: each number at its place, each file read or refused, nothing of a file ever run."""

import json
import os
import random
import zipfile
from collections import OrderedDict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from corner_images import planted_images
from safetensors.torch import save_file
from torch import nn
from weightspace.checkpoints import Zoo
from weightspace.errors import InputError
from weightspace.nets.forward import flatten, unflatten
from weightspace.nets.init import initial_weights
from weightspace.nets.spec import ARCHITECTURES, RESIDUAL_ARCHITECTURES, build_spec
from weightspace.rng import generator_for
from weightspace.table import Source, write_metrics
from weightspace.zoo.checking import check_checkpoints, files_digest
from weightspace.zoo.importing import PART_NUMBERS, import_zoo
from weightspace.zoo.inferring import PUBLISHED, Images, infer_spec
from weightspace.zoo.layouts import list_checkpoints
from weightspace.zoo.matching import match_keys
from weightspace.zoo.metrics import METRICS
from weightspace.zoo.sources import CheckpointsConfig
from weightspace.zoo.state_files import State, read_state
from weightspace.zoo.train import zoo_metrics

LAYERS = ["conv 3 3", "pool 2", "activation", "flatten", "linear 5", "activation", "linear classes"]
SMALL = build_spec(LAYERS, "tanh", (1, 8, 8), 4)
CNN = build_spec("cnn", "tanh", (1, 28, 28), 10)
PLACES = {"conv1": "module_list.0", "conv2": "module_list.3", "conv3": "module_list.6", "linear4": "module_list.9",
          "linear5": "module_list.11"}  # fmt: skip


def config_of(folder, **changes):
    return CheckpointsConfig(**{"source": "checkpoints", "path": str(folder)} | changes)


def small(folder, **changes):
    return config_of(folder, **{"architecture": LAYERS, "activation": "tanh", "image_size": 8} | changes)


class Imported(NamedTuple):
    """An imported zoo, read back whole."""

    zoo: Zoo
    models: pa.Table
    dropped: pa.Table
    weights: torch.Tensor  # [model, epoch, weight]


def imported_zoo(config, images=None, numbers=PART_NUMBERS):
    with TemporaryDirectory() as folder:
        imported = import_zoo(config, images, Path(folder, "parts"), numbers=numbers)
        return Imported(*imported, imported.zoo.read(imported.zoo.models, imported.zoo.epochs))


def weights_of(spec, *identity):
    return initial_weights(spec, "kaiming_uniform", generator_for("import", *identity))


def renamed(spec, weights, places):
    """The state dict of a network whose layers have other names."""
    states = unflatten(spec, weights)
    return OrderedDict((f"{places[name.split('.')[0]]}.{name.split('.')[1]}", tensor.clone()) for name, tensor in states.items())


def save(path, content, legacy=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)


def write_trial(folder, name, epochs=(0, 1, 2), padded=False, legacy=False, first=0, settings="params.json", **params):
    """A trial as ModelZoos publishes it: a network of cnn, results of each epoch from `first` on."""
    for epoch in epochs:
        number = f"{epoch:06d}" if padded else f"{epoch}"
        save(folder / name / f"checkpoint_{number}" / "checkpoints", renamed(CNN, weights_of(CNN, name, epoch), PLACES), legacy)
        save(folder / name / f"checkpoint_{number}" / "optimizer", {"state": {}}, legacy)
    said = {"model::type": "CNN", "model::nlin": "tanh", "model::init_type": "uniform", "optim::lr": 0.0003, "seed": 7} | params
    (folder / name / settings).write_text(json.dumps(said))
    rows = [
        {"train_acc": epoch / 10, "test_acc": epoch / 20, "train_loss": 2.0 - epoch / 10, "training_iteration": epoch,
         "time_total_s": 3.0, "hessian_trace": 5.0 + epoch, "config": said}
        for epoch in range(first, 4)
    ]  # fmt: skip
    (folder / name / "result.json").write_text("".join(json.dumps(row) + "\n" for row in rows))


def reasons(imported):
    return {(row["key"], row["reason"]): row for row in imported.dropped.to_pylist()}


# layouts


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("settings", ["params.json", "config.json"])
def test_a_published_trial_is_read_number_by_number(tmp_path, padded, legacy, settings):
    for name in ("NN_tune_trainable_b_2", "NN_tune_trainable_b_10"):
        write_trial(tmp_path / "zoo", name, padded=padded, legacy=legacy, settings=settings)
    (tmp_path / "config.json").write_text("{}")  # of the experiment, which is no trial
    imported = imported_zoo(config_of(tmp_path))
    assert imported.zoo.spec == CNN
    assert imported.zoo.epochs == [0, 1, 2]
    assert imported.dropped.num_rows == 0
    table = imported.models.to_pandas()
    for row in table.to_dict("records"):
        name = row["name"].removeprefix("zoo/")
        assert torch.equal(imported.weights[row["model"], row["epoch"]], weights_of(CNN, name, row["epoch"]))
        assert row["train_accuracy"] == row["epoch"] / 10
        assert row["generalization_gap"] == pytest.approx(row["epoch"] / 20)
        assert row["hessian_trace"] == 5 + row["epoch"]
        assert (row["init"], row["learning_rate"], row["seed"], row["activation"]) == ("uniform", 0.0003, 7, "tanh")
    assert table["name"].unique().tolist() == ["zoo/NN_tune_trainable_b_2", "zoo/NN_tune_trainable_b_10"]
    assert "time_total_s" not in table
    write_metrics(tmp_path / "metrics.parquet", zoo_metrics(Source("s", "zoo", "mine", 0), imported.models), METRICS)


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("numbered", [True, False])
def test_a_row_of_results_belongs_to_its_epoch_wherever_rows_begin(tmp_path, first, numbered):
    write_trial(tmp_path, "one", epochs=range(first, 4), first=first)
    results = tmp_path / "one" / "result.json"
    if not numbered:
        rows = [json.loads(line) for line in results.read_text().splitlines()]
        results.write_text("".join(json.dumps({"train_acc": row["train_acc"]}) + "\n" for row in rows))
    table = imported_zoo(config_of(tmp_path)).models.to_pandas()
    assert table["train_accuracy"].tolist() == [epoch / 10 for epoch in range(first, 4)]


def test_of_rows_of_one_epoch_the_last_counts_and_a_torn_line_is_told(tmp_path):
    write_trial(tmp_path, "one")
    with (tmp_path / "one" / "result.json").open("a") as file:
        file.write(json.dumps({"training_iteration": 2, "test_acc": 0.99}) + '\n{"training_iteration": 1, "test_')
    imported = imported_zoo(config_of(tmp_path))
    assert imported.models.to_pandas()["test_accuracy"].tolist() == [0.0, 0.05, 0.99]
    ((key, reason),) = reasons(imported)
    assert key is None
    assert reason == "line 6 is not a JSON object"


@pytest.mark.parametrize("text", ["{", "[" * 10**5, b"\xff\xfe"])
def test_settings_of_a_trial_that_do_not_read_are_named(tmp_path, text):
    write_trial(tmp_path, "one")
    (tmp_path / "one" / "params.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=r"one/params.json: not JSON \("):
        imported_zoo(config_of(tmp_path))


def test_a_missing_epoch_is_told_and_has_no_row(tmp_path):
    write_trial(tmp_path, "a")
    write_trial(tmp_path, "b", epochs=(0, 2))
    imported = imported_zoo(config_of(tmp_path))
    table = imported.models.to_pandas()
    assert table[table["name"] == "b"]["epoch"].tolist() == [0, 2]
    assert imported.weights[1, 1].isnan().all()
    assert imported.weights[0].isfinite().all()
    (row,) = imported.dropped.to_pylist()
    assert (row["model"], row["epoch"], row["reason"]) == ("b", 1, "there is no such checkpoint")
    with pytest.raises(InputError, match="no model has a checkpoint of epoch 7"):
        imported_zoo(config_of(tmp_path, epochs=[2, 7]))
    assert imported_zoo(config_of(tmp_path, epochs=[2])).zoo.epochs == [2]


def test_trials_of_another_activation_or_architecture_are_left_out_and_told(tmp_path):
    write_trial(tmp_path, "a")
    write_trial(tmp_path, "b", **{"model::nlin": "leakyrelu"})
    write_trial(tmp_path, "c")
    save(tmp_path / "c" / "checkpoint_1" / "checkpoints", {"conv.weight": torch.ones(2, 1, 3, 3)})
    imported = imported_zoo(config_of(tmp_path))
    assert imported.models.to_pandas()["name"].tolist() == ["a"] * 3 + ["c"] * 2
    told = imported.dropped.to_pandas()
    assert set(told.loc[told["model"] == "b", "reason"]) == {"its activation is leaky_relu, the zoo's is tanh"}
    (other,) = told.loc[told["model"] == "c", "reason"]
    assert other.startswith("there is no layer of shapes 8x1x5x5, 8 for 'conv1'")
    assert imported_zoo(config_of(tmp_path, activation="leaky_relu")).models.to_pandas()["name"].tolist() == ["b"] * 3


@pytest.mark.slow
def test_a_zoo_of_phase_transitions_is_read_one_width_at_a_time(tmp_path):
    """ResNet-18 of several widths, through DataParallel, with batch norms that count, and more results than accuracies."""
    spec_of = {}
    for width in (2, 3):
        params = {"model::type": "Resnet18_width", "model::nlin": "relu", "model::width": width, "training::batchsize": 8 * width}
        spec = spec_of[width] = build_spec(PUBLISHED["Resnet18_width"](params), "relu", (3, 32, 32), 10)
        for seed in (0, 1):
            trial = tmp_path / f"NN_tune_trainable_{width}_{seed}"
            layers = list(dict.fromkeys(name.split(".")[0] for name in spec.shapes))
            state = renamed(spec, weights_of(spec, width, seed), dict(zip(layers, torchvision_names(), strict=True)))
            state |= {f"{name}.num_batches_tracked": torch.tensor(9) for name in torchvision_names() if "bn" in name}
            save(trial / "checkpoint_000150" / "checkpoints", {f"module.{key}": tensor for key, tensor in state.items()})
            (trial / "config.json").write_text(json.dumps(params))
            row = {"training_iteration": 150, "test_acc": 0.5, "hessian_eig": 7.0}
            (trial / "result.json").write_text(json.dumps(row) + "\n")
    narrow = imported_zoo(config_of(tmp_path))
    assert narrow.zoo.spec == spec_of[2]
    assert narrow.zoo.epochs == [150]
    assert all(torch.equal(narrow.weights[seed, 0], weights_of(spec_of[2], 2, seed)) for seed in (0, 1))
    first = narrow.models.to_pylist()[0]
    assert (first["model::width"], first["training::batchsize"], first["hessian_eig"]) == (2, 16, 7)
    told = narrow.dropped.to_pandas()
    assert told.loc[told["key"].isna(), "model"].tolist() == ["NN_tune_trainable_3_0", "NN_tune_trainable_3_1"]
    assert told.loc[told["key"].notna(), "num_files"].tolist() == [2] * 17
    wide = imported_zoo(config_of(tmp_path, architecture=list(spec_of[3].architecture)))
    assert torch.equal(wide.weights[1, 0], weights_of(spec_of[3], 3, 1))
    assert wide.models.to_pandas()["name"].tolist() == ["NN_tune_trainable_3_0", "NN_tune_trainable_3_1"]


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth", ".bin", ".ckpt"])
@pytest.mark.parametrize("table", ["csv", "parquet"])
@pytest.mark.parametrize("named", ["{}", "{}.suffix", "nets/{}.suffix", "nets/{}"])
def test_files_with_a_table_are_read_whatever_names_them(tmp_path, suffix, table, named):
    names = ["net-2", "net-10", "net-1"]
    for name in names:
        state = unflatten(SMALL, weights_of(SMALL, name))
        path = tmp_path / "nets" / f"{name}{suffix}"
        path.parent.mkdir(exist_ok=True)
        save_file({k: v.contiguous() for k, v in state.items()}, path) if suffix == ".safetensors" else save(path, state)
    rows = pd.DataFrame({
        "file": [named.format(name).replace(".suffix", suffix) for name in names],
        "test_acc": [0.1, None, 0.3], "lr": [1, 2, 3], "split": ["train", "validation", "test"], "note": ["x", "y", "z"],
    })  # fmt: skip
    rows.to_csv(tmp_path / "known.csv", index=False) if table == "csv" else rows.to_parquet(tmp_path / "known.parquet")
    imported = imported_zoo(small(tmp_path))
    found = imported.models.to_pandas().set_index("name")
    assert found.index.tolist() == ["nets/net-1", "nets/net-2", "nets/net-10"]
    for model, name in enumerate(["net-1", "net-2", "net-10"]):
        assert torch.equal(imported.weights[model, 0], weights_of(SMALL, name))
    assert found["split"].tolist() == ["test", "train", "val"]
    assert found["lr"].tolist() == [3, 1, 2]
    assert found["test_accuracy"].isna().tolist() == [False, False, True]
    assert "note" not in found
    assert imported.zoo.epochs == [0]
    assert imported_zoo(small(tmp_path, epochs=[30])).models.to_pandas()["epoch"].tolist() == [30] * 3


def test_files_named_by_epoch_are_epochs_of_one_model_and_so_is_what_a_table_says(tmp_path):
    for name in ("a", "b"):
        for epoch in (1, 20):
            save(tmp_path / name / f"epoch-{epoch:03d}.pt", unflatten(SMALL, weights_of(SMALL, name, epoch)))
    imported = imported_zoo(small(tmp_path))
    assert imported.models.to_pandas()["name"].tolist() == ["a", "a", "b", "b"]
    assert torch.equal(imported.weights[1, 1], weights_of(SMALL, "b", 20))
    files = [f"{name}/epoch-{epoch:03d}.pt" for name in ("a", "b") for epoch in (1, 20)]
    pd.DataFrame({"file": files, "model": [1, 1, 0, 0], "epoch": [5, 6, 5, 6]}).to_csv(tmp_path / "t.csv", index=False)
    imported = imported_zoo(small(tmp_path))
    assert imported.zoo.epochs == [5, 6]
    assert torch.equal(imported.weights[0, 1], weights_of(SMALL, "b", 20))


def test_what_a_folder_cannot_tell_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        list_checkpoints(tmp_path / "none")
    with pytest.raises(InputError, match=r"neither checkpoint_<epoch>/checkpoints nor files"):
        list_checkpoints(tmp_path)
    state = unflatten(SMALL, weights_of(SMALL, 0))
    save(tmp_path / "a.pt", state)
    save(tmp_path / "b" / "epoch-3.pt", state)
    with pytest.raises(InputError, match=r"a.pt does not tell its epoch, .*epoch-3.pt does"):
        imported_zoo(small(tmp_path))
    (tmp_path / "b" / "epoch-3.pt").rename(tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"a.pt and .*a.pth are both model 'a'"):
        imported_zoo(small(tmp_path))
    (tmp_path / "a.pth").rename(tmp_path / "b.pth")
    for text, told in {
        "test_acc\n0.3\n": "none of the columns file, path",
        "file,x\na.pt,1\na,2\n": "names 'a' twice",
        "file,epoch\na,0.5\nb,1\n": "epoch 0.5 is no whole number",
    }.items():
        (tmp_path / "t.csv").write_text(text)
        with pytest.raises(InputError, match=told):
            imported_zoo(small(tmp_path))
    (tmp_path / "t.csv").write_text("file,split,test_acc\na,train,0.5\nb,other,0.5\nc,train,1\n")
    told = imported_zoo(small(tmp_path)).dropped.to_pandas()["reason"].tolist()
    assert told == ["names 'c', which is not there", "split is 'other': it must be train, val or test"]
    (tmp_path / "t.csv").write_text("file,test_acc\na,87.5\nb,91\n")
    with pytest.raises(InputError, match=r"test_acc is 87.5: accuracies are fractions, from 0 to 1"):
        imported_zoo(small(tmp_path))
    pq.write_table(pa.table({"file": ["a"]}), tmp_path / "u.parquet")
    with pytest.raises(InputError, match=r"holds t.csv, u.parquet: say which has the `properties`"):
        imported_zoo(small(tmp_path))
    assert imported_zoo(small(tmp_path, properties="u.parquet")).models.num_rows == 2
    with pytest.raises(InputError, match="no such file"):
        imported_zoo(small(tmp_path, properties="v.csv"))


def test_the_order_of_models_is_that_of_names_and_splits_stay_when_the_zoo_grows(tmp_path):
    names = [f"m{n}" for n in range(40)]
    for name in random.Random(0).sample(names, len(names)):
        save(tmp_path / f"{name}.pt", unflatten(SMALL, weights_of(SMALL, name)))
    table = imported_zoo(small(tmp_path)).models.to_pandas()
    assert table["name"].tolist() == names
    assert set(table["split"]) == {"train", "val", "test"}
    for name in names[::2]:
        (tmp_path / f"{name}.pt").unlink()
    fewer = imported_zoo(small(tmp_path)).models.to_pandas()
    assert fewer.set_index("name")["split"].equals(table.set_index("name")["split"].loc[names[1::2]])


def test_one_model_has_one_split(tmp_path):
    for epoch in (1, 2):
        save(tmp_path / "a" / f"epoch-{epoch}.pt", unflatten(SMALL, weights_of(SMALL, epoch)))
    (tmp_path / "t.csv").write_text("file,split\na/epoch-1,train\na/epoch-2,test\n")
    with pytest.raises(InputError, match="model 'a' is in splits test and train"):
        imported_zoo(small(tmp_path))


@pytest.mark.parametrize("numbers", [1, 2 * 2 * SMALL.num_weights, PART_NUMBERS], ids=["one", "two", "all"])
def test_parts_hold_no_more_models_than_fit_and_the_zoo_is_the_same(tmp_path, numbers):
    for name in "abcde":
        for epoch in (1, 2):
            save(tmp_path / name / f"epoch-{epoch}.pt", unflatten(SMALL, weights_of(SMALL, name, epoch)))
    imported = imported_zoo(small(tmp_path), numbers=numbers)
    most = max(1, numbers // (2 * SMALL.num_weights))
    assert [part.models for part in imported.zoo.parts] == [
        list(range(5))[start : start + most] for start in range(0, 5, min(most, 5))
    ]
    for model, name in enumerate("abcde"):
        for place, epoch in enumerate((1, 2)):
            assert torch.equal(imported.weights[model, place], weights_of(SMALL, name, epoch))


def test_with_images_models_are_measured_where_nothing_is_given(tmp_path):
    images = planted_images()
    channels, size = images.train_x.shape[1:3]
    spec = build_spec(
        ["flatten", "linear 6", "activation", "linear classes"], "relu", (channels, size, size), len(images.classes)
    )
    for n in range(3):
        save(tmp_path / f"m{n}.pt", unflatten(spec, weights_of(spec, n)))
    config = config_of(tmp_path, images="planted", activation="relu")
    alone = imported_zoo(config, images)
    assert alone.zoo.spec == spec
    measured = alone.models.to_pandas()
    assert measured[["train_accuracy", "val_loss", "test_accuracy", "generalization_gap"]].notna().all(axis=None)
    (tmp_path / "t.csv").write_text("file,test_accuracy\nm1,0.125\n")
    told = imported_zoo(config, images).models.to_pandas()
    assert told["test_accuracy"].tolist() == [measured["test_accuracy"][0], 0.125, measured["test_accuracy"][2]]
    assert alone.zoo.bar is not None


# files


def wrapped(state, how):
    return {
        "plain": state,
        "nested": {"epoch": 3, "state_dict": state, "optimizer": {"lr": torch.ones(1)}},
        "twice": {"model": {"state_dict": state}},
        "parallel": {f"module.{key}": tensor for key, tensor in state.items()},
        "compiled": {f"_orig_mod.module.{key}": tensor for key, tensor in state.items()},
        "lightning": {"state_dict": {f"model.{key}": tensor for key, tensor in state.items()}},
        "parameters": {key: nn.Parameter(tensor) for key, tensor in state.items()},
        "counted": state | {"norm.num_batches_tracked": torch.tensor(3), "note": "text"},
    }[how]


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("how", ["plain", "nested", "twice", "parallel", "compiled", "lightning", "parameters", "counted"])
def test_a_state_dict_is_found_within_whatever_it_was_saved_in(tmp_path, how, legacy):
    state = unflatten(SMALL, weights_of(SMALL, 0))
    save(tmp_path / "a.pt", wrapped(state, how), legacy)
    found = read_state(tmp_path / "a.pt")
    assert list(found.tensors) == list(state)
    assert all(torch.equal(found.tensors[key], tensor) for key, tensor in state.items())
    dropped = {"nested": ["epoch", "optimizer"], "counted": ["norm.num_batches_tracked", "note"]}
    assert [each.key for each in found.dropped] == dropped.get(how, [])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_read_as_float32(tmp_path, dtype):
    weights = weights_of(SMALL, 0).to(dtype)
    save(tmp_path / "a.pt", unflatten(SMALL, weights))
    save_file({key: tensor.contiguous() for key, tensor in unflatten(SMALL, weights).items()}, tmp_path / "b.safetensors")
    imported = imported_zoo(small(tmp_path))
    for model in (0, 1):
        assert torch.equal(imported.weights[model, 0], weights.float())


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 3e38])
def test_weights_that_are_not_finite_are_a_diverged_checkpoint_that_is_told(tmp_path, value):
    for n in range(3):
        weights = weights_of(SMALL, n)
        weights[5] = value if n == 1 else weights[5]
        save(tmp_path / f"m{n}.pt", unflatten(SMALL, weights))
    imported = imported_zoo(small(tmp_path))
    assert imported.models.to_pandas()["diverged"].tolist() == [False, True, False]
    (row,) = imported.dropped.to_pylist()
    assert (row["model"], row["reason"]) == ("m1", "a weight is not finite: kept as diverged")


def test_an_extra_key_of_many_files_is_one_row(tmp_path):
    for n in range(4):
        save(
            tmp_path / f"m{n}.pt",
            unflatten(SMALL, weights_of(SMALL, n)) | {"temperature": torch.ones(1), "steps": torch.tensor(3)},
        )
    imported = imported_zoo(small(tmp_path))
    told = reasons(imported)
    assert told["temperature", "is no weight of the architecture"]["num_files"] == 4
    assert told["steps", "holds int64, no weights in floating point"]["num_files"] == 4
    assert imported.models.num_rows == 4


class Code:
    """A pickle of this would make a folder when it is read."""

    def __reduce__(self):
        return os.mkdir, ("planted",)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for n, legacy in enumerate((False, True)):
        save(tmp_path / "a" / f"m{n}.pt", {"state_dict": unflatten(SMALL, weights_of(SMALL, 0)), "hook": Code()}, legacy)
        with pytest.raises(InputError, match=rf"m{n}.pt: holds (posix|nt|os).mkdir, which is no tensor"):
            read_state(tmp_path / "a" / f"m{n}.pt")
    assert not (tmp_path / "planted").exists()
    save(tmp_path / "a" / "n.pt", nn.Linear(2, 2))
    with pytest.raises(
        InputError, match=r"n.pt: holds torch.nn.modules.linear.Linear, which is no tensor: .* save the state dict"
    ):
        read_state(tmp_path / "a" / "n.pt")
    save(tmp_path / "a" / "good.pt", unflatten(SMALL, weights_of(SMALL, 0)))
    imported = imported_zoo(small(tmp_path / "a"))
    assert imported.models.to_pandas()["name"].tolist() == ["good"]
    assert imported.dropped.to_pandas()["model"].tolist() == ["m0", "m1", "n"]


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path):
    save(tmp_path / "a.pt", unflatten(SMALL, weights_of(SMALL, 0)))
    with zipfile.ZipFile(tmp_path / "a.pt") as whole, zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as bomb:
        for entry in whole.infolist():
            content = whole.read(entry)
            bomb.writestr(entry.filename, bytes(10**7) if "/data/0" in entry.filename else content)
    with pytest.raises(InputError, match=r"bomb.pt: unpacks from [\d,]+ to 10,0\d\d,\d+ bytes"):
        read_state(tmp_path / "bomb.pt")


@pytest.mark.parametrize("content", [3, [torch.ones(2)], torch.ones(2), {}, {"state_dict": {}}, {"a": 1}, {"a": torch.tensor(1)}])
def test_what_holds_no_weights_is_one_sentence(tmp_path, content):
    save(tmp_path / "a.pt", content)
    with pytest.raises(InputError, match=r"a.pt: holds no tensors of weights, but an? \w+"):
        read_state(tmp_path / "a.pt")


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_a_damaged_file_is_one_sentence_whatever_is_wrong(tmp_path, kind):
    state = {key: tensor.contiguous() for key, tensor in unflatten(SMALL, weights_of(SMALL, 0)).items()}
    path = tmp_path / ("a.safetensors" if kind == "safetensors" else "a.pt")
    save_file(state, path) if kind == "safetensors" else save(path, state, kind == "legacy")
    whole, draw = path.read_bytes(), random.Random(kind)
    told = []
    for case in range(60):
        content = bytearray(whole[: draw.randrange(len(whole))] if case % 2 else whole)
        for _ in range(0 if case % 2 else 3):
            content[draw.randrange(min(len(content), 1500))] = draw.randrange(256)
        path.write_bytes(content)
        try:
            read_state(path)
        except InputError as error:
            told.append(str(error))
    assert 30 < len(told) < 60
    assert all(sentence.startswith(f"{path}: ") and "\n" not in sentence for sentence in told)
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(InputError, match="not a whole"):
        read_state(path)


# keys


def state_of(tensors, ordered=True):
    return State(tensors, ordered, [])


def flat(spec, state, order=None):
    return flatten(spec, {name: state.tensors[key] for name, key in match_keys(spec, state, order).items()})


@pytest.mark.parametrize("ordered", [True, False])
def test_layers_of_different_shapes_are_told_in_any_order_and_by_any_names(ordered):
    weights = weights_of(CNN, 0)
    names = dict(zip(PLACES, ["zeta", "alpha", "head_2", "b", "eye"], strict=True))
    state = renamed(CNN, weights, names)
    for seed in range(5):
        keys = random.Random(seed).sample(list(state), len(state))
        assert torch.equal(flat(CNN, state_of({key: state[key] for key in keys}, ordered)), weights)


EQUAL = build_spec(["flatten", "linear 6", "activation", "linear 6", "activation", "linear 6", "activation", "linear classes"],
                   "relu", (1, 2, 3), 6)  # fmt: skip


def test_layers_of_equal_shapes_go_by_their_order_or_by_their_numbers():
    weights = weights_of(EQUAL, 0)
    for names in (["first", "second", "third", "head"], ["0", "2", "4", "10"], ["fc1", "fc2", "fc3", "head"]):
        state = renamed(EQUAL, weights, dict(zip(["linear1", "linear2", "linear3", "linear4"], names, strict=True)))
        assert torch.equal(flat(EQUAL, state_of(state)), weights)
    by_name = dict(sorted(renamed(EQUAL, weights, {f"linear{n}": f"net.{3 * n}" for n in range(1, 5)}).items(), reverse=True))
    assert torch.equal(flat(EQUAL, state_of(by_name, ordered=False)), weights)


@pytest.mark.parametrize(
    ("names", "ordered"),
    [(["fc2", "fc1", "fc3", "fc4"], True), (["first", "second", "third", "head"], False), (["a1", "b1", "b2", "b3"], False)],
)
def test_where_nothing_tells_equal_layers_apart_both_are_named_and_the_settings_can_tell(names, ordered):
    weights = weights_of(EQUAL, 0)
    state = state_of(
        renamed(EQUAL, weights, dict(zip(["linear1", "linear2", "linear3", "linear4"], names, strict=True))), ordered
    )
    one, other = sorted(names[:2])
    with pytest.raises(InputError, match=f"layers '{one}' and '{other}' have the same shapes, 6x6, 6, and nothing tells which"):
        flat(EQUAL, state)
    assert torch.equal(flat(EQUAL, state, names), weights)
    with pytest.raises(InputError, match="there is no layer 'other', only"):
        flat(EQUAL, state, ["other", *names[1:]])
    with pytest.raises(InputError, match="3 layers are named, the architecture has 4"):
        flat(EQUAL, state, names[:3])


def test_two_layers_of_which_one_is_too_many_are_named():
    state = renamed(SMALL, weights_of(SMALL, 0), {"conv1": "a", "linear2": "b", "linear3": "c"})
    state |= {"ema.weight": state["c.weight"], "ema.bias": state["c.bias"]}
    with pytest.raises(InputError, match="layers 'c', 'ema' are all of shapes 4x5, 4, and linear3 alone needs them"):
        flat(SMALL, state_of(state))
    assert torch.equal(flat(SMALL, state_of(state), ["a", "b", "ema"]), weights_of(SMALL, 0))


def torchvision_names(layers=(2, 2, 2, 2)):
    """Names of a ResNet's layers in the order in which torchvision makes them."""
    yield from ("conv1", "bn1")
    for stage, blocks in enumerate(layers, start=1):
        for block in range(blocks):
            place = f"layer{stage}.{block}"
            yield from (f"{place}.{name}" for name in ("conv1", "bn1", "conv2", "bn2"))
            if stage > 1 and block == 0:
                yield from (f"{place}.downsample.0", f"{place}.downsample.1")
    yield "fc"


def test_a_residual_network_of_torchvision_is_read_by_its_order():
    params = {"model::type": "Resnet18_width", "model::nlin": "relu", "model::width": 4}
    spec = build_spec(PUBLISHED["Resnet18_width"](params), "relu", (3, 32, 32), 10)
    weights = torch.randn(spec.num_weights)
    ours = dict.fromkeys(name.split(".")[0] for name in spec.shapes)
    state = renamed(spec, weights, dict(zip(ours, torchvision_names(), strict=True)))
    assert torch.equal(flat(spec, state_of(state)), weights)
    assert infer_spec(config_of("x"), None, state_of(state), params).spec == spec
    with pytest.raises(InputError, match="nothing tells which comes first"):
        flat(spec, state_of(dict(sorted(state.items())), ordered=False))


# the architecture


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES | RESIDUAL_ARCHITECTURES)
def test_every_named_architecture_is_inferred_from_its_shapes(name):
    shape = (
        (3, 64, 64)
        if name == "resnet18"
        else (1, 8, 8)
        if name in ("cnn_digits", "mlp")
        else (3, 28, 28)
        if name == "cnn"
        else (3, 32, 32)
    )
    spec = build_spec(name, "relu", shape, 7)
    state = state_of(unflatten(spec, torch.zeros(spec.num_weights)))
    found = infer_spec(config_of("x", activation="relu"), None, state, {})
    assert found.spec.shapes == spec.shapes
    assert found.spec.architecture == spec.architecture
    assert infer_spec(config_of("x", activation="relu"), Images(shape, 7), state, {}).spec == spec


@pytest.mark.parametrize("ordered", [True, False])
def test_a_chain_of_linear_layers_is_inferred(ordered):
    spec = build_spec(["flatten", "linear 9", "activation", "linear 5", "activation", "linear classes"], "elu", (3, 4, 4), 2)
    state = renamed(spec, weights_of(spec, 0), {"linear1": "net.0", "linear2": "net.2", "linear3": "net.10"})
    found = infer_spec(config_of("x", activation="elu"), None, state_of(state, ordered), {})
    assert found.spec == spec
    assert found.told.startswith(
        "architecture a chain of linear layers, inferred from the shapes, elu, images of 3x4x4, 2 classes"
    )


def test_what_shapes_cannot_tell_is_asked_for():
    state = state_of(unflatten(SMALL, weights_of(SMALL, 0)))
    with pytest.raises(InputError, match="shapes do not tell the activation: say it with `activation`"):
        infer_spec(config_of("x"), None, state, {"model::nlin": "mish"})
    with pytest.raises(InputError, match=r"layers are conv1 \(3x1x3x3, 3\), .*shapes do not tell pooling.*write the layers with"):
        infer_spec(config_of("x", activation="relu"), None, state, {})
    assert infer_spec(small("x"), None, state, {}).spec == SMALL
    with pytest.raises(InputError, match="which are not those of the architecture on images of shape"):
        infer_spec(small("x", image_size=None, images="p"), Images((1, 20, 20), 4), state, {})


@pytest.mark.parametrize(
    ("kind", "channels", "number"), [("CNN", 1, 2464), ("CNN", 3, 2864), ("CNN2", 3, 3347), ("CNN3", 3, 10853)]
)
def test_published_networks_have_their_published_counts(kind, channels, number):
    size = 32 if kind == "CNN3" else 28
    spec = build_spec(PUBLISHED[kind]({}), "tanh", (channels, size, size), 10)
    assert spec.num_weights == number
    state = state_of(unflatten(spec, torch.zeros(number)))
    assert infer_spec(config_of("x"), None, state, {"model::type": kind, "model::nlin": "tanh"}).spec == spec


# before the first job


def test_a_folder_is_checked_before_the_first_job(tmp_path):
    with pytest.raises(InputError, match=r"mine.yaml: zoos.mine: .*none: no such folder"):
        check_checkpoints(config_of(tmp_path / "none"), None, "mine.yaml: zoos.mine")
    save(tmp_path / "b.pt", unflatten(CNN, weights_of(CNN, 0)))
    with pytest.raises(InputError, match=r"mine.yaml: zoos.mine: .*b.pt: shapes do not tell the activation"):
        check_checkpoints(config_of(tmp_path), None, "mine.yaml: zoos.mine")
    (tmp_path / "a.pt").write_text("no checkpoint")  # which the import tells; the next one is tried
    check_checkpoints(config_of(tmp_path, activation="relu"), None, "mine.yaml: zoos.mine")
    names = dict(zip(["linear1", "linear2", "linear3", "linear4"], ["fc2", "fc1", "fc3", "fc4"], strict=True))
    save(tmp_path / "b.pt", renamed(EQUAL, weights_of(EQUAL, 0), names))
    with pytest.raises(InputError, match=r"b.pt: layers 'fc1' and 'fc2' have the same shapes"):
        check_checkpoints(config_of(tmp_path, activation="relu"), None, "mine.yaml: zoos.mine")
    (tmp_path / "b.pt").unlink()
    with pytest.raises(InputError, match=r"mine.yaml: zoos.mine: .*a.pt: not a whole torch file"):
        check_checkpoints(config_of(tmp_path, activation="relu"), None, "mine.yaml: zoos.mine")


def test_the_digest_of_a_folder_is_of_names_sizes_and_times(tmp_path):
    (tmp_path / "a").write_text("1")
    before = files_digest(tmp_path)
    assert files_digest(tmp_path) == before
    os.utime(tmp_path / "a", ns=(1, 1))
    assert (changed := files_digest(tmp_path)) != before
    (tmp_path / "b").write_text("")
    assert files_digest(tmp_path) != changed
