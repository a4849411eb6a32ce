"""Which files an image set is made of: all shards, none twice, and what a footer says is found before the first job."""

import json
from hashlib import sha256

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from planted_images import encoded, input_errors_into, parquet_config, random_pixels, write_labels, write_pair, write_parquet
from pydantic import ValidationError
from weightspace.errors import InputError
from weightspace.images.build import build_image_set
from weightspace.images.check import check_image_files
from weightspace.images.files import resolve_files
from weightspace.images.settings import RemoteFile
from weightspace.images.tensors import TENSORS

HALVES = ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"]
HASHED = ["train-00000-of-00002-a09b74b3ef9c3b56.parquet", "train-00001-of-00002-12fe98b3ef9c3b56.parquet"]
GLOB = "data/train-*-of-00002.parquet"


def write_rows(path, rows, seed=0):
    """Planted images of these rows of 60, in three classes."""
    pixels = random_pixels(60, seed=seed)
    write_parquet(path, [encoded(pixels[row]) for row in rows], [row % 3 for row in rows])


@pytest.fixture
def shards(tmp_path):
    """60 training images in one file and in two, of 25 and 35; and a test file."""
    write_pair(tmp_path)
    write_rows(tmp_path / "train.parquet", range(60))
    write_rows(tmp_path / HALVES[0], range(25))
    write_rows(tmp_path / HALVES[1], range(25, 60))
    return tmp_path


def remote(path):
    return RemoteFile(url=path.as_uri(), sha256=sha256(path.read_bytes()).hexdigest())


@pytest.mark.slow
@pytest.mark.parametrize("train", [HALVES, HALVES[::-1], GLOB, [GLOB]], ids=["list", "reversed list", "glob", "list of a glob"])
@pytest.mark.parametrize("limit", [None, 31])
def test_shards_are_the_file_that_they_are_parts_of(shards, train, limit):
    whole, parts = (build_image_set(parquet_config(train=files, limit=limit), shards) for files in ("train.parquet", train))
    assert all(torch.equal(getattr(parts, name), getattr(whole, name)) for name in TENSORS)


@pytest.mark.parametrize("train", [HALVES[::-1], GLOB])
def test_the_hash_covers_all_shards_in_order(shards, train):
    joined = b"".join((shards / name).read_bytes() for name in [*HALVES, "test.parquet"])
    assert build_image_set(parquet_config(train=train), shards).source_sha256 == sha256(joined).hexdigest()


def test_remote_shards_each_with_their_hash_are_the_local_ones(shards):
    files = [remote(shards / name) for name in HALVES]
    fetched = build_image_set(parquet_config(train=files, test=str(shards / "test.parquet")), shards / "fetched")
    local = build_image_set(parquet_config(train=HALVES), shards)
    assert all(torch.equal(getattr(fetched, name), getattr(local, name)) for name in TENSORS)
    assert fetched.source_sha256 == local.source_sha256


def test_a_name_with_a_globs_letters_is_taken_as_written(shards):
    (shards / "train.parquet").rename(shards / "train[0].parquet")
    assert resolve_files(["train[0].parquet"], shards) == [shards / "train[0].parquet"]


@pytest.mark.parametrize(
    ("given", "pattern"),
    [
        (HALVES[:1], GLOB),
        (HALVES[1:], GLOB),
        (HASHED[1:], "train-*-of-00002-*.parquet"),
        (["a/b-1-of-3.parquet"], "b-*-of-3.parquet"),
    ],
)
def test_a_shard_without_the_others_is_named_with_a_glob_of_all(tmp_path, given, pattern):
    with pytest.raises(InputError) as caught:
        resolve_files(given, tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / given[0]}: only 1 of ")
    assert str(caught.value).endswith(f"name all in a list, or by the glob {pattern.removeprefix('data/')}")


@pytest.mark.parametrize("given", [HALVES, HASHED, ["train-00000-of-00001.parquet"], ["all-of-them.parquet"], ["0000.parquet"]])
def test_complete_shards_are_taken(tmp_path, given):
    assert resolve_files(given, tmp_path) == [tmp_path / name for name in given]


def test_a_remote_shard_without_the_others_is_named():
    alone = RemoteFile(url="https://hub/data/train-00000-of-00002.parquet?download=true", sha256="0" * 64)
    with pytest.raises(InputError, match=r"^https://hub/data/train-00000.*: only 1 of 2 .* with the url and sha256 of each$"):
        resolve_files([alone], "")


def test_a_number_of_the_hubs_conversion_without_its_neighbor_is_named(tmp_path):
    for name in ("0000.parquet", "0001.parquet"):
        write_rows(tmp_path / "train" / name, range(3))
    with pytest.raises(InputError, match=r"train/0000.parquet: 0001.parquet beside it is not named"):
        resolve_files(["train/0000.parquet"], tmp_path)
    assert len(resolve_files(["train/*.parquet"], tmp_path)) == 2


# one file twice


def linked(folder):
    (folder / "test.parquet").unlink()
    (folder / "test.parquet").symlink_to(folder / "train.parquet")


def copied(folder):
    (folder / "test.parquet").write_bytes((folder / "train.parquet").read_bytes())


@pytest.mark.parametrize("make", [linked, copied])
def test_a_test_file_that_is_the_train_file_is_refused(shards, make):
    make(shards)
    said = f"{shards / 'test.parquet'}: is the same file as {shards / 'train.parquet'}"
    with pytest.raises(InputError, match=said):
        build_image_set(parquet_config(), shards)
    with pytest.raises(InputError, match=f"mine: images.one.test: {said}"):
        check_image_files(parquet_config(), shards, "mine: images.one")


