"""Image sets by name: what the hub has comes back, the local folder goes before it, and what was once fetched stays the same."""

import json
from hashlib import sha256

import numpy as np
import pytest
import torch
from PIL import Image
from planted_images import encoded, pairs, train_and_val, write_parquet
from weightspace.errors import InputError
from weightspace.images.build import build_image_set
from weightspace.images.check import check_image_files
from weightspace.images.labeled import Labeled, hold_out
from weightspace.images.published import PUBLISHED
from weightspace.images.settings import ImagesConfig
from weightspace.images.tensors import TENSORS

DIGIT_NAMES = [str(digit) for digit in range(10)]
CIFAR10_NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
LAND = "AnnualCrop Forest HerbaceousVegetation Highway Industrial Pasture PermanentCrop Residential River SeaLake".split()
FINE, COARSE = [f"fine {k}" for k in range(100)], [f"coarse {k}" for k in range(20)]
# Columns of labels with their classes, other columns, name of the image column, side, Pillow's mode and encoding, as published.
HUB = {
    "mnist": ({"label": DIGIT_NAMES}, [], "image", 28, "L", "PNG"),
    "fashion_mnist": ({"label": [f"garment {k}" for k in range(10)]}, [], "image", 28, "L", "PNG"),
    "svhn": ({"label": DIGIT_NAMES}, [], "image", 32, "RGB", "PNG"),
    "cifar10": ({"label": CIFAR10_NAMES}, [], "img", 32, "RGB", "PNG"),
    "cifar100": ({"fine_label": FINE, "coarse_label": COARSE}, [], "img", 32, "RGB", "PNG"),
    "eurosat": ({"label": LAND}, ["image_id"], "image", 64, "RGB", "JPEG"),
    "stl10": ({"label": [f"thing {k}" for k in range(10)]}, [], "image", 96, "RGB", "PNG"),
    "tiny_imagenet": ({"label": [f"n{k:08}" for k in range(200)]}, [], "image", 64, "RGB", "JPEG"),
}
FEW = {"val_share": 0.4}  # of the few planted images, so that each class has some
MNIST, SVHN = (ImagesConfig(source=name, **FEW) for name in ("mnist", "svhn"))


def write_set(name, path, number, first=0):
    """A file in a published set's layout: each image of one gray level, one class after another; returns the levels."""
    labels, others, column, side, mode, kind = HUB[name]
    levels = [(first + row) % 256 for row in range(number)]
    contents = [encoded(Image.new(mode, (side, side), (level,) * len(mode)), kind, quality=100) for level in levels]
    features = {column: {"_type": "Image"}} | {key: {"names": names, "_type": "ClassLabel"} for key, names in labels.items()}
    columns = {key: [row % len(names) for row in range(number)] for key, names in labels.items()}
    columns |= {other: [f"{first + row}" for row in range(number)] for other in others}
    write_parquet(path, contents, columns, column, {"huggingface": json.dumps({"info": {"features": features}})})
    return levels


