"""Planted tables as `weightspace.table.read` gives them, rows with their cells' columns; and what a figure says."""

import pandas as pd
import pyarrow as pa
from weightspace.report.style import house_style
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


def texts_of(figure):
    """All that is written in a figure, in one line."""
    artists = figure.findobj(lambda artist: hasattr(artist, "get_text"))
    return " ".join(" ".join(artist.get_text() for artist in artists).split())


def drawn(figure):
    """Everything written in a figure whose layout was also made."""
    with house_style():
        figure.draw_without_rendering()
    return texts_of(figure)
