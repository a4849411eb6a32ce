"""Image sets: what is planted comes back, splits are honest, and what cannot be used is named."""

import contextlib
import json
import os
import runpy
from collections import Counter
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import weightspace.images
from conftest import Named
from PIL import Image
from planted_images import (
    MODE_SHAPES,
    encoded,
    input_errors_into,
    pairs,
    parquet_config,
    planted_pairs,
    random_pixels,
    train_and_val,
    write_both,
    write_pair,
    write_parquet,
)
from sklearn.datasets import load_digits
from weightspace.errors import InputError
from weightspace.images.build import build_image_set
from weightspace.images.settings import ImagesConfig, RemoteFile
from weightspace.images.tensors import TENSORS, normalize, read_images, write_images
from weightspace.stages import VERSION
from weightspace.store import load_tensors, save_tensors

DIGITS = ImagesConfig(source="bundled_digits")


def digits_as_bytes():
    """scikit-learn's digits with levels 0 to 16."""
    digits = load_digits()
    return Counter((i.tobytes(), int(label)) for i, label in zip(digits.images.astype(np.uint8), digits.target, strict=True))


@pytest.fixture(scope="module")
def digits():
    return build_image_set(DIGITS, "no folder needed")


# splits


def test_digits_come_back_as_levels_0_to_16_each_once_over_the_splits(digits):
    x = torch.cat([digits.train_x, digits.val_x, digits.test_x])
    y = torch.cat([digits.train_y, digits.val_y, digits.test_y])
    levels = (x.double() * 16 / 255).round().to(torch.uint8)
    assert x.max() == 255
    assert pairs(levels, y) == digits_as_bytes()


def test_digits_splits_have_their_shares(digits):
    assert len(digits.test_y) == pytest.approx(0.2 * 1797, abs=1)
    assert len(digits.val_y) == pytest.approx(0.15 * (1797 - len(digits.test_y)), abs=1)


@pytest.mark.parametrize("split", ["train_y", "val_y", "test_y"])
def test_each_digit_has_its_share_of_each_split(digits, split):
    every = np.bincount(load_digits().target) / 1797
    counts = torch.bincount(getattr(digits, split), minlength=10).numpy()
    np.testing.assert_allclose(counts, every * counts.sum(), atol=1.5)


def test_the_same_settings_build_the_same_set_twice(digits):
    again = build_image_set(DIGITS, "")
    assert all(torch.equal(getattr(digits, name), getattr(again, name)) for name in TENSORS)


def test_no_split_is_in_the_order_of_its_source(tmp_path):
    write_both(tmp_path, [encoded(i) for i in random_pixels(120)], [0] * 40 + [1] * 40 + [2] * 40)
    images = build_image_set(parquet_config(), tmp_path)
    for y in (images.train_y, images.val_y, images.test_y):
        assert not torch.equal(y, y.sort().values)


@pytest.mark.parametrize("config", [{"val_share": 0.0}, {"test_share": 0.0}])
def test_a_share_of_0_leaves_an_empty_split_and_loses_no_image(config):
    images = build_image_set(DIGITS.model_copy(update=config), "")
    sizes = {"val_share": len(images.val_y), "test_share": len(images.test_y)}
    assert sizes.pop(next(iter(config))) == 0
    assert len(images.train_y) + sum(sizes.values()) == 1797


def test_val_is_a_stratified_share_of_the_train_file_alone(tmp_path):
    pixels = write_pair(tmp_path, num=60)
    images = build_image_set(parquet_config(val_share=0.2), tmp_path)
    assert torch.bincount(images.val_y).tolist() == [4, 4, 4]
    assert pairs(*train_and_val(images)) == planted_pairs(pixels["train"])
    assert pairs(images.test_x, images.test_y) == planted_pairs(pixels["test"])


def test_a_smaller_limit_keeps_the_first_images_of_a_larger_one(tmp_path):
    pixels = write_pair(tmp_path, num=60)
    few, many, every = (build_image_set(parquet_config(limit=limit), tmp_path) for limit in (30, 45, None))
    assert torch.equal(few.test_x, many.test_x[:30])
    assert torch.equal(many.test_x, every.test_x[:45])
    assert len(train_and_val(few)[1]) == 30
    assert pairs(*train_and_val(few)) <= pairs(*train_and_val(many)) <= planted_pairs(pixels["train"])


