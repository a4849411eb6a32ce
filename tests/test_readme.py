"""What the documentation says is what the code does."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel
from weightspace.autoencoder.settings import AutoencoderConfig, BaselineConfig
from weightspace.config.images import ImagesConfig
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
