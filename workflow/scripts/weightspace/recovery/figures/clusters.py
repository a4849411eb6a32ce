"""Figure recovery_clusters: how neurons of many students fall into clusters, and where the tree is cut."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from weightspace.recovery.figures.merges import count_at_cut, trunk_of
from weightspace.report.intervals import describe_models
from weightspace.report.names import wrapped
from weightspace.report.style import LOOKS, WIDTH_INCHES, add_note, house_style, nothing_to_draw

MOST_PANELS = 3
MOST_LEAVES = 60
BELOW, ABOVE = LOOKS[0], LOOKS[1]
NOTE = (
    "Neurons of all students of one teacher, clustered by average linkage; one teacher and one seed per panel, so no "
    "intervals. Dashed: the height at which the tree is cut. Top: a dot where a cluster first has neurons of enough students, "
    "filled if below the cut, and lines up to where two such clusters join; clusters of fewer students are not drawn. Dots "
    "that join below the cut are one cluster there. Bottom: number of clusters of enough students for every height of the "
    "cut. Height 0 is drawn at the lower and left end."
)


def plot_recovery_clusters(rows: pd.DataFrame) -> Figure:
    """Tree of the large clusters and their number against the height of the cut, for up to three cells or layers."""
    trees = trees_of(rows)
    if not trees:
        return nothing_to_draw("Clusters of neurons: no recovery of this scenario has any.")
    with house_style():
        figure = Figure(figsize=(WIDTH_INCHES, 4.4), layout="constrained")
        grid = figure.subplots(2, len(trees), squeeze=False)
        for (top, bottom), (title, tree) in zip(grid.T, trees.items(), strict=True):
            floor = _floor(tree)
            _draw_trunk(top, tree, floor)
            _draw_counts(bottom, tree, floor)
            top.set_title(title, fontsize=7, linespacing=1.35)
        grid[0, 0].set_ylabel("height: distance between clusters")
        grid[1, 0].set_ylabel("clusters of enough students")
        add_note(figure, NOTE)
    return figure


def trees_of(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Merges in order by title; first layers of all cells come first."""
    trees = [(layer, tree.sort_values("step")) for (_, layer), tree in rows.groupby(["cell", "layer"], sort=False)]
    first = sorted(trees, key=lambda pair: pair[0])[:MOST_PANELS]
    return {_title(tree): tree for _, tree in first}


def _title(tree: pd.DataFrame) -> str:
    row = tree.iloc[0]
    neurons = describe_models(int(row["num_neurons"]), "neuron")
    return f"{wrapped(row['label'], 38)}\nlayer {row['layer']}, {neurons} of all students"


def _floor(tree: pd.DataFrame) -> float:
    """Where a logarithmic axis shows height 0: below all other heights."""
    positive = tree.loc[tree["height"] > 0, "height"]
    return float(positive.min()) / 2 if len(positive) else 1e-16


def _draw_trunk(axes: Axes, tree: pd.DataFrame, floor: float) -> None:
    trunk, cut = trunk_of(tree, MOST_LEAVES), float(tree["cut"].iloc[0])
    lines = []
    for (left, left_top), (right, right_top), height in trunk.forks:
        heights = np.maximum([left_top, height, height, right_top], floor)
        lines.append(np.column_stack([[left, left, right, right], heights]))
    axes.add_collection(LineCollection(lines, colors="#555555", linewidths=0.8))
    for found, look, face in ((trunk.births <= cut, BELOW, BELOW.color), (trunk.births > cut, ABOVE, "white")):
        places = np.flatnonzero(found)
        births = np.maximum(trunk.births[found], floor)
        axes.scatter(places, births, s=11, marker=look.marker, facecolor=face, edgecolor=look.color, linewidth=0.8, zorder=3)
    axes.axhline(max(cut, floor), color="#9c2f4f", linewidth=0.9, linestyle="--", zorder=1)
    axes.set(yscale="log", xlim=(-1, max(1, len(trunk.births))), xticks=[])
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(floor / 1.6, max(float(tree["height"].max()), floor) * 2)
    of = f", those that form lowest of {len(trunk.births) + trunk.num_left_out}" if trunk.num_left_out else ""
    axes.set_xlabel(describe_models(len(trunk.births), "cluster") + of)


def _draw_counts(axes: Axes, tree: pd.DataFrame, floor: float) -> None:
    heights, counts = np.maximum(tree["height"], floor), tree["count"]
    axes.step(heights, counts, where="post", color=BELOW.color, linewidth=1)
    cut = max(float(tree["cut"].iloc[0]), floor)
    axes.axvline(cut, color="#9c2f4f", linewidth=0.9, linestyle="--", zorder=1)
    axes.set(xscale="log", xlabel="height of the cut", xlim=(floor / 1.6, max(float(heights.max()), floor) * 2))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(0, max(1, counts.max()) * 1.1)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_title(f"{count_at_cut(tree)} at the cut (dashed, height {cut:.2g})", fontsize=7)
