"""Figure embeddings: where test models lie by their mean code, and what that has to do with their properties."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from weightspace.report.intervals import describe_models
from weightspace.report.names import wrapped
from weightspace.report.style import WIDTH_INCHES, add_note, house_style, nothing_to_draw

COLORS = "viridis"
MOST_CELLS = 4
ENCODERS = {"trained": "trained", "untrained": "untrained encoder"}
NOTE = (
    "One point per test model and epoch, one seed, of at most four autoencoders. "
    "Axes: the first two principal components of the mean code, over these points; "
    "in percent their shares of the variance. Signs and scales of the axes mean nothing. "
    "Colors of one property are the same in all panels; accuracies below the 5th percentile have its color."
)


class Property(NamedTuple):
    """What points are colored by."""

    column: str
    title: str
    factor: float  # to the unit of the title


PROPERTIES = (Property("test_accuracy", "test accuracy (%)", 100), Property("at", "epoch", 1))


def plot_embeddings(rows: pd.DataFrame) -> Figure:
    """One row per autoencoder; for each property that is known and differs, a panel of either encoder."""
    shown = rows[rows["seed"] == rows.groupby(["stage", "cell"])["seed"].transform("min")]
    properties = [each for each in PROPERTIES if shown[each.column].nunique() > 1]
    if shown.empty or not properties:
        return nothing_to_draw("Embeddings: there are none, or no property is known that differs between models.")
    cells = [own for _, own in shown.groupby("cell", sort=False)][:MOST_CELLS]
    with house_style():
        figure = Figure(figsize=(WIDTH_INCHES, 0.8 + 1.55 * len(cells)), layout="constrained")
        grid = figure.subplots(len(cells), 2 * len(properties), squeeze=False)
        for place, each in enumerate(properties):
            columns = grid[:, 2 * place : 2 * place + 2]
            scale = _scale(shown[each.column] * each.factor)
            for axes_pair, own in zip(columns, cells, strict=True):
                for axes, encoder in zip(axes_pair, ENCODERS, strict=True):
                    _draw(axes, own[own["encoder"] == encoder], each, scale)
            for axes, encoder in zip(columns[0], ENCODERS.values(), strict=True):
                axes.set_title(encoder)
            figure.colorbar(ScalarMappable(scale, COLORS), ax=list(columns.flat), location="top", label=each.title, aspect=40)
        for axes, own in zip(grid[:, 0], cells, strict=True):
            name = f"{wrapped(own['label'].iloc[0], 24)}\n{describe_models(own['subject'].nunique())}, seed {own['seed'].iloc[0]}"
            axes.set_ylabel(name)
        figure.suptitle("Do embeddings lie by how good networks are, and by how far they were trained?", x=0.01, ha="left")
        add_note(figure, NOTE)
    return figure


def _scale(values: pd.Series) -> Normalize:
    """Colors from the 5th percentile on: a few models that learned little leave no colors for the others."""
    return Normalize(np.nanpercentile(values, 5), values.max())


def _draw(axes: Axes, points: pd.DataFrame, colored: Property, scale: Normalize) -> None:
    known = points[points[colored.column].notna()]
    axes.scatter(known["x"], known["y"], c=known[colored.column] * colored.factor, norm=scale, cmap=COLORS, s=7, linewidths=0)
    x_share, y_share = points[["x_share", "y_share"]].iloc[0]
    axes.set(xticks=[], yticks=[], xlabel=f"{100 * x_share:.0f} %, {100 * y_share:.0f} %")
