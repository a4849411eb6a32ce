"""Who reads what lies at a path."""

from pathlib import Path
from types import ModuleType

from weightspace.images import folder, parquet


def reader_of(path: Path) -> ModuleType:
    """The module that reads it: `check`, `read_labels`, `read_pictures`, `read_class_names`."""
    return folder if path.is_dir() else parquet
