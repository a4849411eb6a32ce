"""What the documentation says is what the code does."""

import re
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from pydantic import BaseModel
from weightspace.autoencoder.settings import AutoencoderConfig, BaselineConfig
from weightspace.images.settings import ImagesConfig
from weightspace.nets.activations import ACTIVATIONS
from weightspace.nets.spec import ARCHITECTURES, RESIDUAL_ARCHITECTURES
from weightspace.predictor.settings import (
    DistillationConfig,
    OriginalsConfig,
    PredictorConfig,
    PredictorControlConfig,
    QuantizationConfig,
)
from weightspace.recovery.settings import (
    ClusterConfig,
    OnnxTeacher,
    QueriesConfig,
    RecoveryBaselineConfig,
    RecoveryConfig,
    StudentsConfig,
    SyntheticTeachers,
    TableTeacher,
    TrainedTeachers,
    ZooTeachers,
)
from weightspace.scenario import Options, Scenario
from weightspace.zoo.settings import ZooConfig

ROOT = Path(__file__).parent.parent
SECTIONS = {
    "Options": Options,
    "Scenario": Scenario,
    "images": ImagesConfig,
    "zoos": ZooConfig,
    "autoencoders": AutoencoderConfig,
    "baselines": BaselineConfig,
    "teachers: synthetic": SyntheticTeachers,
    "teachers: trained": TrainedTeachers,
    "teachers: zoo": ZooTeachers,
    "teachers: table": TableTeacher,
    "teachers: onnx": OnnxTeacher,
    "recoveries": RecoveryConfig,
    "recoveries: queries": QueriesConfig,
    "recoveries: students": StudentsConfig,
    "recoveries: cluster": ClusterConfig,
    "recovery_baselines": RecoveryBaselineConfig,
    "originals": OriginalsConfig,
    "predictors": PredictorConfig,
    "predictors: distillation": DistillationConfig,
    "predictors: quantization": QuantizationConfig,
    "predictor_controls": PredictorControlConfig,
}


def printed(default: object) -> str:
    """A default as config/README.md prints it; settings within settings have a table of their own."""
    if isinstance(default, BaseModel):
        return "see below"
    return "null" if default is None else str(default).lower().replace("'", "")


def table_of(model: type[BaseModel]) -> dict[str, str]:
    """Setting to default, as config/README.md prints them."""
    return {name: "required" if field.is_required() else printed(field.default) for name, field in model.model_fields.items()}


@pytest.mark.parametrize("section", SECTIONS)
def test_config_readme_lists_every_setting_with_its_default(section: str) -> None:
    text = (ROOT / "config/README.md").read_text()
    part = text.split(f"\n## {section}\n")[1].split("| setting |")[1].split("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", part, flags=re.MULTILINE))
    assert rows == table_of(SECTIONS[section])


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