def test_limit_holds_for_the_digits():
    images = build_image_set(ImagesConfig(source="bundled_digits", limit=200), "")
    assert len(images.train_y) + len(images.val_y) + len(images.test_y) == 200


# normalization


@pytest.mark.parametrize("mode", MODE_SHAPES)
def test_normalized_train_images_have_mean_0_and_deviation_1_per_channel(tmp_path, mode):
    write_pair(tmp_path, mode=mode)
    images = build_image_set(parquet_config(channels={"L": 1, "RGB": 3}[mode]), tmp_path)
    x = normalize(images.train_x, images).double()
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(x.shape[1]).double(), rtol=0, atol=1e-5)
    torch.testing.assert_close(x.std((0, 2, 3), correction=0), torch.ones(x.shape[1]).double(), rtol=0, atol=1e-5)


def test_normalization_takes_no_number_from_val_and_test_images(digits):
    x = digits.train_x.double() / 255
    assert digits.mean == pytest.approx((x.mean().item(),))
    assert digits.std == pytest.approx((x.std(correction=0).item(),))


def test_normalize_is_the_formula_for_any_leading_axes(digits):
    x = digits.train_x[:12]
    expected = (x.double() / 255 - digits.mean[0]) / digits.std[0]
    torch.testing.assert_close(normalize(x, digits), expected.float())
    assert torch.equal(normalize(x.view(3, 4, 1, 8, 8), digits), normalize(x, digits).view(3, 4, 1, 8, 8))
    assert torch.equal(normalize(x[0], digits), normalize(x, digits)[0])


# Parquet


@pytest.mark.parametrize("column", ["image", "img"])
@pytest.mark.parametrize("mode", MODE_SHAPES)
def test_png_gives_back_the_planted_pixels(tmp_path, mode, column):
    pixels = write_pair(tmp_path, mode=mode, column=column)
    images = build_image_set(parquet_config(channels={"L": 1, "RGB": 3}[mode]), tmp_path)
    assert pairs(*train_and_val(images)) == planted_pairs(pixels["train"])
    assert pairs(images.test_x, images.test_y) == planted_pairs(pixels["test"])


def test_gray_images_fill_three_equal_channels(tmp_path):
    pixels = write_pair(tmp_path, mode="L")
    images = build_image_set(parquet_config(channels=3), tmp_path)
    assert pairs(images.test_x[:, :1], images.test_y) == planted_pairs(pixels["test"])
    assert torch.equal(images.test_x, images.test_x[:, :1].expand(-1, 3, -1, -1))


def test_gray_pixels_stored_as_rgb_come_back_gray(tmp_path):
    pixels = random_pixels(30)
    write_both(tmp_path, [encoded(np.stack([i] * 3, -1)) for i in pixels], [i % 3 for i in range(30)])
    images = build_image_set(parquet_config(channels=1), tmp_path)
    assert pairs(images.test_x, images.test_y) == planted_pairs(pixels)


@pytest.mark.parametrize("mode", ["1", "P"])
def test_bilevel_and_palette_png_come_back_exact(tmp_path, mode):
    pixels = 255 * (random_pixels(30) > 127).astype(np.uint8)
    write_both(tmp_path, [encoded(Image.fromarray(i).convert(mode)) for i in pixels], [i % 3 for i in range(30)])
    images = build_image_set(parquet_config(), tmp_path)
    assert pairs(images.test_x, images.test_y) == planted_pairs(pixels)


def test_jpeg_gives_back_smooth_pixels_to_a_few_levels(tmp_path):
    ramp = np.add.outer(8 * np.arange(8), 8 * np.arange(8))
    pixels = np.stack([np.clip(ramp + 4 * i, 0, 255) for i in range(30)]).astype(np.uint8)
    write_both(tmp_path, [encoded(i, "JPEG", quality=95) for i in pixels], [i % 3 for i in range(30)])
    found = build_image_set(parquet_config(), tmp_path).test_x[:, 0].int()
    nearest = (found[:, None] - torch.from_numpy(pixels).int()).abs().amax((2, 3)).min(1)
    assert nearest.values.max() <= 3
    assert sorted(nearest.indices.tolist()) == list(range(30))