def test_a_shard_that_two_globs_match_is_refused(shards):
    with pytest.raises(InputError, match="is the same file as"):
        build_image_set(parquet_config(train=[GLOB, HALVES[0]]), shards)


A, B = ({"url": f"https://hub/{name}", "sha256": digit * 64} for name, digit in (("a", "0"), ("b", "1")))
DOUBLES = {
    "the train file as test file": ({"test": "train.parquet"}, "test names train.parquet, which train names already"),
    "a double in a list": ({"train": ["a", "a"]}, "train names a, which train names already"),
    "one address twice": ({"train": A, "test": A | {"sha256": "1" * 64}}, "test names https://hub/a, which train names already"),
    "one hash twice": ({"train": [A, B | {"sha256": "0" * 64}]}, f"train names {'0' * 64}, which train names already"),
    "no file": ({"train": []}, "source parquet needs train"),
    "test files alone": ({"source": "mnist", "train": []}, "test needs train beside it"),
}


@pytest.mark.parametrize(("files", "says"), DOUBLES.values(), ids=DOUBLES)
def test_files_named_twice_or_not_at_all_are_refused(files, says):
    with pytest.raises(ValidationError, match=says):
        parquet_config(**files)


# before the first job


def names_in_schema(num):
    return {"huggingface": json.dumps({"info": {"features": {"label": {"names": [f"class {k}" for k in range(num)]}}}})}


def write_two_names(path):
    write_parquet(path, [encoded(i) for i in random_pixels(4)], [0, 1, 0, 1], schema_metadata=names_in_schema(2))


BAD = {
    "missing": (lambda path: path.unlink(), "no file {path}; set images_dir"),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:-200]), "{path}: not a whole Parquet file"),
    "no image column": (
        lambda path: pq.write_table(pa.table({"photo": ["a"], "label": [0]}), path), "{path}: has columns photo, label, not a"),
    "labels between": (lambda path: write_labels(path, [0.5], pa.float64()), "{path}: has columns image, label, not a"),
    "empty": (lambda path: write_labels(path, []), "{path}: there is no image in it"),
    "label too large": (lambda path: write_labels(path, [0, 1, 3]), "{path}: has labels from 0 to 3, num_classes is 3"),
    "label too large in a later row group": (
        lambda path: write_labels(path, [0, 1, 2, 7], row_group_size=2), "{path}: has labels from 2 to 7, num_classes is 3"),
    "no label known": (lambda path: write_labels(path, [-1, -1]), "{path}: has labels from -1 to -1, num_classes is 3"),
    "missing label": (lambda path: write_labels(path, [0, None]), "{path}: 1 labels are missing"),
    "fewer names than classes": (write_two_names, "{path}: its schema names 2 classes, num_classes is 3"),
}  # fmt: skip


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("bad", BAD)
def test_a_bad_file_is_named_before_the_first_job(tmp_path, bad, split):
    write_pair(tmp_path)
    path = tmp_path / f"{split}.parquet"
    write, says = BAD[bad]
    write(path)
    with pytest.raises(InputError) as caught:
        check_image_files(parquet_config(), tmp_path, "mine.yaml: images.one")
    assert str(caught.value).startswith(f"mine.yaml: images.one.{split}: {says.format(path=path)}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("labels", [[0, 1, 2], [3, 0, 9]], ids=["in range", "out of range"])
def test_a_footer_without_statistics_is_left_to_the_job(tmp_path, labels):
    write_pair(tmp_path)
    write_labels(tmp_path / "test.parquet", labels, write_statistics=False)
    check_image_files(parquet_config(), tmp_path, "mine.yaml: images.one")


@pytest.mark.parametrize("train", ["train.parquet", HALVES, GLOB])
def test_good_files_pass_and_no_image_is_decoded(shards, monkeypatch, train):
    monkeypatch.setattr("weightspace.images.decode.decode_image", lambda *_: pytest.fail("decoded"))
    check_image_files(parquet_config(train=train), shards, "mine.yaml: images.one")


def test_remote_files_are_not_fetched_before_the_first_job(tmp_path):
    write_pair(tmp_path)
    check_image_files(parquet_config(train=RemoteFile(url="https://hub/a", sha256="0" * 64)), tmp_path, "mine: images.one")


def test_names_of_classes_that_are_left_out_are_no_error(tmp_path):
    write_pair(tmp_path)
    pixels = random_pixels(30, seed=5)
    write_parquet(tmp_path / "train.parquet", [encoded(i) for i in pixels], np.arange(30) % 3, schema_metadata=names_in_schema(5))
    check_image_files(parquet_config(), tmp_path, "mine: images.one")
    assert build_image_set(parquet_config(), tmp_path).classes == ["0", "1", "2"]


@pytest.mark.slow
def test_no_flipped_byte_of_a_footer_ends_in_another_error(tmp_path):
    write_pair(tmp_path)
    path = tmp_path / "train.parquet"
    whole, messages = path.read_bytes(), []
    for place in range(len(whole) - 400, len(whole)):
        content = bytearray(whole)
        content[place] ^= 0xFF
        path.write_bytes(content)
        with input_errors_into(messages):
            check_image_files(parquet_config(), tmp_path, "mine: images.one")
    assert len(messages) > 100
