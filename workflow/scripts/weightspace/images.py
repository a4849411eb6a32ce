"""An image set as uint8 tensors: read, split, stored, normalized."""

import json
import shutil
from hashlib import sha256
from io import BytesIO
from math import ceil
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
import pooch
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from jaxtyping import Float32, Int64, UInt8
from PIL import Image
from torch import Tensor

from weightspace.config.images import ImagesConfig, RemoteFile
from weightspace.errors import InputError
from weightspace.rng import generator_for, seed_for

TENSORS = ("train_x", "train_y", "val_x", "val_y", "test_x", "test_y")
IMAGE_COLUMNS = ("image", "img")
# What becomes 8-bit gray or RGB without loss of depth or transparency; "1" and "P" are PNG's bilevel and palette.
MODES = ("L", "RGB", "1", "P")


class ImageSet(NamedTuple):
    """Images and labels of three disjoint splits, each in a fixed random order, and what normalizes them."""

    train_x: UInt8[Tensor, "train channel height width"]
    train_y: Int64[Tensor, " train"]
    val_x: UInt8[Tensor, "val channel height width"]
    val_y: Int64[Tensor, " val"]
    test_x: UInt8[Tensor, "test channel height width"]
    test_y: Int64[Tensor, " test"]
    mean: tuple[float, ...]  # per channel, of train_x / 255
    std: tuple[float, ...]
    classes: list[str]  # name of each label
    source: str
    source_sha256: str  # of the train file's bytes, then the test file's; of pixels, then labels, for the bundled digits

    def to(self, device: str | torch.device) -> "ImageSet":
        """The same with its tensors on `device`."""
        return self._replace(**{name: getattr(self, name).to(device) for name in TENSORS})


class _Labeled(NamedTuple):
    """Images with their labels."""

    x: UInt8[Tensor, "image channel height width"]
    y: Int64[Tensor, " image"]

    def take(self, rows: Tensor | np.ndarray) -> "_Labeled":
        rows = torch.as_tensor(rows)
        return _Labeled(self.x[rows], self.y[rows])


class _Source(NamedTuple):
    """What a source holds before val is held out."""

    train: _Labeled
    test: _Labeled
    classes: list[str]
    name: str
    train_name: str  # in error messages
    sha256: str


def build_image_set(config: ImagesConfig, images_dir: str | Path) -> ImageSet:
    """Read, split and measure one image set; remote files are downloaded into `images_dir`.

    Images of another size are resized with Pillow's antialiased bilinear filter, without regard to their aspect.
    Raises InputError naming the file and what is wrong with it.
    """
    source = _read_digits(config) if config.source == "bundled_digits" else _read_parquet_pair(config, Path(images_dir))
    train, val = _hold_out(source.train, config.val_share, "val", source.train_name)
    mean, std = _channel_statistics(train.x)
    if min(std) == 0:
        raise InputError(f"{source.train_name}: all train images have one and the same color in channel {std.index(0)}")
    return ImageSet(*train, *val, *source.test, mean, std, source.classes, source.name, source.sha256)


def pack_images(images: ImageSet) -> tuple[dict[str, Tensor], dict]:
    """Tensors and JSON-able metadata, as `store.save_tensors` takes them."""
    fields = images._asdict()
    return {name: fields.pop(name) for name in TENSORS}, fields


def unpack_images(tensors: dict[str, Tensor], metadata: dict) -> ImageSet:
    """Inverse of `pack_images`; raises InputError naming what an image set has and the arguments lack."""
    fields = {**tensors, **metadata}
    if missing := set(ImageSet._fields) - set(fields):
        raise InputError(f"not an image set: {', '.join(sorted(missing))} missing")
    fields = {name: fields[name] for name in ImageSet._fields}
    return ImageSet(**{**fields, "mean": tuple(fields["mean"]), "std": tuple(fields["std"])})


def normalize(x: UInt8[Tensor, "*any channel height width"], images: ImageSet) -> Float32[Tensor, "*any channel height width"]:
    """(x / 255 - mean) / std per channel, on the device of `x`."""
    # Constants as Python numbers: a tensor of them would be copied to the GPU, and waited for, at every call.
    planes = (x.float() / 255).unbind(-3)
    return torch.stack([(plane - m) / s for plane, m, s in zip(planes, images.mean, images.std, strict=True)], dim=-3)