def test_resizing_keeps_a_constant_image_and_the_sides_of_an_edge(tmp_path):
    edge = np.repeat([[0] * 14 + [255] * 14], 20, axis=0).astype(np.uint8)
    write_both(tmp_path, [encoded(np.full((28, 20), 90, np.uint8)), encoded(edge)] * 15, [0, 1] * 15)
    images = build_image_set(parquet_config(size=8, fit="squeeze"), tmp_path)
    assert images.test_x.shape == (30, 1, 8, 8)
    assert (images.test_x[images.test_y == 0] == 90).all()
    edges = images.test_x[images.test_y == 1]
    assert (edges[..., :3] == 0).all()
    assert (edges[..., 5:] == 255).all()


def test_a_fine_checkerboard_shrinks_to_gray(tmp_path):
    board = 255 * (np.indices((32, 32)).sum(0) % 2).astype(np.uint8)
    write_pair(tmp_path)
    write_parquet(tmp_path / "test.parquet", [encoded(board)] * 3, [0, 1, 2])
    found = build_image_set(parquet_config(size=8), tmp_path).test_x
    assert found.min() >= 126
    assert found.max() <= 129


def test_class_names_of_the_hub_are_kept_and_else_are_numbers(tmp_path):
    write_pair(tmp_path)
    assert build_image_set(parquet_config(), tmp_path).classes == ["0", "1", "2"]
    features = {"info": {"features": {"label": {"names": ["cat", "deer", "dog"], "_type": "ClassLabel"}}}}
    contents, labels = [encoded(i) for i in random_pixels(30)], [i % 3 for i in range(30)]
    write_parquet(tmp_path / "train.parquet", contents, labels, schema_metadata={"huggingface": json.dumps(features)})
    assert build_image_set(parquet_config(), tmp_path).classes == ["cat", "deer", "dog"]


def test_source_hash_is_that_of_the_two_files_joined(tmp_path):
    write_pair(tmp_path)
    joined = (tmp_path / "train.parquet").read_bytes() + (tmp_path / "test.parquet").read_bytes()
    images = build_image_set(parquet_config(), tmp_path)
    assert images.source_sha256 == sha256(joined).hexdigest()
    assert images.source == "train.parquet, test.parquet"


# stored


def test_read_inverts_write(tmp_path, digits):
    write_images(tmp_path / "digits.safetensors", digits)
    read = read_images(tmp_path / "digits.safetensors")
    for name, value in digits._asdict().items():
        other = getattr(read, name)
        assert type(other) is type(value)
        assert torch.equal(other, value) if name in TENSORS else other == value


@pytest.mark.parametrize("name", ["val_x", "std"])
def test_read_names_the_file_and_what_it_lacks(tmp_path, digits, name):
    path = tmp_path / "digits.safetensors"
    write_images(path, digits)
    tensors, metadata = ({k: v for k, v in part.items() if k != name} for part in load_tensors(path))
    save_tensors(path, tensors, metadata)
    with pytest.raises(InputError, match=f"{path}: not an image set: {name} missing"):
        read_images(path)


def test_to_moves_every_tensor_and_nothing_else(digits):
    moved = digits.to("meta")
    assert {getattr(moved, name).device.type for name in TENSORS} == {"meta"}
    assert moved[len(TENSORS) :] == digits[len(TENSORS) :]


# bad inputs


def good_contents(num=30):
    return [encoded(i) for i in random_pixels(num)], [i % 3 for i in range(num)]


def write_missing(path):
    path.unlink()


def write_folder(path):
    path.unlink()
    path.mkdir()


def write_cut(path):
    path.write_bytes(path.read_bytes()[:-200])


def write_other(path):
    path.write_bytes(b"not Parquet at all")


def write_empty(path):
    write_parquet(path, [], [])


def write_no_image_column(path):
    pq.write_table(pa.table({"picture": ["a"] * 30, "label": [0] * 30}), path)


def write_labels_between(path):
    contents, labels = good_contents()
    write_parquet(path, contents, pa.array([label + 0.5 for label in labels]))


def write_missing_label(path):
    contents, labels = good_contents()
    write_parquet(path, contents, [None, *labels[1:]])


def writes_label(label):
    def write(path):
        contents, labels = good_contents()
        write_parquet(path, contents, labels[:17] + [label] + labels[18:])

    return write


def writes_image(content):
    def write(path):
        contents, labels = good_contents()
        write_parquet(path, contents[:17] + [content] + contents[18:], labels)

    return write


