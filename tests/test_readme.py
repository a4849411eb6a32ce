"""What the documentation says is what the code does."""

import re
import runpy
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from weightspace.nets.activations import ACTIVATIONS
from weightspace.nets.spec import ARCHITECTURES, RESIDUAL_ARCHITECTURES
from weightspace.predictor.settings import ControlConfig
from weightspace.scenario import Options, read_scenario

ROOT = Path(__file__).parent.parent
GENERATE = runpy.run_path(str(ROOT / "docs" / "generate.py"))


def test_the_pages_of_settings_and_metrics_are_what_the_code_says() -> None:
    assert GENERATE["SETTINGS"].read_text() == GENERATE["settings_page"](GENERATE["TEMPLATE"].read_text()), "run make docs"
    assert GENERATE["METRICS"].read_text() == GENERATE["metrics_page"](), "run make docs"


def test_a_class_of_settings_without_a_place_is_named() -> None:
    template = GENERATE["TEMPLATE"].read_text().replace("\n{ZooConfig}\n", "\n")
    with pytest.raises(ValueError, match="no place for the settings of ZooConfig"):
        GENERATE["settings_page"](template)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("seeds", "list of whole numbers from 0, at least one"),
        ("bits", "`8`, `6`, `4`, `3`, `2`; or list of some of `8`, `6`, `4`, `3`, `2`, at least one; or `null`"),
        ("teacher", "name or `null`"),
        ("architecture", "text or list of texts or `null`"),
    ],
)
def test_allowed_values_are_said_in_words(setting: str, words: str) -> None:
    assert GENERATE["allowed"](ControlConfig.model_json_schema()["properties"][setting]) == words


def test_the_examples_of_the_settings_page_read(tmp_path: Path) -> None:
    """Word for word, in a scenario that has what they name."""
    base = (ROOT / "config/scenarios/digits.yaml").read_text()
    examples = re.findall(r"^```yaml\n(.*?)^```$", GENERATE["SETTINGS"].read_text(), flags=re.MULTILINE | re.DOTALL)
    assert len(examples) == 3
    content = yaml.safe_load(base)
    for example in map(yaml.safe_load, examples):
        for section, cells in example.items():
            content.setdefault(section, {}).update(cells)
    content["originals"]["large"] = content["originals"]["cnn"]
    content["predictors"]["cnn"] |= {"originals": "cnn", "seeds": [0, 1, 2], "hidden": 8, "steps": 3}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    scenario = read_scenario([tmp_path], Options(scenario="mine"))
    grid = {name: cell.steps for name, cell in scenario.predictors.items() if name.startswith("cnn_h")}
    assert grid == {"cnn_h24_none": 4000, "cnn_h24_in": 4000, "cnn_h32_none": 4000, "cnn_h32_in": 8000}
    assert scenario.predictors["cnn_h32_in"].label == "32 units, in filter"
    controls = [name for name in scenario.predictor_controls if name.startswith("cnn_")]
    assert controls == ["cnn_noise", "cnn_quantized_8", "cnn_quantized_4", "cnn_pruned_25", "cnn_from_teacher"]
    assert len(scenario.shown_in("collapse")) == 3


def test_config_readme_lists_every_architecture() -> None:
    text = (ROOT / "config/README.md").read_text()
    assert all(f"`{name}`" in text for name in ARCHITECTURES | RESIDUAL_ARCHITECTURES)


def test_config_readme_lists_every_activation() -> None:
    text = (ROOT / "config/README.md").read_text()
    assert ", ".join(f"`{name}`" for name in ACTIVATIONS) in " ".join(text.split())


def blocks(language: str) -> list[str]:
    """Fenced code blocks of README.md in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / "README.md").read_text(), flags=re.MULTILINE | re.DOTALL)


def test_readme_example_runs_as_written(clone) -> None:
    """The README's own-images example, word for word, on made-up pictures: run, figures, claims."""
    (writer,), (scenario,) = blocks("python"), blocks("yaml")
    namespace: dict = {}
    exec(compile(writer, "README.md", "exec"), namespace)
    generator = torch.Generator().manual_seed(0)
    for split, number in {"train": 240, "test": 80}.items():
        labels = torch.arange(number) % 4
        pixels = torch.randint(0, 80, (number, 12, 12, 3), generator=generator, dtype=torch.uint8)
        for k in range(4):  # each class has a bright quadrant
            pixels[labels == k, 6 * (k // 2) : 6 * (k // 2) + 6, 6 * (k % 2) : 6 * (k % 2) + 6] += 120
        path = clone.folder / "resources" / "mine" / f"{split}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        namespace["write_images"](path, [Image.fromarray(picture.numpy()) for picture in pixels], labels)
    (clone.folder / "config/scenarios/mine.yaml").write_text(scenario)
    assert "\n    snakemake --cores 2 --config scenario=mine images_dir=resources\n" in (ROOT / "README.md").read_text()
    mine = clone._replace(scenario="mine")
    mine.snakemake("--cores", "2", config=["images_dir=resources"])
    metrics = pd.read_parquet(mine.results / "metrics.parquet")
    assert set(metrics["cell"]) == {"mine", *yaml.safe_load(scenario)["autoencoders"]}
    originals = metrics[metrics["metric"] == "accuracy_original"]["value"]
    assert originals.mean() > 0.5  # chance is 0.25: the pictures' labels have been read and learned
    assert {path.stem for path in (mine.results / "figures").glob("*.png")} >= {"collapse", "zoo_accuracy", "claims"}
