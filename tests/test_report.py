"""Laws of what comes after the measurements: one table, intervals, verdicts, figures, pages."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from weightspace.config import Options, read_scenario
from weightspace.errors import InputError
from weightspace.metrics import SCHEMA, Source, metric_named, read_metrics, write_metrics
from weightspace.report.claims import Region, judge_claims, read_claims, verdict
from weightspace.report.collect import collect_metrics
from weightspace.report.intervals import Interval, difference_interval, mean_interval, ratio_interval
from weightspace.report.names import cell_label
from weightspace.report.pages import claims_page, timings_page, to_html, to_markdown
from weightspace.report.regenerate import PLOTS, regenerate, table_to_draw
from weightspace.report.style import write_figure
from weightspace.report.tables import cell_interval, cells_of, paired_interval, value_matrix
from weightspace.report.timings import tabulate_timings
from weightspace.report.zoo import num_diverged

ROOT = Path(__file__).parents[1]
CELLS = {  # of the planted table: reconstruction quality, and how much of it is a prototype
    "contrast_structure": (0.89, 0.1, 3),
    "contrast_structure_behavior_softmax": (0.965, 0.95, 3),
    "contrast_structure_behavior_logit": (0.94, 0.3, 3),
    "structure_behavior_logit": (0.93, 0.3, 1),
    "behavior_softmax": (0.96, 1.0, 1),
}
QUERIES = ("", "_mixed", "_noise")
TARGETS = ("test_accuracy", "generalization_gap", "epoch")


def planted_values(accuracy, prototype, models, rng):
    """One seed's metrics [model] of an autoencoder with the planted qualities."""
    original = 0.96 - 0.02 * rng.random(models)
    values = {
        "accuracy_original": original,
        "accuracy_reconstruction": np.clip(accuracy - (1 - prototype) * 0.05 * rng.random(models), 0, 1),
        "weights_r2": 0.9 - 1.1 * prototype + 0.05 * rng.standard_normal(models),
        "weights_l2": 4 + 3 * prototype + rng.random(models),
        "weights_l2_unmasked": 6 + 3 * prototype + rng.random(models),
        "retrieval_weights": rng.random(models) > prototype,
        "diversity_original": 10 + rng.random(models),
        "diversity_reconstruction": (10 + rng.random(models)) * (1 - 0.6 * prototype),
        "diversity_outputs_original": 0.08 + 0.01 * rng.random(models),
        "diversity_outputs_reconstruction": (0.08 + 0.01 * rng.random(models)) * (1 - 0.9 * prototype),
    }
    for queries, level in zip(QUERIES, (0.93, 0.7, 0.4), strict=True):
        values[f"agreement_own{queries}"] = level + 0.05 * (1 - prototype) - 0.03 * rng.random(models)
        values[f"agreement_other{queries}"] = level - 0.03 * rng.random(models)
        values[f"agreement_originals{queries}"] = level - 0.03 * rng.random(models)
        values[f"retrieval_outputs{queries}"] = rng.random(models) > 0.4 + 0.6 * prototype
    for target in TARGETS:
        for features, r2 in (("embedding", 0.9 - 0.3 * prototype), ("random_encoder", 0.55), ("weight_statistics", 0.8)):
            values[f"probe_r2_{target}_{features}"] = r2 + 0.3 * rng.standard_normal(models)
    return values


def planted_metrics(models=40, steps=20, cells=CELLS, zoo_models=60):
    """Rows of a whole scenario with planted effects; one model of the zoo diverges."""
    rng = np.random.default_rng(0)
    zoo, rows = Source("planted", "zoo", "digits", 0), []
    for model in range(zoo_models):
        for epoch in (0, 1, 2, 4, 8, 14, 20):
            accuracy = np.nan if model == 3 and epoch > 4 else 0.1 + (0.8 + 0.06 * rng.random()) * (1 - np.exp(-epoch / 2))
            rows.append(zoo.row(f"test_accuracy_epoch_{epoch}", accuracy, subject=model))
            rows.append(zoo.row(f"train_accuracy_epoch_{epoch}", accuracy + 0.02, subject=model))
        rows.append(zoo.row("diverged", model == 3, subject=model))
    for cell, (accuracy, prototype, seeds) in cells.items():
        for seed in range(seeds):
            source = Source("planted", "autoencoder", cell, seed)
            for part, scale in (("total", 1.2), ("contrast", 3.0), ("structure", 1.0), ("behavior", 0.1 * ("behavior" in cell))):
                rows += [
                    source.row(f"loss_{part}_step_{50 * step}", scale * (0.1 + np.exp(-step / 5) + 0.02 * rng.random()) * (scale > 0), split="train")
                    for step in range(1, steps + 1)
                ]
            for metric, values in planted_values(accuracy + 0.004 * rng.standard_normal(), prototype, models, rng).items():
                rows += [source.row(metric, value, subject=100 + model) for model, value in enumerate(values)]
    return rows


@pytest.fixture(scope="module")
def metrics():
    return pa.Table.from_pylist(planted_metrics(), schema=SCHEMA).to_pandas()
