"""Planted image files: pictures, Parquet files of them, and the settings that read them."""

from collections import Counter
from contextlib import contextmanager
from io import BytesIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from weightspace.errors import InputError
from weightspace.images.settings import ImagesConfig

MODE_SHAPES = {"L": (8, 8), "RGB": (8, 8, 3)}


def parquet_config(**changes):
    return ImagesConfig(**{"source": "parquet", "train": "train.parquet", "test": "test.parquet", "num_classes": 3} | changes)


def random_pixels(num, mode="L", seed=0):
    return np.random.default_rng(seed).integers(0, 256, (num, *MODE_SHAPES[mode]), dtype=np.uint8)


def encoded(image, kind="PNG", **options):
    file = BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, kind, **options)
    return file.getvalue()


def write_parquet(path, contents, labels, column="image", schema_metadata=None):
    """A file of encoded images with a column `label`, or with the columns that `labels` has by name."""
    images = pa.array(
        [{"bytes": c, "path": f"{i}.png"} for i, c in enumerate(contents)], pa.struct({"bytes": pa.binary(), "path": pa.string()})
    )
    if not isinstance(labels, dict):
        labels = {"label": labels if isinstance(labels, pa.Array) else pa.array(labels, pa.int64())}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({column: images} | labels).replace_schema_metadata(schema_metadata), path)


def write_labels(path, labels, kind=None, **options):
    """A file of random pictures with these labels."""
    pictures = pa.array([{"bytes": encoded(i)} for i in random_pixels(len(labels))], pa.struct({"bytes": pa.binary()}))
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": pictures, "label": pa.array(labels, kind or pa.int64())}), path, **options)


def write_both(folder, contents, labels):
    """Train and test files of the same images, and yet not the same file."""
    for name in ("train", "test"):
        write_parquet(folder / f"{name}.parquet", contents, labels, schema_metadata={"split": name})


def write_pair(folder, num=30, mode="L", column="image"):
    """Planted train and test files of `num` images in three classes; returns their pixels."""
    pixels = {name: random_pixels(num, mode, seed) for seed, name in enumerate(("train", "test"))}
    for name, images in pixels.items():
        write_parquet(folder / f"{name}.parquet", [encoded(i) for i in images], [i % 3 for i in range(num)], column)
    return pixels


def pairs(x, y):
    """Images in the layout of Pillow with their labels, however ordered."""
    return Counter((i.permute(1, 2, 0).numpy().tobytes(), int(label)) for i, label in zip(x, y, strict=True))


def planted_pairs(pixels):
    return Counter((image.tobytes(), i % 3) for i, image in enumerate(pixels))


def train_and_val(images):
    return torch.cat([images.train_x, images.val_x]), torch.cat([images.train_y, images.val_y])


@contextmanager
def input_errors_into(messages):
    """Collect the sentence of an InputError in place of raising it."""
    try:
        yield
    except InputError as error:
        messages.append(str(error))
