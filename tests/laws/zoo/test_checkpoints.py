"""A zoo on disk: any slice is the whole's slice, whatever its parts; what is read is verified, and nothing else is read."""

import json
import os
import re
import shutil
import tracemalloc
from hashlib import sha256
from itertools import pairwise
from math import prod

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from planted_zoos import stored_zoo
from weightspace.checkpoints import Zoo, ZooWriter, read_zoo, write_index
from weightspace.errors import InputError
from weightspace.jobs import Job, check_identity, read_header
from weightspace.nets.forward import unflatten
from weightspace.nets.spec import build_spec
from weightspace.parts import read_part
from weightspace.stages import VERSION

SPEC = build_spec(["conv 2 2", "activation", "flatten", "linear 3", "activation", "linear classes"], "relu", (1, 4, 4), 3)
EPOCHS = [0, 2, 7]
NUM = 6


def planted(num=NUM):
    """Weights with values that only their bits tell apart: not a number, infinities, both zeros."""
    weights = torch.randn(num, len(EPOCHS), SPEC.num_weights, generator=torch.Generator().manual_seed(1))
    weights[0, 0, :4] = torch.tensor([torch.nan, torch.inf, -torch.inf, -0.0])
    return weights


def same(ours, theirs):
    """Equal to the last bit, also where they are not numbers."""
    bits = [weights.numpy().view(np.int32) for weights in (ours, theirs)]
    return ours.dtype == theirs.dtype and np.array_equal(*bits)


@pytest.fixture
def zoo(tmp_path):
    return stored_zoo(tmp_path / "zoo", SPEC, EPOCHS, planted(), [1, 3, 2])


# slices


@pytest.mark.slow
@settings(max_examples=40)
@given(st.data())
def test_any_slice_is_the_wholes_slice_whatever_the_parts(tmp_path_factory, data):
    cuts = sorted(data.draw(st.sets(st.integers(1, NUM - 1))))
    sizes = [end - start for start, end in pairwise([0, *cuts, NUM])]
    stored = stored_zoo(tmp_path_factory.mktemp("zoo") / "zoo", SPEC, EPOCHS, planted(), sizes)
    zoo = read_zoo(stored.path)
    assert zoo == stored
    models = data.draw(st.lists(st.integers(0, NUM - 1), max_size=NUM))
    columns = data.draw(st.lists(st.integers(0, len(EPOCHS) - 1), max_size=len(EPOCHS)))
    if models and columns:
        assert same(zoo.read(models, [EPOCHS[column] for column in columns]), planted()[models][:, columns])
    places = data.draw(st.lists(st.tuples(st.integers(0, NUM - 1), st.integers(0, len(EPOCHS) - 1)), max_size=9))
    expected = planted()[[model for model, _ in places], [column for _, column in places]]
    assert same(zoo.checkpoints([(model, EPOCHS[column]) for model, column in places]), expected)


def test_models_may_lie_in_any_order_and_keep_their_numbers(tmp_path):
    writer = ZooWriter(tmp_path / "zoo", SPEC, EPOCHS, 0.1)
    for models in ([9, 4], [0], [7, 5, 2]):
        writer.write(models, unflatten(SPEC, planted(10)[models]))
    zoo = read_zoo(writer.finish().path)
    assert zoo.models == [0, 2, 4, 5, 7, 9]
    assert same(zoo.read([4, 7, 9], [7, 0]), planted(10)[[4, 7, 9]][:, [2, 0]])


def test_a_folder_is_read_by_its_name_and_can_be_moved_with_its_index(zoo, tmp_path):
    write_index(tmp_path / "index.safetensors", zoo)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("zoo", "index.safetensors"):
        shutil.move(tmp_path / name, moved / name)
    for path in (moved / "zoo", moved / "index.safetensors"):
        assert same(read_zoo(path).read(range(NUM), EPOCHS), planted())


@pytest.mark.parametrize(
    ("models", "epochs", "told"), [([0, 6], [0], "has 6 models, and no model 6"), ([0], [1], "epochs 0, 2, 7, not of 1")], ids=str
)
def test_a_model_or_epoch_that_is_not_stored_is_named(zoo, models, epochs, told):
    with pytest.raises(InputError, match=re.escape(f"{zoo.path}: ") + f".*{told}"):
        zoo.read(models, epochs)


