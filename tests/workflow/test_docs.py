"""What the documents show, they do: their blocks run word for word."""

import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from conftest import ENVIRONMENT, ROOT
from PIL import Image
from safetensors.torch import load_file
from weightspace.images.build import build_image_set
from weightspace.images.check import check_image_files
from weightspace.images.settings import ImagesConfig

DOCS = ROOT / "docs"
TEXT, PREDICTOR, LIBRARY, IMAGES, ZOO = (
    (DOCS / f"{name}.md").read_text() for name in ("black-box", "predictor", "library", "own-images", "own-zoo")
)


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


def test_own_images_run_as_written(clone):
    """Word for word, on made-up pictures: a zoo, autoencoders, a recovery, a predictor, figures and claims."""
    (writer,), (_, scenario) = blocks("python", IMAGES), blocks("yaml", IMAGES)
    session: dict = {}
    exec(compile(writer, "own-images.md", "exec"), session)
    generator = torch.Generator().manual_seed(0)
    for split, number in {"train": 240, "test": 80}.items():
        labels = torch.arange(number) % 4
        pixels = torch.randint(0, 80, (number, 12, 12, 3), generator=generator, dtype=torch.uint8)
        for k in range(4):  # each class has a bright quadrant
            pixels[labels == k, 6 * (k // 2) : 6 * (k // 2) + 6, 6 * (k % 2) : 6 * (k % 2) + 6] += 120
        path = clone.folder / "resources" / "mine" / f"{split}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        session["write_images"](path, [Image.fromarray(picture.numpy()) for picture in pixels], labels)
    (clone.folder / "config/scenarios/mine.yaml").write_text(scenario)
    assert "\n    snakemake --cores 2 --config scenario=mine images_dir=resources\n" in IMAGES
    mine = clone._replace(scenario="mine")
    mine.snakemake("--cores", "2", config=["images_dir=resources"])
    metrics = pd.read_parquet(mine.results / "metrics.parquet")
    sections = yaml.safe_load(scenario)
    measured = ("zoos", "autoencoders", "recoveries", "predictors")
    assert set(metrics["cell"]) == {cell for section in measured for cell in sections[section]}
    originals = metrics[metrics["metric"] == "accuracy_original"]["value"]
    assert originals.mean() > 0.5  # chance is 0.25: the pictures' labels have been read and learned
    drawn = {path.stem for path in (mine.results / "figures").glob("*.png")}
    assert drawn >= {"collapse", "zoo_accuracy", "recovery_solved", "predictor_rate", "claims"}


def test_a_folder_of_own_pictures_is_an_image_set_as_written(tmp_path):
    """Its three lines, on pictures of all shapes, of which each class has one color."""
    settings = yaml.safe_load(blocks("yaml", IMAGES)[0])["images"]["photos"]
    for number in range(80):
        name, color = [("ant", "red"), ("bee", "lime"), ("cat", "blue"), ("dog", "white")][number % 4]
        path = tmp_path / "photos" / name / (f"{number}.png" if number % 3 else f"{number}.jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (12 + number, 40), color).save(path)
    check_image_files(ImagesConfig(**settings), tmp_path, "mine.yaml: images.photos")
    images = build_image_set(ImagesConfig(**settings), tmp_path)
    assert images.classes == ["ant", "bee", "cat", "dog"]
    assert [len(y) for y in (images.train_y, images.val_y, images.test_y)] == [54, 10, 16]
    colors = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]])
    assert torch.equal((images.test_x[:, :, 6, 6] > 127).long(), colors[images.test_y])


def test_own_checkpoints_run_as_written(clone, monkeypatch):
    """Word for word: plain networks become a zoo without images and an autoencoder of it, and plain networks again."""
    monkeypatch.chdir(clone.folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "network", raising=False)  # of another test's export
    (make, look, load), (scenario,) = blocks("python", ZOO), blocks("yaml", ZOO)
    session: dict = {}
    exec(compile(make, "own-zoo.md", "exec"), session)
    Path("resources/nets/broken.pt").write_text("no checkpoint")
    Path("config/scenarios/own-zoo.yaml").write_text(scenario)
    assert "\n    snakemake --cores 2 --config scenario=own-zoo\n" in ZOO
    mine = clone._replace(scenario="own-zoo")
    mine.snakemake("--cores", "2")
    exec(compile(look, "own-zoo.md", "exec"), session)
    assert session["dropped"]["model"].tolist() == ["broken"]
    assert "a chain of linear layers, inferred from the shapes" in (mine.results / "logs/import_zoo/mine.log").read_text()
    metrics = pd.read_parquet(mine.results / "metrics.parquet").query("stage == 'autoencoder'").groupby("metric")["value"].mean()
    assert metrics["weights_squared_error"] < metrics["weights_deviation"]
    assert {"probe_error_test_accuracy_embedding", "retrieval_weights"} <= set(metrics.index)
    assert not {name for name in metrics.index if name.startswith(("agreement", "accuracy"))}
    assert {path.stem for path in (mine.results / "figures").glob("*.png")} >= {"collapse", "reconstruction", "zoo_accuracy"}
    assert mine.planned() == []
    (command,) = re.findall(r"^    python (-m weightspace.zoo.export .*)$", ZOO, flags=re.MULTILINE)
    environment = ENVIRONMENT | {"PYTHONPATH": "workflow/scripts"}
    subprocess.run([sys.executable, *command.split()], check=True, env=environment)
    exec(compile(load, "own-zoo.md", "exec"), session)
    ours = session["network"].state_dict()
    theirs = torch.load(f"resources/nets/{session['models']['name'][0]}.pt", weights_only=True)
    assert all(torch.equal(one, other) for one, other in zip(ours.values(), theirs.values(), strict=True))
    images = torch.rand(3, 1, 8, 8)
    plain = theirs["0.weight"] @ images.flatten(1).T + theirs["0.bias"][:, None]
    plain = (theirs["2.weight"] @ plain.relu() + theirs["2.bias"][:, None]).T
    torch.testing.assert_close(session["network"](images), plain, rtol=0, atol=1e-6)


def test_the_library_is_used_in_a_notebook_as_written(smoke, tmp_path, monkeypatch):
    """What it decodes and draws is what the workflow measured and drew."""
    (tmp_path / "results").symlink_to(smoke.folder / "results")
    monkeypatch.chdir(tmp_path)
    session: dict = {}
    exec(compile(*blocks("python", LIBRARY), "library.md", "exec"), session)
    torch.testing.assert_close(session["decoded"], session["rebuilt"].weights, atol=1e-5, rtol=1e-4)
    rows = session["rows"]
    own = rows[(rows["cell"] == "contrast_structure") & (rows["seed"] == 0) & (rows["split"] == "test")]
    for name in ("weights_l2", "agreement_own"):
        kept = own[own["metric"] == name]["value"].mean()
        assert float(session["measured"][name].mean()) == pytest.approx(kept, abs=1e-4)
    assert Path("collapse.png").stat().st_size > 10_000