def flipped_png():
    """A PNG with one flipped bit that Pillow decodes without complaint, into other pixels."""
    pixels = np.add.outer(4 * np.arange(8), np.arange(8)).astype(np.uint8)
    whole = encoded(pixels)
    for place in range(whole.index(b"IDAT") + 4, len(whole)):
        content = bytearray(whole)
        content[place] ^= 1
        with contextlib.suppress(OSError, SyntaxError, ValueError):
            if (np.asarray(Image.open(BytesIO(content))) != pixels).any():
                return bytes(content)
    raise AssertionError("Pillow refuses every flipped bit")


def deep_transparent():
    return encoded(np.full((8, 8), 40000, np.uint16), transparency=40000)


PNG = encoded(random_pixels(1)[0])
BAD_FILES = {
    "missing": (write_missing, "no such file"),
    "folder": (write_folder, "not a whole Parquet file"),
    "cut": (write_cut, "not a whole Parquet file"),
    "other": (write_other, "not a whole Parquet file"),
    "empty": (write_empty, "there is no image in it"),
    "no_image_column": (write_no_image_column, "has columns picture, label, not a column image or img of encoded pictures"),
    "labels_between": (write_labels_between, "a column label, labels or fine_label of whole numbers or names"),
    "missing_label": (write_missing_label, "1 labels are missing"),
    "label_above": (writes_label(3), "the label in row 17 is 3, not one of 0 to 2"),
    "label_below": (writes_label(-1), "the label in row 17 is -1, not one of 0 to 2"),
    "no_image": (writes_image(None), "the image in row 17 cannot be decoded"),
    "text_image": (writes_image(b"a text"), "the image in row 17 cannot be decoded"),
    "cut_png": (writes_image(PNG[: len(PNG) // 2]), "the image in row 17 cannot be decoded"),
    "flipped_png": (writes_image(flipped_png()), "the image in row 17 cannot be decoded"),
    "cut_jpeg": (writes_image(encoded(random_pixels(1)[0], "JPEG")[:-100]), "the image in row 17 cannot be decoded"),
    "gif": (writes_image(encoded(random_pixels(1)[0], "GIF")), "the image in row 17 cannot be decoded"),
    "deep_transparent": (writes_image(deep_transparent()), "the image in row 17 is 16-bit gray with a level that is transparent"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train", "test"])
@pytest.mark.parametrize("bad", BAD_FILES)
def test_a_bad_file_is_named_with_what_is_wrong(tmp_path, bad, name):
    write_pair(tmp_path)
    write, says = BAD_FILES[bad]
    write(tmp_path / f"{name}.parquet")
    with pytest.raises(InputError) as caught:
        build_image_set(parquet_config(), tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / f'{name}.parquet'}: ")
    assert says in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ([0, 1] * 14 + [1, 2], "class 2 has 1 image, a stratified val split needs 2 or more"),
        ([0, 0, 1, 1, 2, 2], "6 images of 3 classes are too few for a stratified val_share of 0.15"),
    ],
)
def test_train_files_too_small_to_stratify_are_named(tmp_path, labels, says):
    write_pair(tmp_path)
    write_parquet(tmp_path / "train.parquet", good_contents(len(labels))[0], labels)
    with pytest.raises(InputError) as caught:
        build_image_set(parquet_config(), tmp_path)
    assert str(caught.value) == f"{tmp_path / 'train.parquet'}: {says}"


def test_digits_too_few_to_stratify_are_refused():
    with pytest.raises(
        InputError, match="bundled_digits: 20 images of .* too few for a stratified test_share of 0.2|has 1 image"
    ):
        build_image_set(ImagesConfig(source="bundled_digits", limit=20), "")


@pytest.mark.parametrize("num_classes", [5, 12])
def test_another_number_of_classes_than_the_digits_have_is_refused(num_classes):
    with pytest.raises(ValueError, match=f"source bundled_digits has 10 classes, num_classes is {num_classes}"):
        ImagesConfig(source="bundled_digits", num_classes=num_classes)


@pytest.mark.parametrize("limit", ["weightspace.images.decode.MAX_PIXELS", "PIL.Image.MAX_IMAGE_PIXELS"])
def test_an_image_that_unfolds_beyond_measure_is_refused(tmp_path, monkeypatch, limit):
    write_pair(tmp_path)
    monkeypatch.setattr(limit, 31)  # of 64; Pillow refuses twice its limit
    with pytest.raises(
        InputError, match=r"train.parquet: the image in row \d+ (has 8 x 8 pixels, more than 31|cannot be decoded)"
    ):
        build_image_set(parquet_config(), tmp_path)


def test_images_of_one_color_are_refused(tmp_path):
    write_pair(tmp_path)
    write_parquet(tmp_path / "train.parquet", [encoded(np.full((8, 8), 7, np.uint8))] * 30, [i % 3 for i in range(30)])
    with pytest.raises(InputError, match="train.parquet: all train images have one and the same color in channel 0"):
        build_image_set(parquet_config(), tmp_path)


@pytest.mark.slow
def test_no_flipped_byte_of_a_file_ends_in_another_error(tmp_path):
    write_pair(tmp_path, num=30)
    whole = (tmp_path / "train.parquet").read_bytes()
    where = np.random.default_rng(0).choice(len(whole), 150, replace=False)
    messages = []
    for place in [*where, *range(len(whole) - 60, len(whole))]:
        content = bytearray(whole)
        content[place] ^= 0xFF
        (tmp_path / "train.parquet").write_bytes(content)
        with input_errors_into(messages):
            build_image_set(parquet_config(), tmp_path)
    assert len(messages) > 100
    assert all(message.startswith(f"{tmp_path / 'train.parquet'}: ") for message in messages)


# the rule's script


def run_script(folder, config):
    """What Snakemake does with the rule: plain values in, one file out."""
    rule = SimpleNamespace(
        input=[],
        wildcards=Named(),
        params=Named(images=config.model_dump(mode="json"), images_dir=str(folder), version=VERSION["images"]),
        output=SimpleNamespace(images=str(folder / "set.safetensors")),
        log=[str(folder / "set.log")],
    )
    script = Path(weightspace.images.__file__).parents[2] / "fetch_images.py"
    runpy.run_path(str(script), init_globals={"snakemake": rule})


def test_the_script_writes_the_set_that_its_settings_describe(tmp_path):
    write_pair(tmp_path / "hub")
    remote = RemoteFile(
        url=(tmp_path / "hub/test.parquet").as_uri(), sha256=sha256((tmp_path / "hub/test.parquet").read_bytes()).hexdigest()
    )
    config = parquet_config(train=["hub/train.parquet"], test=remote)
    run_script(tmp_path, config)
    written = read_images(tmp_path / "set.safetensors")
    built = build_image_set(config, tmp_path)
    assert all(torch.equal(getattr(written, name), getattr(built, name)) for name in TENSORS)
    assert written[len(TENSORS) :] == built[len(TENSORS) :]


def test_the_script_ends_with_one_sentence_and_no_output_on_bad_input(tmp_path):
    write_pair(tmp_path)
    write_cut(tmp_path / "test.parquet")
    with pytest.raises(SystemExit):
        run_script(tmp_path, parquet_config())
    lines = (tmp_path / "set.log").read_text().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"error: {tmp_path / 'test.parquet'}: not a whole Parquet file")
    assert not (tmp_path / "set.safetensors").exists()


# real images


@pytest.mark.skipif("WEIGHTSPACE_IMAGES_DIR" not in os.environ, reason="WEIGHTSPACE_IMAGES_DIR is not set")
@pytest.mark.parametrize(("name", "shape", "num_train"), [("mnist", (1, 28, 28), 60_000), ("cifar10", (3, 32, 32), 50_000)])
def test_real_images_are_read_whole(name, shape, num_train):
    folder = Path(os.environ["WEIGHTSPACE_IMAGES_DIR"])
    if not (folder / name).is_dir():
        pytest.skip(f"{folder / name} is not there")
    files = {"train": f"{name}/train.parquet", "test": f"{name}/test.parquet"}
    images = build_image_set(parquet_config(**files, size=shape[1], channels=shape[0], num_classes=10), folder)
    assert len(images.train_y) + len(images.val_y) == num_train
    assert images.test_x.shape == (10_000, *shape)
    whole = torch.bincount(torch.cat([images.train_y, images.val_y])).double()
    torch.testing.assert_close(torch.bincount(images.val_y).double(), whole * 0.15, rtol=0, atol=1.0)
    published = {"mnist": [0.1307], "cifar10": [0.4914, 0.4822, 0.4465]}  # means of the usual copies, all training images
    assert images.mean == pytest.approx(published[name], abs=0.005)