def write_hub(name, folder):
    """The files of a set below `folder`, as the hub would send them; returns the gray levels of train and of test images."""
    levels, number = {"train": [], "test": []}, 3 * max(PUBLISHED[name].labels.values())
    for split, own in levels.items():
        for file in PUBLISHED[name].files(name, split):
            path = folder / "datasets" / file.repo / "resolve" / file.revision / file.path
            own += write_set(name, path, number, first=50 * (split == "test") + len(own))
    return levels


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty hub in a folder, no hash pinned, and a working directory of its own."""
    monkeypatch.setenv("HF_ENDPOINT", (tmp_path / "hub").as_uri() + "/")
    for name, entry in PUBLISHED.items():
        unpinned = {split: dict.fromkeys(getattr(entry, split)) for split in ("train", "test")}
        monkeypatch.setitem(PUBLISHED, name, entry._replace(**unpinned))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "hub"


def same(one, other):
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in TENSORS)


# the table


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_name_is_all_that_a_scenario_needs(name):
    config, entry = ImagesConfig(source=name), PUBLISHED[name]
    assert config.image_shape == (entry.channels, entry.size, entry.size)
    assert config.num_classes == next(iter(entry.labels.values()))
    assert config == ImagesConfig(**config.model_dump(mode="json"))  # as a rule hands it to its script


@pytest.mark.parametrize("name", PUBLISHED)
def test_shares_hold_out_as_many_images_as_published(name):
    config, (train, val, test) = ImagesConfig(source=name), PUBLISHED[name].split
    number = train + val + (0 if PUBLISHED[name].test else test)
    images = Labeled(torch.zeros(number, 1, 1, 1, dtype=torch.uint8), torch.arange(number) % config.num_classes)
    if not PUBLISHED[name].test:
        images, held_out = hold_out(images, config.test_share, "test", name)
        assert len(held_out.y) == test
    rest, held_out = hold_out(images, config.val_share, "val", name)
    assert (len(rest.y), len(held_out.y)) == (train, val)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_set_is_pinned_by_a_commit_and_by_hashes_that_are_such(name):
    entry = PUBLISHED[name]
    assert len(entry.revision) == 40
    assert int(entry.revision, 16)
    assert all(digest is None or int(digest, 16) < 2**256 for digest in [*entry.train.values(), *entry.test.values()])
    (file, *_) = entry.files(name, "train")
    assert file.url == f"https://huggingface.co/datasets/{entry.repo}/resolve/{entry.revision}/{file.path}"


def test_what_is_said_goes_before_what_the_table_says():
    said = {"size": 28, "channels": 1, "crop": 28, "val_share": 0.1, "num_classes": 5, "limit": 5, "normalization": "half"}
    config = ImagesConfig(source="svhn", **said)
    assert said.items() <= config.model_dump().items()


@pytest.mark.parametrize(("column", "number"), [(None, 100), ("fine_label", 100), ("coarse_label", 20), ("label", 100)])
def test_the_number_of_classes_is_that_of_the_column(column, number):
    assert ImagesConfig(source="cifar100", label_column=column).num_classes == number


# the hub


@pytest.mark.slow
@pytest.mark.parametrize("name", HUB)
def test_what_the_hub_has_comes_back_with_the_names_of_its_classes(name, hub):
    levels, config = write_hub(name, hub), ImagesConfig(source=name, **FEW)
    check_image_files(config, "images", "mine.yaml: images.one")
    images = build_image_set(config, "images")
    x, y = train_and_val(images)
    if not PUBLISHED[name].test:  # held out of all
        x, y = torch.cat([x, images.test_x]), torch.cat([y, images.test_y])
    else:
        assert sorted(images.test_x[:, 0, 0, 0].tolist()) == sorted(levels["test"])
    assert x.shape[1:] == config.image_shape
    assert torch.equal(x, x[:, :1, :1, :1].expand_as(x))
    assert sorted(x[:, 0, 0, 0].tolist()) == sorted(levels["train"])
    assert images.classes == next(iter(HUB[name][0].values()))
    assert len(y.unique()) == config.num_classes
    files = [file.place for split in ("train", "test") for file in sorted(PUBLISHED[name].files(name, split))]
    assert images.source.split(", ") == files  # whichever server sent them


def test_a_set_is_fetched_once_and_its_hashes_are_recorded(hub):
    write_hub("svhn", hub)
    first = build_image_set(SVHN, "images")
    for file in hub.rglob("*.parquet"):
        file.unlink()
    assert same(build_image_set(SVHN, "images"), first)


@pytest.fixture
def locked(hub, tmp_path):
    """The lock of a set that was fetched."""
    write_hub("svhn", hub)
    build_image_set(SVHN, "images")
    return tmp_path / "work/config/image-locks/svhn.json"


def test_a_lock_holds_the_hash_of_each_file(locked, hub):
    recorded = json.loads(locked.read_text())
    for key, digest in recorded.items():
        (file,) = hub.rglob(key.rpartition("/")[2])
        assert sha256(file.read_bytes()).hexdigest() == digest
    assert sorted(key.rpartition("/")[2][:4] for key in recorded) == ["test", "trai"]


def test_another_content_than_the_recorded_one_is_refused(locked, hub):
    (train,) = hub.rglob("train-*.parquet")
    write_set("svhn", train, 40, first=7)
    with pytest.raises(InputError) as caught:
        build_image_set(SVHN, "images of someone who was given the lock")
    assert str(caught.value).startswith(f"train: {train.as_uri()}: what it sends does not have the pinned sha256 ")
    assert str(caught.value).endswith(", which config/image-locks/svhn.json records")


@pytest.mark.parametrize("content", ["", "[]", '{"a": "b"}', '{"a": 1}', '{"a": ["b"]}'])
def test_a_lock_that_cannot_be_read_is_named(locked, content):
    locked.write_text(content)
    with pytest.raises(InputError, match=r"^config/image-locks/svhn.json: is not a list of files with their sha256"):
        build_image_set(SVHN, "images")


def test_a_first_download_that_is_cut_leaves_neither_file_nor_hash(hub, tmp_path):
    write_hub("svhn", hub)
    (train,) = hub.rglob("train-*.parquet")
    train.write_bytes(train.read_bytes()[:-9])
    with pytest.raises(InputError, match=f"^train: {train.as_uri()}: what it sends is not a whole Parquet file$"):
        build_image_set(SVHN, "images")
    assert [path for path in (tmp_path / "work").rglob("*") if path.is_file()] == []


def test_an_address_without_a_file_is_named_and_what_to_do_instead(hub):
    with pytest.raises(
        InputError, match=r"^train: file://.*train-00000.*: cannot be fetched .*in the folder svhn of images_dir$"
    ):
        build_image_set(SVHN, "images")


def test_a_pinned_hash_holds_from_the_first_download_on(hub, monkeypatch):
    write_hub("mnist", hub)
    (train, *_) = PUBLISHED["mnist"].train
    monkeypatch.setitem(PUBLISHED, "mnist", PUBLISHED["mnist"]._replace(train={train: "0" * 64}))
    with pytest.raises(InputError, match="^train: .*what it sends does not have the pinned sha256 0{64}$"):
        build_image_set(MNIST, "images")


# the folder of a set


LAYOUTS = {
    "one file": ["train.parquet"],
    "the hub's name": ["train-00000-of-00001.parquet"],
    "the hub's path": ["cropped_digits/train-00000-of-00001.parquet"],
    "shards": ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"],
    "the hub's conversion": ["train/0000.parquet", "train/0001.parquet"],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_local_folder_goes_before_the_hub(layout, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "https://nowhere.invalid")
    files, levels = LAYOUTS[layout], []
    for part, file in enumerate(files):
        levels += write_set("svhn", tmp_path / "svhn" / file, 40, first=60 * part)
    write_set("svhn", tmp_path / "svhn" / "test.parquet", 30, first=200)
    write_set("svhn", tmp_path / "svhn" / "full_numbers/train-00000-of-00001.parquet", 30, first=90)  # of another subset
    check_image_files(SVHN, tmp_path, "mine.yaml: images.one")
    images = build_image_set(SVHN, tmp_path)
    assert sorted(train_and_val(images)[0][:, 0, 0, 0].tolist()) == sorted(levels)
    assert images.source == ", ".join(f"svhn/{file}" for file in [*files, "test.parquet"])


def test_a_set_by_name_is_its_files_written_out(tmp_path):
    for split, first in {"train": 0, "test": 100}.items():
        write_set("mnist", tmp_path / f"mnist/{split}.parquet", 60, first)
    written = {"source": "parquet", "train": "mnist/train.parquet", "test": "mnist/test.parquet", "size": 28, **FEW}
    one, other = (build_image_set(ImagesConfig(**config), tmp_path) for config in ({"source": "mnist", **FEW}, written))
    assert same(one, other)
    assert one[len(TENSORS) :] == other[len(TENSORS) :]


def test_files_of_a_setting_go_before_the_folder_of_the_name(tmp_path):
    write_set("svhn", tmp_path / "svhn/train.parquet", 40)
    levels = write_set("svhn", tmp_path / "mine.parquet", 100, first=100)
    images = build_image_set(ImagesConfig(source="svhn", train="mine.parquet", **FEW), tmp_path)
    assert len(images.test_y) == 20
    assert sorted(torch.cat([train_and_val(images)[0], images.test_x])[:, 0, 0, 0].tolist()) == sorted(levels)


def test_a_folder_of_a_set_that_lacks_a_file_is_said_before_the_first_job(tmp_path):
    write_set("mnist", tmp_path / "mnist/train.parquet", 60)
    said = f"no file {tmp_path}/mnist/test.parquet; nothing is fetched where there is a folder {tmp_path}/mnist"
    with pytest.raises(InputError) as caught:
        check_image_files(MNIST, tmp_path, "mine.yaml: images.one")
    assert str(caught.value) == f"mine.yaml: images.one.test: {said}"


def test_the_folder_of_a_set_may_hold_folders_of_classes(tmp_path):
    levels = np.arange(60)
    for split in ("train", "test"):
        for level in levels:
            path = tmp_path / f"mnist/{split}/{level % 10}/{level}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(np.full((28, 28), level, np.uint8)))
    images = build_image_set(MNIST, tmp_path)
    assert pairs(images.test_x[..., :1, :1], images.test_y) == {(bytes([level]), level % 10): 1 for level in levels}
    assert images.classes == DIGIT_NAMES


# normalization


@pytest.mark.parametrize(
    ("said", "mean", "std"),
    [
        ("mnist", [0.1307] * 3, [0.3081] * 3),
        ("published", [0.5] * 3, [0.5] * 3),
        ("imagenet", [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ({"mean": [0.1], "std": [0.2, 0.3, 0.4]}, [0.1] * 3, [0.2, 0.3, 0.4]),
    ],
)
def test_constants_are_those_that_are_said(said, mean, std, tmp_path):
    for split, first in {"train": 0, "test": 100}.items():
        write_set("svhn", tmp_path / f"svhn/{split}.parquet", 40, first)
    images = build_image_set(ImagesConfig(source="svhn", normalization=said, **FEW), tmp_path)
    assert (list(images.mean), list(images.std)) == (mean, std)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"source": "mnist", "normalization": "imagenet"}, "has not one number, nor one for each of 1 channels"),
        ({"source": "svhn", "normalization": {"mean": [0.1, 0.2], "std": [1]}}, "nor one for each of 3 channels"),
        ({"source": "cifar100", "normalization": "published"}, "published is known of mnist, fashion_mnist, svhn"),
        ({"source": "bundled_digits", "normalization": "published"}, "published is known of"),
        ({"source": "mnist", "normalization": {"mean": [0.1], "std": [0]}}, "greater than 0"),
    ],
)
def test_constants_that_fit_no_image_are_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        ImagesConfig(**settings)
