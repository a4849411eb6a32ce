"""What the documentation says is what the code does."""

import re
import runpy
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from weightspace.nets.activations import ACTIVATIONS
from weightspace.nets.spec import ARCHITECTURES, RESIDUAL_ARCHITECTURES
from weightspace.options import Options, read_scenario
from weightspace.predictor.settings import ControlConfig

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
    assert len(examples) == 8
    content = yaml.safe_load(base)
    for example in map(yaml.safe_load, examples):
        for section, cells in example.items():
            content.setdefault(section, {}).update(cells)
    content["images"]["mnist"] = {"source": "mnist"}
    content["autoencoders"]["mine"] |= content["autoencoders"]["contrast_structure"] | {"label": "mine"}
    content["zoos"] |= {"large": content["zoos"]["cnn"], **dict.fromkeys(("resnets", "transformers"), content["zoos"]["digits"])}
    content["predictors"]["cnn"] |= {"zoo": "cnn", "seeds": [0, 1, 2], "hidden": 8, "steps": 3}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    scenario = read_scenario([tmp_path], Options(scenario="mine"))
    grid = {name: cell.steps for name, cell in scenario.predictors.items() if name.startswith("cnn_h")}
    assert grid == {"cnn_h24_none": 4000, "cnn_h24_in": 4000, "cnn_h32_none": 4000, "cnn_h32_in": 8000}
    assert scenario.predictors["cnn_h32_in"].label == "32 units, in filter"
    controls = [name for name in scenario.predictor_controls if name.startswith("cnn_")]
    assert controls == ["cnn_noise", "cnn_quantized_8", "cnn_quantized_4", "cnn_pruned_25", "cnn_from_teacher"]
    assert len(scenario.shown_in("collapse")) == 2


def test_config_readme_lists_every_architecture() -> None:
    text = (ROOT / "config/README.md").read_text()
    assert all(f"`{name}`" in text for name in ARCHITECTURES | RESIDUAL_ARCHITECTURES)


def test_config_readme_lists_every_activation() -> None:
    text = (ROOT / "config/README.md").read_text()
    assert ", ".join(f"`{name}`" for name in ACTIVATIONS) in " ".join(text.split())
