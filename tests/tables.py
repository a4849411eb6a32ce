"""Planted tables as `weightspace.table.read` gives them: rows with their cells' columns beside them."""

import pandas as pd
import pyarrow as pa
from weightspace.table import CELLS, KEY, SCHEMA, write_table

ABOUT = ["kind", "of", "group", "label"]


def joined(rows, cells=()):
    """Rows, as dictionaries or as a frame, with what `cells` says of (stage, cell); a label is the name with blanks."""
    table = rows if isinstance(rows, pd.DataFrame) else pa.Table.from_pylist(rows, schema=SCHEMA).to_pandas()
    said, keys = dict(cells), list(zip(table["stage"], table["cell"], strict=True))
    about = [{"label": cell.replace("_", " ")} | said.get((stage, cell), {}) for stage, cell in keys]
    names = [*ABOUT, *sorted({name for each in about for name in each} - set(ABOUT))]
    return table.assign(**{name: [each.get(name) for each in about] for name in names})


def write_cells(path, rows):
    """The table of cells that a joined frame speaks of, as `cells.parquet`."""
    cells = rows[[*KEY, *ABOUT]].drop_duplicates(KEY)
    write_table(path, pa.Table.from_pandas(cells[CELLS.names], schema=CELLS, preserve_index=False))
