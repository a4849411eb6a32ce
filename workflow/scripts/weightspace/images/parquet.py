"""One Parquet file of images in the HF hub's layouts: its columns, labels, encoded images and class names."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from weightspace.errors import InputError
from weightspace.images.labels import Content, Labels, Picture, check_numbers
from weightspace.images.settings import ImagesConfig

# Where a setting names no column, the first of these that the file has.
IMAGE_COLUMNS = ("image", "img", "images", "picture")
LABEL_COLUMNS = ("label", "labels", "fine_label", "class", "target", "y")


class Columns(NamedTuple):
    """Which columns of a file are read."""

    image: str
    label: str


def check(path: Path, config: ImagesConfig) -> Content:
    """What the file holds, by schema and footer, and by its labels where they are text; raises InputError naming the file."""
    with _opened(path) as file:
        columns = _columns(path, file.schema_arrow, config)
        _class_names(path, file.schema_arrow, columns.label, config.num_classes)
        groups = [file.metadata.row_group(index) for index in range(file.num_row_groups)]
        chunks = [group.column(index) for group in groups for index in range(group.num_columns)]
        for statistics in [chunk.statistics for chunk in chunks if chunk.path_in_schema == columns.label]:
            _check_statistics(path, statistics, config.num_classes)
        num_images = file.metadata.num_rows
        is_text = _is_text(file.schema_arrow.field(columns.label).type)
    return Content(num_images, set(read_labels(path, config).tolist()) if is_text else None)


def read_labels(path: Path, config: ImagesConfig) -> Labels:
    """Label of each image, as numbers or as names; raises InputError naming the file and what is wrong with it."""
    with _opened(path) as file:
        label = _columns(path, file.schema_arrow, config).label
        column = file.read(columns=[label])[label]
        if column.null_count:
            raise InputError(f"{path}: {column.null_count} labels are missing")
        if _is_text(column.type):
            return np.asarray(column.cast(pa.string()).to_pylist(), dtype=np.str_)
        return check_numbers(column.to_numpy(), path, config.num_classes)


def read_pictures(path: Path, config: ImagesConfig) -> Callable[[int], Picture]:
    """The encoded image in each row; raises InputError naming the file and what is wrong with it."""
    with _opened(path) as file:
        name = _columns(path, file.schema_arrow, config).image
        is_struct = pa.types.is_struct(file.schema_arrow.field(name).type)
        column = file.read(columns=[f"{name}.bytes" if is_struct else name])[name]
        contents = (pc.struct_field(column, "bytes") if is_struct else column).to_pylist()
    return lambda row: Picture(f"{path}: the image in row {row}", contents[row])


def read_class_names(path: Path, config: ImagesConfig) -> list[str] | None:
    """Names that the HF hub's own files carry in their schema, as many as classes; raises InputError if there are too few."""
    with _opened(path) as file:
        label = _columns(path, file.schema_arrow, config).label
        return _class_names(path, file.schema_arrow, label, config.num_classes)


def check_whole(path: Path) -> None:
    """Raises InputError naming the file if it was cut."""
    with _opened(path):
        pass


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    """The open file; what goes wrong with it, there and later, is an InputError that names it."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield file
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (pa.ArrowException, ValueError, OSError) as error:  # ValueError: names that are not text
        raise InputError(f"{path}: not a whole Parquet file ({str(error).splitlines()[0]})") from error


def _columns(path: Path, schema: pa.Schema, config: ImagesConfig) -> Columns:
    """The columns that settings name, else those of usual names, else a column of images that is the only one.

    Raises InputError, with the columns that there are, if one of the two is not found or holds something else.
    """
    images = [field.name for field in schema if _holds_bytes(field.type)]
    labels = [field.name for field in schema if pa.types.is_integer(field.type) or _is_text(field.type)]
    usual_image = next((name for name in IMAGE_COLUMNS if name in images), images[0] if len(images) == 1 else None)
    usual_label = next((name for name in LABEL_COLUMNS if name in labels), None)
    columns = Columns(config.image_column or usual_image, config.label_column or usual_label)
    if columns.image in images and columns.label in labels:
        return columns
    image = f"column {config.image_column}" if config.image_column else "column image or img"
    label = f"column {config.label_column}" if config.label_column else "column label, labels or fine_label"
    needed = f"a {image} of encoded pictures and a {label} of whole numbers or names"
    raise InputError(f"{path}: has columns {', '.join(schema.names)}, not {needed}; set image_column and label_column")


def _holds_bytes(kind: pa.DataType) -> bool:
    """Whether a column holds encoded pictures: as bytes, or as the hub does, with their paths beside them."""
    if pa.types.is_struct(kind):
        place = kind.get_field_index("bytes")
        return place >= 0 and _holds_bytes(kind[place].type) and not pa.types.is_struct(kind[place].type)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _check_statistics(path: Path, statistics: pq.Statistics | None, num_classes: int) -> None:
    """What the footer says of the labels of one row group; writers may leave it out."""
    if statistics is None:
        return
    if statistics.has_null_count and statistics.null_count:
        raise InputError(f"{path}: {statistics.null_count} labels are missing")
    if statistics.has_min_max and not isinstance(statistics.min, int):
        return
    if statistics.has_min_max and (statistics.min < 0 or statistics.max >= num_classes):
        raise InputError(f"{path}: has labels from {statistics.min} to {statistics.max}, num_classes is {num_classes}")


def _class_names(path: Path, schema: pa.Schema, label: str, num_classes: int) -> list[str] | None:
    """Names in the schema if there are as many as classes; None if there are none, or names of classes left out."""
    try:
        names = json.loads(schema.metadata[b"huggingface"])["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    if not isinstance(names, list):
        return None
    if len(names) < num_classes:
        raise InputError(f"{path}: its schema names {len(names)} classes, num_classes is {num_classes}")
    return names if len(names) == num_classes else None