def test_what_does_not_fit_the_spec_is_not_written(tmp_path):
    writer = ZooWriter(tmp_path / "zoo", SPEC, EPOCHS, 0.1)
    for weights in (planted()[:, :2], planted()[:5]):
        with pytest.raises(ValueError, match="not of the shapes"):
            writer.write(list(range(NUM)), unflatten(SPEC, weights))
    assert not writer.partial.exists()


# what is read


def test_a_zoo_opens_without_a_weight(zoo):
    """Every part is replaced by one of its header alone, its weights a hole."""
    for part in zoo.parts:
        content, size = part.path.read_bytes(), part.path.stat().st_size
        header = 8 + int.from_bytes(content[:8], "little")
        part.path.write_bytes(content[:header])
        os.truncate(part.path, size)
    opened = read_zoo(zoo.path)
    assert (opened.models, opened.epochs, opened.bar) == (list(range(NUM)), EPOCHS, 0.5)
    with pytest.raises(InputError, match="model 3 at epoch 2 is not what was written"):
        opened.read([3], [2])


def sparse_part(path, spec, num, model, weights):
    """A part of many models, a hole but for the weights of one."""
    entries, holes = {}, []
    for name, shape in spec.shapes.items():
        start, size = (holes[-1][1] if holes else 0), 4 * num * prod(shape)
        holes.append((start, start + size))
        entries[name] = {"dtype": "F32", "shape": [num, 1, *shape], "data_offsets": holes[-1]}
    flat = weights.numpy()
    digests = [[sha256(flat).hexdigest() if n == model else "0" * 64] for n in range(num)]
    text = json.dumps({"models": list(range(num)), "epochs": [4], "sha256": digests})
    entry = f"{sha256(text.encode()).hexdigest()} {text}"
    header = json.dumps(entries | {"__metadata__": {"weightspace": entry}}).encode()
    header += b" " * (-len(header) % 8)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for (start, end), values in zip(holes, unflatten(spec, weights).values(), strict=True):
            file.seek(8 + len(header) + start + model * (end - start) // num)
            file.write(values.numpy().tobytes())
        file.truncate(8 + len(header) + holes[-1][1])
    return read_part(path)


def test_reading_one_model_of_many_takes_the_memory_of_one(tmp_path):
    spec = build_spec(["flatten", "linear 2500", "activation", "linear classes"], "relu", (1, 10, 10), 3)
    weights = torch.randn(spec.num_weights)
    part = sparse_part(tmp_path / "part", spec, 1000, 437, weights)
    write_index(tmp_path / "zoo", Zoo(tmp_path / "zoo", spec, [4], 0.1, [part]))
    tracemalloc.start()
    found = read_zoo(tmp_path / "zoo").read([437], [4])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert same(found[0, 0], weights)
    assert part.path.stat().st_size > 1e9
    assert peak < 1e7


@pytest.mark.parametrize("place", [(0, 0), (2, 1), (5, 2)])
def test_a_flipped_byte_is_named_when_its_checkpoint_is_read_and_others_are_still_read(zoo, place):
    part = next(part for part in zoo.parts if place[0] in part.models)
    content = bytearray(part.path.read_bytes())
    flat = planted()[place].numpy()[-3:].tobytes()  # of the last layer's biases
    content[content.index(flat)] ^= 1
    part.path.write_bytes(content)
    model, epoch = place[0], EPOCHS[place[1]]
    others = [(m, e) for m in range(NUM) for e in EPOCHS if (m, e) != (model, epoch)]
    expected = [planted()[m, EPOCHS.index(e)] for m, e in others]
    assert same(zoo.checkpoints(others), torch.stack(expected))
    with pytest.raises(InputError, match=re.escape(f"{part.path}: model {model} at epoch {epoch} is not what was written")):
        zoo.read(range(NUM), [epoch])


def test_a_bit_flipped_anywhere_is_noticed(zoo):
    path = zoo.parts[0].path
    content = path.read_bytes()
    for place in range(0, 8 * len(content), 101):
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)
        with pytest.raises(InputError, match="^" + re.escape(f"{path}: ")):
            zoo.read([0], EPOCHS)


def test_a_part_cut_anywhere_is_named(zoo):
    path = zoo.parts[0].path
    content = path.read_bytes()
    for length in range(0, len(content), 41):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match="^" + re.escape(f"{path}: ")):
            zoo.read([0], EPOCHS)


def test_a_part_in_anothers_place_or_of_another_training_is_named(zoo, tmp_path):
    first, other = zoo.parts[1].path, stored_zoo(tmp_path / "other", SPEC, EPOCHS, planted() + 1, [1, 3, 2]).parts[1].path
    for source in (zoo.parts[2].path, other):
        shutil.copyfile(source, first)
        with pytest.raises(InputError, match=re.escape(f"{first}: is not the file that the index of its zoo says")):
            zoo.read([1], [0])


