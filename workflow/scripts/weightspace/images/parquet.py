"""One Parquet file of images in the HF hub's layout: its columns, labels, encoded images and class names."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Int64

from weightspace.errors import InputError

IMAGE_COLUMNS = ("image", "img")


def check_parquet(path: Path, num_classes: int) -> int:
    """Number of images, by schema and footer alone; raises InputError naming the file and what is wrong with it."""
    with _opened(path) as file:
        _image_column(path, file.schema_arrow)
        _class_names(path, file.schema_arrow, num_classes)
        groups = [file.metadata.row_group(index) for index in range(file.num_row_groups)]
        columns = [group.column(index) for group in groups for index in range(group.num_columns)]
        for statistics in [column.statistics for column in columns if column.path_in_schema == "label"]:
            _check_statistics(path, statistics, num_classes)
        return file.metadata.num_rows


def read_labels(path: Path, num_classes: int) -> Int64[np.ndarray, " image"]:
    """Label of each image; raises InputError naming the file and what is wrong with it."""
    with _opened(path) as file:
        _image_column(path, file.schema_arrow)
        column = file.read(columns=["label"])["label"]
    if column.null_count:
        raise InputError(f"{path}: {column.null_count} labels are missing")
    labels = column.to_numpy()
    wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(wrong):
        raise InputError(f"{path}: the label in row {wrong[0]} is {labels[wrong[0]]}, not one of 0 to {num_classes - 1}")
    return labels.astype(np.int64)


def read_contents(path: Path) -> list[bytes | None]:
    """Encoded images, one per row; raises InputError naming the file and what is wrong with it."""
    with _opened(path) as file:
        column = _image_column(path, file.schema_arrow)
        table = file.read(columns=[f"{column}.bytes"])
        return pc.struct_field(table[column], "bytes").to_pylist()


def read_class_names(path: Path, num_classes: int) -> list[str]:
    """Names that the HF hub's own files carry in their schema, or the numbers; raises InputError if there are too few."""
    with _opened(path) as file:
        return _class_names(path, file.schema_arrow, num_classes)


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


def _image_column(path: Path, schema: pa.Schema) -> str:
    """Name of the column of images; raises InputError if there is none or no label beside it."""
    label = schema.get_field_index("label")
    if label >= 0 and pa.types.is_integer(schema.field(label).type):
        for name in IMAGE_COLUMNS:
            index = schema.get_field_index(name)
            if index >= 0 and _holds_bytes(schema.field(index).type):
                return name
    needed = "a struct column image or img that holds bytes, and an integer column label"
    raise InputError(f"{path}: has columns {', '.join(schema.names)}, not {needed}")


def _holds_bytes(kind: pa.DataType) -> bool:
    place = kind.get_field_index("bytes") if pa.types.is_struct(kind) else -1
    return place >= 0 and (pa.types.is_binary(kind[place].type) or pa.types.is_large_binary(kind[place].type))


def _check_statistics(path: Path, statistics: pq.Statistics | None, num_classes: int) -> None:
    """What the footer says of the labels of one row group; writers may leave it out."""
    if statistics is None:
        return
    if statistics.has_null_count and statistics.null_count:
        raise InputError(f"{path}: {statistics.null_count} labels are missing")
    if statistics.has_min_max and (statistics.min < 0 or statistics.max >= num_classes):
        raise InputError(f"{path}: has labels from {statistics.min} to {statistics.max}, num_classes is {num_classes}")


def _class_names(path: Path, schema: pa.Schema, num_classes: int) -> list[str]:
    """Names in the schema if there are as many as classes, numbers if there are none or names of classes left out."""
    numbers = [str(label) for label in range(num_classes)]
    try:
        names = json.loads(schema.metadata[b"huggingface"])["info"]["features"]["label"]["names"]
    except (KeyError, TypeError, ValueError):
        return numbers
    if not isinstance(names, list):
        return numbers
    if len(names) < num_classes:
        raise InputError(f"{path}: its schema names {len(names)} classes, num_classes is {num_classes}")
    return names if len(names) == num_classes else numbers
