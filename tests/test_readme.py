"""What the documentation says is what the code does."""

import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from PIL import Image
from pydantic import BaseModel

from weightspace.config import AutoencoderConfig, ImagesConfig, Options, Scenario, ZooConfig
from weightspace.nets.spec import ARCHITECTURES

ROOT = Path(__file__).parent.parent
SECTIONS = {"Options": Options, "Scenario": Scenario, "images": ImagesConfig, "zoos": ZooConfig, "autoencoders": AutoencoderConfig}


def table_of(model: type[BaseModel]) -> dict[str, str]:
    """Setting to default, as config/README.md prints them."""
    return {
        name: "required" if field.is_required() else "null" if field.default is None else str(field.default).lower().replace("'", "")
        for name, field in model.model_fields.items()
    }


@pytest.mark.parametrize("section", SECTIONS)
def test_config_readme_lists_every_setting_with_its_default(section: str) -> None:
    text = (ROOT / "config/README.md").read_text()
    part = text.split(f"\n## {section}\n")[1].split("| setting |")[1].split("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", part, flags=re.MULTILINE))
    assert rows == table_of(SECTIONS[section])


def test_config_readme_lists_every_architecture() -> None:
    text = (ROOT / "config/README.md").read_text()
    assert all(f"`{name}`" in text for name in ARCHITECTURES)
