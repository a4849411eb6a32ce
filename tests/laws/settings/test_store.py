"""Tensors on disk: they come back as they were or not at all."""

import json
import re

import pytest
import torch
import weightspace.store
from safetensors.torch import save_file
from weightspace.errors import InputError
from weightspace.jobs import read_header
from weightspace.nets.forward import unflatten
from weightspace.nets.spec import build_spec
from weightspace.store import TrainingState, choose_device, load_tensors, save_tensors

METADATA = {"spec": {"architecture": ["flatten", "linear classes"]}, "epochs": [0, 2], "share": 0.1, "none": None, "é": "ü"}


def planted():
    return {
        "float": torch.randn(3, 4),
        "double": torch.randn(2, dtype=torch.float64),
        "int": torch.arange(5),
        "byte": torch.arange(6, dtype=torch.uint8).view(1, 2, 3),
        "bool": torch.tensor([True, False]),
        "scalar": torch.tensor(1.5),
        "empty": torch.zeros(0, 3),
        "not finite": torch.tensor([torch.nan, torch.inf]),
        "view": torch.randn(4, 3).T,
    }


def same(ours, theirs):
    return ours.keys() == theirs.keys() and all(
        ours[name].dtype == theirs[name].dtype and torch.equal(ours[name].nan_to_num(7), theirs[name].nan_to_num(7))
        for name in ours
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.safetensors"


# round trip


def test_tensors_and_metadata_come_back(path):
    tensors = planted()
    save_tensors(path, tensors, METADATA)
    loaded, metadata = load_tensors(path)
    assert same(loaded, tensors)
    assert metadata == METADATA


def test_folders_are_made(tmp_path):
    path, tensors = tmp_path / "a" / "b" / "c.safetensors", planted()
    save_tensors(path, tensors, {})
    assert same(load_tensors(path)[0], tensors)


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (2, 1), (2, 3)], ids=str)
def test_parameters_that_are_views_of_one_tensor_come_back(path, shape):
    spec = build_spec("mlp", "relu", (1, 4, 4), 3)
    parameters = unflatten(spec, torch.randn(*shape, spec.num_weights))
    save_tensors(path, parameters, {})
    assert same(load_tensors(path)[0], parameters)


# faults


def saved(path):
    save_tensors(path, {"w": torch.randn(4, 3), "n": torch.arange(3)}, {"spec": ["a", 1]})
    return path.read_bytes()


def assert_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(InputError, match="^" + re.escape(f"{path}: ")):
        load_tensors(path)


def test_a_file_cut_anywhere_is_named(path):
    content = saved(path)
    for length in range(0, len(content), 9):
        assert_refused(path, content[:length])


@pytest.mark.slow
def test_one_flipped_bit_anywhere_is_noticed(path):
    content = saved(path)
    for place in range(0, 8 * len(content), 11):
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        assert_refused(path, flipped)


def test_bytes_after_the_end_are_noticed(path):
    assert_refused(path, saved(path) + b"\0")


def test_a_file_of_another_writer_is_named(path):
    save_file({"w": torch.zeros(3)}, path, {"spec": "not JSON"})
    with pytest.raises(InputError, match=re.escape(str(path))):
        load_tensors(path)


def test_a_file_that_is_not_there_is_named(path):
    with pytest.raises(InputError, match=re.escape(f"{path}: no such file")):
        load_tensors(path)


def write_half(tensors, path, metadata):
    path.write_bytes(b"half")
    raise OSError("no space left on device")


def test_a_save_that_dies_leaves_the_old_file(path, monkeypatch):
    content = saved(path)
    monkeypatch.setattr(weightspace.store, "save_file", write_half)
    with pytest.raises(OSError, match="no space"):
        saved(path)
    assert path.read_bytes() == content


def test_a_first_save_that_dies_leaves_no_file(path, monkeypatch):
    monkeypatch.setattr(weightspace.store, "save_file", write_half)
    with pytest.raises(OSError, match="no space"):
        saved(path)
    assert not path.exists()


def test_a_save_after_one_that_died_is_whole(path):
    path.with_name(path.name + ".partial").write_bytes(b"half")
    saved(path)
    assert json.dumps(load_tensors(path)[1]) == '{"spec": ["a", 1]}'


# the state of a training


def test_a_state_gives_back_what_was_saved(path):
    tensors = planted()
    TrainingState(path, "run").save_if_due(lambda: tensors, epoch=3, step=40)
    loaded, place = TrainingState(path, "run").load()
    assert same(loaded, tensors)
    assert place == {"epoch": 3, "step": 40}


def test_there_is_no_state_before_the_first_save_nor_of_another_run_nor_after_its_end(path):
    state = TrainingState(path, "run")
    assert state.load() is None
    state.save_if_due(planted, step=1)
    assert TrainingState(path, "other run").load() is None
    state.remove()
    assert state.load() is None
    state.remove()


def test_the_digest_tells_files_apart_by_their_content_alone(tmp_path):
    one, two, other = (tmp_path / name for name in ("one", "two", "other"))
    for path in (one, two):
        save_tensors(path, {"float": torch.ones(3, 4), "int": torch.arange(5)}, {"a": 1, "b": 2})
    save_tensors(other, {"float": torch.ones(3, 4), "int": torch.arange(5) + 1}, {"a": 1, "b": 2})
    assert one.read_bytes() == two.read_bytes()
    assert read_header(one).digest == read_header(two).digest != read_header(other).digest


def test_a_cut_state_is_said_to_be_and_not_gone_on_from(path, capsys):
    TrainingState(path, "run").save_if_due(planted, step=1)
    path.write_bytes(path.read_bytes()[:-1])
    assert TrainingState(path, "run").load() is None
    assert f"starting over: {path}" in capsys.readouterr().out


@pytest.mark.parametrize("seconds", [0.01, 1.0, 30.0])
def test_saving_takes_a_small_share_of_the_time_however_long_one_save_takes(path, monkeypatch, seconds):
    class Clock:
        now = 50.0

        def monotonic(self):
            return self.now

    def slow_save(*_):
        clock.now += seconds
        saves.append(clock.now)

    clock, saves = Clock(), []
    monkeypatch.setattr(weightspace.store, "time", clock)
    monkeypatch.setattr(weightspace.store, "save_tensors", slow_save)
    state, end = TrainingState(path, "run"), 50 + 500 * seconds
    while clock.now < end:
        state.save_if_due(dict)
        clock.now += seconds / 10
    assert len(saves) > 2
    assert len(saves) * seconds <= (end - 50) / 20


# devices


@pytest.mark.parametrize("available", [False, True])
@pytest.mark.parametrize("name", ["auto", "cpu", "cuda"])
def test_a_device_is_cuda_where_it_is_wanted_and_there(name, available, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert choose_device(name).type == ("cuda" if available and name != "cpu" else "cpu")
    assert bool(capsys.readouterr().out) == (name == "cuda" and not available)
