"""All tables of one kind of a scenario as one table."""

from pathlib import Path

import pyarrow as pa

from weightspace.errors import InputError
from weightspace.table import SCHEMA, read_metrics, read_table

KEY = [name for name in SCHEMA.names if name != "value"]


def collect_metrics(paths: list[str | Path]) -> pa.Table:
    """Rows of all tables, in the order of the files; raises InputError if two rows measure the same thing."""
    if not paths:
        raise InputError("there are no metrics tables to collect")
    table = pa.concat_tables(read_metrics(path) for path in paths)
    keys = table.select(KEY).to_pandas()
    repeated = keys[keys.duplicated()]
    if len(repeated):
        first = ", ".join(f"{name} {value!r}" for name, value in repeated.iloc[0].items())
        raise InputError(f"{len(repeated)} rows are measured twice, the first is {first}")
    return table


def collect_tables(paths: list[str | Path], schema: pa.Schema) -> pa.Table:
    """Rows of all tables of one schema, in the order of the files; none where there are no tables."""
    return pa.concat_tables([schema.empty_table(), *(read_table(path, schema) for path in paths)])
