"""What the documents show, they do: their blocks run word for word."""

import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

DOCS = Path(__file__).parent.parent / "docs"
TEXT, PREDICTOR = (DOCS / "black-box.md").read_text(), (DOCS / "predictor.md").read_text()


def blocks(language, text=TEXT):
    """Fenced code blocks of a document in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.filterwarnings("ignore")
def test_a_black_box_is_recovered_as_written(clone, monkeypatch):
    """From a file of scikit-learn's to its weights: hidden units, activation, angles."""
    pytest.importorskip("skl2onnx")
    monkeypatch.chdir(clone.folder)
    (export, compare), (scenario,) = blocks("python"), blocks("yaml")
    (target,) = re.findall(r"^    snakemake --cores 1 (\S+) --config scenario=black-box$", TEXT, flags=re.MULTILINE)
    Path("config/scenarios/black-box.yaml").write_text(scenario)
    session: dict = {}
    exec(compile(export, "black-box.md", "exec"), session)
    clone._replace(scenario="black-box").snakemake("--cores", "1", target)
    exec(compile(compare, "black-box.md", "exec"), session)
    assert (len(session["weight"]), session["network"].spec.activation) == (6, "tanh")
    assert session["angles_deg"].max() < 1e-4
    assert abs(session["ours"] - session["theirs"]).max() < 1e-5
    assert abs(session["outgoing"] - session["true"]).max() < 1e-5
    metrics = pd.read_parquet(target).set_index("metric")["value"]
    assert metrics["size_recovered"] == 6
    assert metrics["rmse_shifted"] < 1e-5


def test_a_predictors_file_becomes_a_network_as_written(clone, monkeypatch):
    """Trained, decoded by the command, and by the function into plain modules: as accurate as the metrics say."""
    monkeypatch.chdir(clone.folder)
    (target,) = re.findall(r"^    snakemake --cores 1 (\S+)$", PREDICTOR, flags=re.MULTILINE)
    (command,) = re.findall(r"^    python (\S+decode\.py .*)$", PREDICTOR, flags=re.MULTILINE)
    clone._replace(scenario="digits").snakemake("--cores", "1", target)
    said = subprocess.run([sys.executable, "-I", *command.split()], check=True, capture_output=True, text=True).stdout
    assert len(said.splitlines()) == 1
    session: dict = {}
    exec(compile(*blocks("python", PREDICTOR), "predictor.md", "exec"), session)
    decoded = load_file("network.safetensors")
    assert all(torch.equal(decoded[name], tensor) for name, tensor in session["state"].items())
    rows = pd.read_parquet(target).query("subject == '0'").set_index("metric")["value"]
    assert rows["bytes"] == Path(command.split()[1]).stat().st_size
    assert abs(session["accuracy"] - rows["accuracy_predicted"]) < 0.02  # all images here, test images there