def _channel_statistics(x: UInt8[Tensor, "image channel height width"]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of x / 255 per channel, exact, from a count of each of the 256 levels."""
    levels = torch.arange(256, dtype=torch.float64) / 255
    counts = torch.stack([torch.bincount(plane.flatten(), minlength=256) for plane in x.unbind(1)]).double()
    shares = counts / counts.sum(1, keepdim=True)
    mean = shares @ levels
    variance = (shares * (levels - mean[:, None]) ** 2).sum(1)
    return tuple(mean.tolist()), tuple(variance.sqrt().tolist())


def _read_digits(config: ImagesConfig) -> _Source:
    """scikit-learn's digits, split into train and test; levels 0 to 16 become round(level * 255 / 16)."""
    from sklearn.datasets import load_digits  # here, not above: it takes a second that only this rule has to pay

    digits = load_digits()
    levels = digits.images.astype(np.int64)
    x, y = ((levels * 255 + 8) // 16).astype(np.uint8), digits.target.astype(np.int64)
    if y.max() >= config.num_classes:
        raise InputError(f"bundled_digits: labels run from 0 to {y.max()}, num_classes is {config.num_classes}")
    every = _Labeled(torch.from_numpy(x).unsqueeze(1), torch.from_numpy(y)).take(_shuffled(len(y), config.limit, "digits"))
    train, test = _hold_out(every, config.test_share, "test", "bundled_digits")
    digest = sha256(x.tobytes() + y.astype(np.uint8).tobytes()).hexdigest()
    return _Source(train, test, _numbers(config.num_classes), "bundled_digits", "bundled_digits", digest)


def _read_parquet_pair(config: ImagesConfig, images_dir: Path) -> _Source:
    """The train and the test file of `config`, fetched first where they are remote."""
    train_path, test_path = (_local_path(key, getattr(config, key), images_dir) for key in ("train", "test"))
    train, classes = _read_parquet(train_path, config, "train")
    test, _ = _read_parquet(test_path, config, "test")
    name = ", ".join(file.url if isinstance(file, RemoteFile) else file for file in (config.train, config.test))
    return _Source(train, test, classes, name, str(train_path), _files_sha256(train_path, test_path))


def _files_sha256(*paths: Path) -> str:
    digest = sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _local_path(key: str, file: str | RemoteFile, images_dir: Path) -> Path:
    return _fetch(key, file, images_dir) if isinstance(file, RemoteFile) else images_dir / file


def _fetch(key: str, file: RemoteFile, images_dir: Path) -> Path:
    """Path of the remote file below `images_dir`, downloaded unless a file with its hash is there."""
    downloaders = {"http": pooch.HTTPDownloader(), "https": pooch.HTTPDownloader(), "file": _copy_local}
    scheme = urlsplit(file.url).scheme
    if scheme not in downloaders:
        raise InputError(f"{key}: {file.url}: only http, https and file addresses can be fetched")
    name = f"{file.sha256[:16]}.parquet"
    try:
        # pooch writes to a temporary file, removes it if its hash is wrong, and renames it if right
        path = pooch.retrieve(file.url, f"sha256:{file.sha256}", name, images_dir, downloader=downloaders[scheme])
    except OSError as error:  # requests' errors are among these, some of them ValueErrors too
        raise InputError(f"{key}: {file.url}: cannot be fetched ({' '.join(str(error).split())})") from error
    except ValueError as error:
        raise InputError(f"{key}: {file.url}: what it sends does not have the pinned sha256 {file.sha256}") from error
    return Path(path)


def _copy_local(url: str, output: str, _pooch: object) -> None:
    shutil.copyfile(url2pathname(urlsplit(url).path), output)


def _read_parquet(path: Path, config: ImagesConfig, split: str) -> tuple[_Labeled, list[str]]:
    """Images and class names of one file in the HF hub's layout, in the order of a fixed shuffle."""
    table, classes = _read_table(path, config)
    if len(table) == 0:
        raise InputError(f"{path}: there is no image in it")
    y = _checked_labels(path, table["label"], config.num_classes)
    rows = _shuffled(len(y), config.limit, split)
    contents = table["bytes"].to_pylist()
    x = np.empty((len(rows), config.size, config.size, config.channels), np.uint8)
    for place, row in enumerate(rows.tolist()):
        x[place] = _decode(contents[row], config, f"{path}: the image in row {row}")
    return _Labeled(torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(), y[rows]), classes


def _read_table(path: Path, config: ImagesConfig) -> tuple[pa.Table, list[str]]:
    """Columns `bytes` and `label` of one file, and its class names."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            schema = file.schema_arrow
            column = _image_column(schema)
            if column is None:
                needed = "a struct column image or img that holds bytes, and an integer column label"
                raise InputError(f"{path}: has columns {', '.join(schema.names)}, not {needed}")
            table = file.read(columns=[f"{column}.bytes", "label"])
            contents = pc.struct_field(table[column], "bytes")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (pa.ArrowException, ValueError, OSError) as error:  # ValueError: names that are not text
        raise InputError(f"{path}: not a whole Parquet file ({str(error).splitlines()[0]})") from error
    return pa.table({"bytes": contents, "label": table["label"]}), _class_names(schema, config.num_classes)


def _image_column(schema: pa.Schema) -> str | None:
    """Name of the column of images, or None if there is none or no label beside it."""
    label = schema.get_field_index("label")
    if label < 0 or not pa.types.is_integer(schema.field(label).type):
        return None
    for name in IMAGE_COLUMNS:
        index = schema.get_field_index(name)
        kind = schema.field(index).type if index >= 0 else pa.null()
        place = kind.get_field_index("bytes") if pa.types.is_struct(kind) else -1
        if place >= 0 and (pa.types.is_binary(kind[place].type) or pa.types.is_large_binary(kind[place].type)):
            return name
    return None


def _class_names(schema: pa.Schema, num_classes: int) -> list[str]:
    """Names that the HF hub's own files carry in their schema, or the numbers."""
    try:
        names = json.loads(schema.metadata[b"huggingface"])["info"]["features"]["label"]["names"]
    except (KeyError, TypeError, ValueError):
        return _numbers(num_classes)
    return names if len(names) == num_classes else _numbers(num_classes)


def _numbers(num_classes: int) -> list[str]:
    return [str(label) for label in range(num_classes)]


def _checked_labels(path: Path, column: pa.ChunkedArray, num_classes: int) -> Int64[Tensor, " image"]:
    if column.null_count:
        raise InputError(f"{path}: {column.null_count} labels are missing")
    labels = column.to_numpy()
    wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(wrong):
        raise InputError(f"{path}: the label in row {wrong[0]} is {labels[wrong[0]]}, not one of 0 to {num_classes - 1}")
    return torch.from_numpy(labels.astype(np.int64))


def _decode(content: bytes | None, config: ImagesConfig, which: str) -> UInt8[np.ndarray, "height width channel"]:
    """Pixels of one PNG or JPEG at the size and with the channels of `config`."""
    try:
        Image.open(BytesIO(content), formats=("PNG", "JPEG")).verify()  # PNG's checksums, which decoding skips
        image = Image.open(BytesIO(content), formats=("PNG", "JPEG"))
        image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{which} cannot be decoded as PNG or JPEG") from error
    if image.mode not in MODES or image.has_transparency_data:
        raise InputError(f"{which} is not 8-bit gray or RGB without transparency (Pillow's mode {image.mode})")
    image = image.convert("L" if config.channels == 1 else "RGB")
    if image.size != (config.size, config.size):
        image = image.resize((config.size, config.size), Image.Resampling.BILINEAR)
    return np.asarray(image).reshape(config.size, config.size, config.channels)


def _shuffled(num_images: int, limit: int | None, name: str) -> Int64[Tensor, " image"]:
    """The first `limit` rows of a fixed shuffle: a smaller limit keeps a subset of a larger one's images."""
    return torch.randperm(num_images, generator=generator_for("images", "shuffle", name))[:limit]


def _hold_out(images: _Labeled, share: float, name: str, source: str) -> tuple[_Labeled, _Labeled]:
    """The rest, and a stratified `share` of the images."""
    from sklearn.model_selection import train_test_split  # here for the reason above

    total, rows = len(images.y), np.arange(len(images.y))
    if share == 0:
        return images, images.take(rows[:0])
    counts = torch.bincount(images.y)
    held, classes, rarest = ceil(share * total), int(counts.count_nonzero()), int(counts[counts > 0].min())
    if rarest < 2:
        raise InputError(f"{source}: class {counts.tolist().index(1)} has 1 image, a stratified {name} split needs 2 or more")
    if min(held, total - held) < classes:
        raise InputError(f"{source}: {total} images of {classes} classes are too few for a stratified {name}_share of {share:g}")
    rest, out = train_test_split(rows, test_size=share, stratify=images.y.numpy(), random_state=seed_for("images", name))
    return images.take(rest), images.take(out)