def test_a_part_that_is_gone_is_named(zoo):
    zoo.parts[2].path.unlink()
    assert same(zoo.read([0, 3], EPOCHS), planted()[[0, 3]])
    with pytest.raises(InputError, match=re.escape(f"{zoo.parts[2].path}: no such file")):
        zoo.read([0, 5], EPOCHS)


def test_the_digest_of_a_zoo_is_of_every_bit_of_every_part(tmp_path):
    """So that what is made from a zoo can say from which."""
    weights = planted()
    digests = {read_header(stored_zoo(tmp_path / "a", SPEC, EPOCHS, weights, [4, 2]).path).digest for _ in range(2)}
    for changed in (0, NUM - 1):
        weights = planted()
        weights[changed, 1, 0] += 1
        digests.add(read_header(stored_zoo(tmp_path / "a", SPEC, EPOCHS, weights, [4, 2]).path).digest)
    assert len(digests) == 3


# writing


def written(folder, sizes, num_models=0):
    """A writer that has gone on after so many models and then wrote parts of so many models."""
    writer = ZooWriter(folder, SPEC, EPOCHS, 0.5)
    assert writer.go_on(num_models)
    for size in sizes:
        models = list(range(writer.num_models, writer.num_models + size))
        writer.write(models, unflatten(SPEC, planted()[models]))
    return writer


def test_a_folder_appears_when_it_is_whole_and_says_who_it_is(tmp_path):
    folder = tmp_path / "results/tiny/zoo/tiny/shards/0"
    writer = written(folder, [4, 2])
    assert not folder.exists()
    writer.finish(Job(VERSION["zoo"], {}, ""))
    assert [path.name for path in folder.parent.iterdir()] == ["0"]
    check_identity(folder.as_posix(), read_header(folder).identity)


@pytest.mark.parametrize("kept", [0, 2, 5])
def test_a_killed_writing_goes_on_after_any_part_with_the_bytes_of_one_left_alone(tmp_path, kept):
    sizes = [2, 3, 1]
    whole = written(tmp_path / "whole", sizes).finish()
    killed = written(tmp_path / "killed", [2, 3])
    (killed.partial / "9.safetensors.partial").write_bytes(b"half")
    done = [size for n, size in enumerate(sizes) if sum(sizes[: n + 1]) <= kept]
    resumed = written(tmp_path / "killed", sizes[len(done) :], kept).finish()
    files = [sorted(path for path in zoo.path.parent.iterdir()) for zoo in (whole, resumed)]
    assert [path.name for path in files[0]] == [path.name for path in files[1]]
    assert all(ours.read_bytes() == theirs.read_bytes() for ours, theirs in zip(*files, strict=True))


def test_parts_of_other_sizes_that_a_killed_job_left_beyond_its_place_are_gone(tmp_path):
    """As where a stack was halved after the last save of a state."""
    written(tmp_path / "zoo", [2, 1, 1, 1])
    zoo = written(tmp_path / "zoo", [4], 2).finish()
    assert [part.models for part in read_zoo(zoo.path).parts] == [[0, 1], [2, 3, 4, 5]]
    assert len(list(zoo.path.parent.iterdir())) == 3


@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_where_a_part_of_a_killed_job_is_lost_it_starts_over_and_says_so(tmp_path, capsys, damage):
    first = written(tmp_path / "zoo", [2, 3]).zoo.parts[0].path
    if damage == "gone":
        first.unlink()
    else:
        first.write_bytes(first.read_bytes()[:-1])
    writer = ZooWriter(tmp_path / "zoo", SPEC, EPOCHS, 0.5)
    assert not writer.go_on(5)
    assert writer.num_models == 0
    assert "starting over: " in capsys.readouterr().out
    assert list(writer.partial.iterdir()) == []


def test_a_first_part_removes_what_was_there(tmp_path):
    written(tmp_path / "zoo", [1] * NUM)
    writer = ZooWriter(tmp_path / "zoo", SPEC, EPOCHS, 0.5)
    writer.write(range(NUM), unflatten(SPEC, planted()))
    assert same(writer.finish().read(range(NUM), EPOCHS), planted())
    assert len(list((tmp_path / "zoo").iterdir())) == 2


def test_a_part_is_known_without_its_zoo(zoo):
    assert [read_part(part.path) for part in zoo.parts] == zoo.parts
