"""What docs/black-box.md shows, it does: its blocks run word for word."""

import re
from pathlib import Path

import pandas as pd
import pytest

TEXT = (Path(__file__).parent.parent / "docs/black-box.md").read_text()


def blocks(language):
    """Fenced code blocks of the document in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)


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
