"""Figure generation_distances: are generated networks as far from train networks as networks that nobody has shown them?"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from weightspace.generation.over_runs import copying_interval
from weightspace.generation.verdict import VERDICTS, judged_from
from weightspace.report.select import cells_of, label_of
from weightspace.report.style import LOOKS, WIDTH_INCHES, Look, add_note, house_style, name_rows

SAMPLES, RIVALS, HELD_OUT = LOOKS[:3]
SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)
NOTE = (
    "Euclidean distance of learned weights to the nearest train network, units permuted to match: an upper bound, for a better "
    "match may exist. Markers: medians; thick bars: the middle half of networks; thin bars: from 5 to 95 %. Gray band: the "
    "middle half of held-out networks. U/(mn): share of pairs of a network and a held-out one in which the first is farther "
    "away, with its 95 % interval over runs; .5 is as far, 0 is nearer throughout."
)


def plot_generation_distances(rows: pd.DataFrame) -> Figure:
    """Nearest distances of held-out networks, generated ones and rivals; a panel per cell, with U/(mn) and the verdict."""
    cells = cells_of(rows, "generation")
    judged = {cell: judged_from(rows, cell) for cell in cells}
    heights = [1.0 + 0.21 * (1 + len(each.sets)) for each in judged.values()]
    with house_style():
        figure = Figure(figsize=(WIDTH_INCHES, sum(heights)), layout="constrained")
        panels = figure.subplots(len(cells), 1, squeeze=False, height_ratios=heights)[:, 0]
        for axes, (cell, own) in zip(panels, judged.items(), strict=True):
            low, high = np.quantile(own.held_out.distance, (SHARES[1], SHARES[3]))
            axes.axvspan(low, high, color=HELD_OUT.color, alpha=0.2, linewidth=0)
            _draw_row(axes, 0, own.held_out.distance, HELD_OUT)
            for place, (name, each) in enumerate(own.sets.items(), 1):
                _draw_row(axes, place, each.distance, SAMPLES if name == cell else RIVALS)
                share = copying_interval(each, own.held_out)
                told = f"{share.mean:.2f} [{share.low:.2f}, {share.high:.2f}]  {VERDICTS[own.verdict(name).number]}"
                axes.annotate(told, (1.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=7)
            axes.annotate("U/(mn) and verdict", (1.01, 0), xycoords=("axes fraction", "data"), va="center", fontsize=7)
            name_rows(axes, ["held-out networks", *(label_of(rows, name) for name in own.sets)])
            axes.set(xlabel="distance to the nearest train network", xlim=(0, None))
            axes.set_title(f"{label_of(rows, cell)}: as far from train networks as held-out ones?")
        add_note(figure, NOTE)
    return figure


def _draw_row(axes: Axes, place: int, distances: np.ndarray, look: Look) -> None:
    least, low, middle, high, most = np.quantile(distances[np.isfinite(distances)], SHARES)
    axes.plot([least, most], [place, place], color=look.color, linewidth=0.8)
    axes.plot([low, high], [place, place], color=look.color, linewidth=3, solid_capstyle="butt")
    face = look.color if look.filled else "white"
    axes.plot(middle, place, look.marker, color=look.color, markerfacecolor=face)
