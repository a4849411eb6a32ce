"""Files as the hub and users have them: columns found or named, classes as numbers or names, folders of classes."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from planted_images import encoded, pairs, parquet_config, planted_pairs, random_pixels, train_and_val, write_pair, write_parquet
from weightspace.errors import InputError
from weightspace.images.build import build_image_set
from weightspace.images.check import check_image_files
from weightspace.images.settings import ImagesConfig
from weightspace.images.tensors import TENSORS

NAMES = ["dog", "ant", "cat"]  # of labels 0, 1, 2 of the planted pixels; in order: ant, cat, dog
WHERE = "mine.yaml: images.one"


def write_named(folder, kind=None, names=NAMES, num=30):
    """Train and test files whose labels are names, of Arrow's type `kind`; returns their pixels."""
    pixels = {name: random_pixels(num, seed=seed) for seed, name in enumerate(("train", "test"))}
    for split, images in pixels.items():
        labels = pa.array([names[row % 3] for row in range(num)], kind or pa.string())
        write_parquet(folder / f"{split}.parquet", [encoded(image) for image in images], labels)
    return pixels


def write_classes(folder, pixels, names=NAMES, ending="png"):
    """A folder of one subfolder per class; the class of each image is that of `planted_pairs`."""
    for row, image in enumerate(pixels):
        path = folder / names[row % 3] / f"{row:03}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(image))


def checked_and_built(config, folder):
    check_image_files(config, folder, WHERE)
    return build_image_set(config, folder)


def named_pairs(x, y, classes):
    """Images with the names of their classes."""
    return {(image.numpy().tobytes(), classes[int(label)]) for image, label in zip(x, y, strict=True)}


# labels


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())], ids=str)
def test_names_of_classes_become_numbers_in_their_order(kind, tmp_path):
    pixels = write_named(tmp_path, kind)
    images = checked_and_built(parquet_config(), tmp_path)
    assert images.classes == sorted(NAMES)
    expected = {(image.tobytes(), NAMES[row % 3]) for row, image in enumerate(pixels["test"])}
    assert named_pairs(images.test_x, images.test_y, images.classes) == expected


def test_names_that_are_numbers_are_in_the_order_of_numbers(tmp_path):
    write_named(tmp_path, names=["10", "9", "100"])
    assert checked_and_built(parquet_config(), tmp_path).classes == ["9", "10", "100"]


@pytest.mark.parametrize("kind", [pa.uint8(), pa.int32(), pa.uint64()])
def test_numbers_of_any_width_are_labels(kind, tmp_path):
    pixels = write_pair(tmp_path)
    write_parquet(tmp_path / "test.parquet", [encoded(image) for image in pixels["test"]], pa.array(np.arange(30) % 3, kind))
    images = checked_and_built(parquet_config(), tmp_path)
    assert pairs(images.test_x, images.test_y) == planted_pairs(pixels["test"])


@pytest.mark.parametrize("build", [lambda *given: check_image_files(*given, WHERE), build_image_set], ids=["check", "job"])
@pytest.mark.parametrize(
    ("train", "test", "num_classes", "says"),
    [
        (NAMES, NAMES, 4, r"train.parquet: has 3 classes \(ant, cat, dog\), num_classes is 4$"),
        (NAMES, ["dog", "bee", "cat"], 3, "test.parquet: has a class bee that the train images do not have$"),
        (NAMES, None, 3, "test.parquet: labels are names in some files and numbers in others$"),
        (None, NAMES, 3, "test.parquet: labels are names in some files and numbers in others$"),
    ],
)
def test_classes_that_do_not_fit_are_named_before_the_first_job_and_in_it(build, train, test, num_classes, says, tmp_path):
    write_pair(tmp_path)
    for split, names in {"train": train, "test": test}.items():
        if names:
            labels = pa.array([names[row % 3] for row in range(30)])
            write_parquet(tmp_path / f"{split}.parquet", [encoded(i) for i in random_pixels(30, seed=len(split))], labels)
    with pytest.raises(InputError, match=says):
        build(parquet_config(num_classes=num_classes), tmp_path)


def test_a_missing_name_is_said(tmp_path):
    write_named(tmp_path)
    write_parquet(tmp_path / "test.parquet", [encoded(i) for i in random_pixels(3)], pa.array(["dog", None, "cat"]))
    with pytest.raises(InputError, match=r"one.test: .*test.parquet: 1 labels are missing"):
        check_image_files(parquet_config(), tmp_path, WHERE)


# columns


@pytest.mark.parametrize("label", ["label", "labels", "fine_label", "class", "target", "y"])
@pytest.mark.parametrize("image", ["image", "img", "photo"])
def test_columns_of_usual_names_are_found_and_images_also_as_the_only_ones(image, label, tmp_path):
    pixels = random_pixels(30)
    columns = {"id": [str(row) for row in range(30)], label: [row % 3 for row in range(30)], "coarse_label": [0] * 30}
    write_parquet(tmp_path / "train.parquet", [encoded(i) for i in pixels], columns, image)
    images = checked_and_built(parquet_config(test=[]), tmp_path)
    x, y = train_and_val(images)
    assert pairs(torch.cat([x, images.test_x]), torch.cat([y, images.test_y])) == planted_pairs(pixels)


