"""docs/extending.md does what it says: its blocks, applied to a copy of the library as written, add what they name."""

import re
import shutil
import subprocess
import sys
from typing import NamedTuple

import pytest
from conftest import ENVIRONMENT, ROOT

pytestmark = pytest.mark.slow

TEXT = (ROOT / "docs/extending.md").read_text()
LIBRARY = ROOT / "workflow/scripts/weightspace"
EDIT = re.compile(r"^In (the new file )?`([\w/.]+)`(?:, after `([^\n]+)`)?:\n\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECTIONS = {what: what.capitalize() for what in ("a loss of the autoencoder", "a metric", "a figure", "a kind of layer")}


class Edit(NamedTuple):
    """One block of the page: the file it goes into, the line it goes below, or nothing for a new file."""

    new: str
    file: str
    anchor: str
    block: str


def edits_of(title):
    """Blocks of one section of the page."""
    part = TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0]
    found = [Edit(*match) for match in EDIT.findall(part)]
    assert len(found) == part.count("```python")  # no block is passed over
    return found


def apply(edit, library):
    """Write one block into the library; its anchor has to be one line of the file."""
    path = library / edit.file
    if edit.new:
        assert not path.exists()
        path.write_text(edit.block)
        return
    lines = path.read_text().splitlines(keepends=True)
    (place,) = [number for number, line in enumerate(lines) if line.strip() == edit.anchor]
    path.write_text("".join([*lines[: place + 1], edit.block, *lines[place + 1 :]]))


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """Folder of a copy of the library, with every block of the page applied."""
    folder = tmp_path_factory.mktemp("extended")
    library = shutil.copytree(LIBRARY, folder / "weightspace", ignore=shutil.ignore_patterns("__pycache__"))
    for title in SECTIONS.values():
        for edit in edits_of(title):
            apply(edit, library)
    return folder


def run(code, folder):
    """Run a program with the extended library."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=ENVIRONMENT | {"PYTHONPATH": str(folder)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("what", SECTIONS)
def test_the_table_says_how_many_files_each_touches(what):
    (files,) = re.findall(rf"^\| {what} \| (\d+):", TEXT, flags=re.MULTILINE)
    assert len({edit.file for edit in edits_of(SECTIONS[what])}) == int(files)


LOSS_AND_METRIC = """
import math, torch
from weightspace.autoencoder.batches import Sequences
from weightspace.autoencoder.measure import (HeldOutNetworks, Rebuilt, structure_metrics)
from weightspace.autoencoder.losses import Step, losses_of, total_loss
from weightspace.autoencoder.metrics import METRICS
from weightspace.autoencoder.model import Autoencoder
from weightspace.autoencoder.settings import AutoencoderConfig
from weightspace.nets.spec import build_spec
from weightspace.tokens import make_codec

torch.manual_seed(0)
config = AutoencoderConfig(zoo="tiny", seeds=[0], epochs=[1], steps=1, structure_weight=2.0, embedding_weight=3.0)
spec = build_spec(["flatten", "linear 5", "activation", "linear classes"], "tanh", (1, 4, 4), 3)
weights = torch.randn(6, spec.num_weights)
codec = make_codec(spec, weights, None, True)
model = Autoencoder(config, [codec.layout], torch.Generator().manual_seed(0))
seen = Sequences(codec.to_tokens(weights), codec.layout.positions, codec.layout.mask)
embeddings = model.encode(seen.tokens, seen.positions)
decoded = model.decode(embeddings, seen.positions)
losses = losses_of(Step(config, codec, model, embeddings, seen, decoded, weights[:0], weights[:0]))
assert list(losses) == ["contrast", "structure", "behavior", "embedding", "cycle"]
assert losses["embedding"] == embeddings.square().mean() > 0
assert math.isclose(total_loss(losses, config), 2 * losses["structure"] + 3 * losses["embedding"], rel_tol=1e-6)
names = [metric.name for metric in METRICS]
assert "loss_embedding" in names and "weights_cosine" in names

same = torch.ones(6, 6, dtype=torch.bool)
originals = HeldOutNetworks(list(range(6)), weights, weights.mean(0), same, None)
cosines = structure_metrics(originals, Rebuilt(weights * torch.tensor([2, 2, 2, -1, -1, -1])[:, None], torch.zeros(6)))
torch.testing.assert_close(cosines["weights_cosine"], torch.tensor([1.0, 1, 1, -1, -1, -1]))
"""

FIGURE = """
import sys
import pandas as pd
import weightspace.autoencoder.figures.losses as losses
from weightspace.report.draw import draw
from weightspace.report.registry import figure_named, figures_of

assert "embedding" in losses.PARTS
losses.PARTS = (*losses.PARTS, "seventh")
cell = {"stage": "autoencoder", "cell": "plain", "label": "plain", "seed": 0}
curves = [cell | {"metric": f"loss_{part}", "at": step, "value": 1.0} for part in losses.PARTS for step in (1, 2)]
lines = losses.plot_losses(pd.DataFrame(curves)).axes[0].lines
assert len({(line.get_color(), str(line._unscaled_dash_pattern)) for line in lines}) == len(lines) == 7
assert "generalization" in figures_of(["zoo"])
measured = {"test_accuracy": 0.9, "generalization_gap": 0.1}
rows = [
    {"stage": "zoo", "cell": "tiny", "label": "tiny", "subject": str(model), "metric": metric, "at": at, "value": value + at}
    for model in range(7) for at in (0, 1) for metric, value in measured.items()
]
(axes,) = draw(figure_named("generalization"), pd.DataFrame(rows)).axes
(points,) = axes.lines
assert list(points.get_xdata()) == [1.9] * 7 and list(points.get_ydata()) == [1.1] * 7
assert "torch" not in sys.modules
"""

LAYER = """
import torch
from weightspace.nets.forward import forward
from weightspace.nets.init import initial_weights
from weightspace.nets.spec import build_spec

spec = build_spec(["conv 6 3", "activation", "max", "linear classes"], "relu", (1, 8, 8), 3)
plain = build_spec(["conv 6 3", "activation", "pool 6", "flatten", "linear classes"], "relu", (1, 8, 8), 3)
weights = torch.stack([initial_weights(spec, "normal", torch.Generator().manual_seed(seed)) for seed in (0, 1)])
images = torch.randn(1, 5, 1, 8, 8, generator=torch.Generator().manual_seed(2))
torch.testing.assert_close(forward(spec, weights, images), forward(plain, weights, images))
"""


def test_the_loss_is_trained_and_named_and_the_metric_is_measured(extended):
    run(LOSS_AND_METRIC, extended)


def test_the_figure_is_drawn_from_rows_without_torch_and_the_loss_is_in_its_own(extended):
    run(FIGURE, extended)


def test_the_layer_is_read_and_runs_like_a_pool_over_all_pixels(extended):
    run(LAYER, extended)