@pytest.mark.parametrize("bytes_type", [pa.binary(), pa.large_binary()])
def test_bytes_without_a_path_beside_them_are_images_too(bytes_type, tmp_path):
    pixels = write_pair(tmp_path)
    contents = pa.array([encoded(i) for i in pixels["test"]], bytes_type)
    pq.write_table(pa.table({"image": contents, "label": [row % 3 for row in range(30)]}), tmp_path / "test.parquet")
    images = checked_and_built(parquet_config(), tmp_path)
    assert pairs(images.test_x, images.test_y) == planted_pairs(pixels["test"])


def write_two_of_each(path, num=60):
    """Images `image` and `mask`; labels `label` in 3 classes and `coarse_label` in 2, with names; returns the pixels of both."""
    pixels, masks = random_pixels(num), random_pixels(num, seed=9)
    masked = pa.array([{"bytes": encoded(i)} for i in masks], pa.struct({"bytes": pa.binary()}))
    columns = {"label": [row % 3 for row in range(num)], "coarse_label": [row % 2 for row in range(num)], "mask": masked}
    features = {"label": {"names": NAMES}, "coarse_label": {"names": ["wild", "tame"]}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    write_parquet(path, [encoded(i) for i in pixels], columns, schema_metadata=metadata)
    return pixels, masks


def test_settings_choose_among_columns(tmp_path):
    _, masks = write_two_of_each(tmp_path / "train.parquet")
    config = parquet_config(test=[], image_column="mask", label_column="coarse_label", num_classes=2)
    images = checked_and_built(config, tmp_path)
    assert images.classes == ["wild", "tame"]
    expected = {(image.tobytes(), ["wild", "tame"][row % 2]) for row, image in enumerate(masks)}
    assert named_pairs(images.test_x, images.test_y, images.classes) < expected


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"label_column": "lable"}, "not a column image or img of encoded pictures and a column lable of whole numbers or names"),
        ({"label_column": "mask"}, "a column mask of whole numbers or names; set image_column and label_column"),
        ({"image_column": "label"}, "not a column label of encoded pictures"),
    ],
)
def test_a_column_that_is_not_there_or_holds_something_else_is_named(settings, says, tmp_path):
    write_two_of_each(tmp_path / "train.parquet")
    with pytest.raises(
        InputError, match=f"^{WHERE}.train: {tmp_path}/train.parquet: has columns image, label, coarse_label, mask, .*{says}"
    ):
        check_image_files(parquet_config(test=[], **settings), tmp_path, WHERE)


def test_two_columns_of_images_of_which_none_has_a_usual_name_are_no_choice(tmp_path):
    write_two_of_each(tmp_path / "train.parquet")
    table = pq.read_table(tmp_path / "train.parquet").rename_columns(["photo", "label", "coarse_label", "mask"])
    pq.write_table(table, tmp_path / "train.parquet")
    with pytest.raises(InputError, match="has columns photo, label, coarse_label, mask, not a column image or img"):
        check_image_files(parquet_config(test=[]), tmp_path, WHERE)


# test images held out


def test_without_test_files_test_images_are_a_stratified_share_of_all(tmp_path):
    pixels = write_pair(tmp_path, num=60)
    images = checked_and_built(parquet_config(test=[], test_share=0.3), tmp_path)
    assert torch.bincount(images.test_y).tolist() == [6, 6, 6]
    x, y = train_and_val(images)
    assert pairs(torch.cat([x, images.test_x]), torch.cat([y, images.test_y])) == planted_pairs(pixels["train"])


def test_limit_holds_for_all_images_where_test_is_held_out(tmp_path):
    write_pair(tmp_path, num=60)
    images = build_image_set(parquet_config(test=[], limit=45, test_share=0.2), tmp_path)
    assert [len(y) for y in (images.train_y, images.val_y, images.test_y)] == [30, 6, 9]


# folders


def folder_config(**changes):
    return ImagesConfig(**{"source": "folder", "train": "train", "test": "test", "num_classes": 3} | changes)


def test_a_folder_of_classes_is_the_file_of_the_same_images(tmp_path):
    pixels = write_named(tmp_path)
    order = np.concatenate([np.flatnonzero(np.arange(30) % 3 == label) for label in (1, 2, 0)])  # ant, cat, dog
    for split, images in pixels.items():
        write_classes(tmp_path / split, images)
        labels = pa.array([NAMES[row % 3] for row in order])
        write_parquet(tmp_path / f"{split}.parquet", [encoded(images[row]) for row in order], labels)
    one, other = checked_and_built(folder_config(), tmp_path), checked_and_built(parquet_config(), tmp_path)
    assert all(torch.equal(getattr(one, name), getattr(other, name)) for name in TENSORS)
    assert one.classes == other.classes


def test_a_folder_alone_is_split_and_no_picture_is_lost(tmp_path):
    pixels = random_pixels(60)
    write_classes(tmp_path / "mine", pixels)
    images = checked_and_built(folder_config(train="mine", test=[]), tmp_path)
    x, y = train_and_val(images)
    found = named_pairs(torch.cat([x, images.test_x]), torch.cat([y, images.test_y]), images.classes)
    assert found == {(image.tobytes(), NAMES[row % 3]) for row, image in enumerate(pixels)}
    assert len(images.test_y) == 12


def test_what_is_no_picture_is_passed_over_and_pictures_lie_at_any_depth(tmp_path):
    pixels = random_pixels(30)
    write_classes(tmp_path / "train", pixels)
    write_classes(tmp_path / "test", pixels[:0:-1])
    before = build_image_set(folder_config(), tmp_path)
    (tmp_path / "train/.git").mkdir()
    (tmp_path / "train/notes.txt").write_text("of the pictures")
    (tmp_path / "train/dog/.000.png").write_bytes(b"what a file manager leaves")
    (tmp_path / "train/dog/boxes.txt").write_text("0 0 8 8")
    (tmp_path / "train/dog/000.png").rename(tmp_path / "train/dog/000.PNG")
    after = checked_and_built(folder_config(), tmp_path)
    assert all(torch.equal(getattr(before, name), getattr(after, name)) for name in TENSORS)
    for file in (tmp_path / "train/ant").glob("*.png"):
        (tmp_path / "train/ant/images").mkdir(exist_ok=True)
        file.rename(tmp_path / "train/ant/images" / file.name)
    assert torch.equal(checked_and_built(folder_config(), tmp_path).train_x, before.train_x)


def test_the_hash_of_a_folder_knows_pictures_and_their_places(tmp_path):
    for number, names in enumerate((NAMES, NAMES, ["eel", "bee", "cow"])):  # of one order
        write_classes(tmp_path / f"{number}", random_pixels(30), names)
    same, again, moved = (build_image_set(folder_config(train=f"{n}", test=[]), tmp_path).source_sha256 for n in range(3))
    assert same == again != moved


def empty_class(folder):
    (folder / "train/eel").mkdir()
    return "one.train: {folder}/train/eel: there is no picture in it"


def no_classes(folder):
    for path in sorted((folder / "train").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    return "one.train: {folder}/train: has no subfolders, of which each class needs one"


def other_picture(folder):
    (folder / "test/dog/1.webp").write_bytes(b"")
    return "one.test: {folder}/test/dog/1.webp: is neither PNG nor JPEG"


def one_class_more(folder):
    (folder / "test/cat").rename(folder / "test/cow")
    return "one.test: {folder}/test: has a class cow that the train images do not have"


def no_folder(folder):
    (folder / "test").rename(folder / "elsewhere")
    return "one.test: no folder {folder}/test; set images_dir"


def a_file(folder):
    (folder / "test").rename(folder / "elsewhere")
    (folder / "test").write_bytes(b"")
    return "one.test: {folder}/test: is a file, not a folder of one subfolder per class"


def a_link_to_train(folder):
    (folder / "test").rename(folder / "elsewhere")
    (folder / "test").symlink_to(folder / "train")
    return "one.test: {folder}/train: shares files with {folder}/train"


@pytest.mark.parametrize("spoil", [empty_class, no_classes, other_picture, one_class_more, no_folder, a_file, a_link_to_train])
def test_a_folder_that_cannot_be_used_is_named_before_the_first_job(spoil, tmp_path):
    for split in ("train", "test"):
        write_classes(tmp_path / split, random_pixels(30, seed=len(split)))
    said = spoil(tmp_path).format(folder=tmp_path)
    with pytest.raises(InputError) as caught:
        check_image_files(folder_config(), tmp_path, WHERE)
    assert str(caught.value).startswith(f"mine.yaml: images.{said}")
    assert "\n" not in str(caught.value)


def test_a_picture_of_a_folder_that_cannot_be_decoded_is_named(tmp_path):
    write_classes(tmp_path / "mine", random_pixels(30))
    (tmp_path / "mine/cat/002.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=f"^{tmp_path}/mine/cat/002.png cannot be decoded as PNG or JPEG$"):
        build_image_set(folder_config(train="mine", test=[]), tmp_path)


def test_parquet_names_no_folder_and_a_remote_file_is_none(tmp_path):
    write_classes(tmp_path / "train", random_pixels(30))
    with pytest.raises(InputError, match="train: not a whole Parquet file, but a folder, as source folder reads"):
        check_image_files(parquet_config(train="train", test=[]), tmp_path, WHERE)
    remote = {"url": "https://hub/a", "sha256": "0" * 64}
    with pytest.raises(InputError, match="https://hub/a: is a file, not a folder"):
        check_image_files(folder_config(train=remote, test=[]), tmp_path, WHERE)
