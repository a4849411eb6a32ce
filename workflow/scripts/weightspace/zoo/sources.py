"""Settings of zoos that exist, and where a zoo can be from."""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Discriminator, Field, NonNegativeInt, PositiveInt, Tag, model_validator

from weightspace.settings import ActivationName, Cell, CellName, Once, Share
from weightspace.zoo.settings import ZooConfig


class CheckpointsConfig(Cell):
    """A population that exists: checkpoints in a folder."""

    source: Literal["checkpoints"] = Field(description="read from files")
    path: str = Field(
        min_length=1,
        description="folder below the working directory: trials as ModelZoos publishes them, or safetensors and torch files",
    )
    properties: str | None = Field(
        None, description="CSV or Parquet file, below the folder, with a row per file; null: the only one that lies in the folder"
    )
    images: CellName | None = Field(
        None, description="cell of the section images; null: not known, and nothing is done that needs images"
    )
    architecture: str | list[str] | None = Field(
        None, description="a name of nets.spec.ARCHITECTURES, or layers in the same notation; null: inferred from the files"
    )
    activation: ActivationName | None = Field(None, description="of every hidden layer; null: as params.json says")
    image_size: PositiveInt | None = Field(
        None, description="height and width in pixels, where there are no images; null: a usual one that fits the layers"
    )
    layers: Annotated[list[str], Once] | None = Field(
        None, description="the files' names of layers in the architecture's order; null: found by name, shape and order"
    )
    epochs: list[NonNegativeInt] | None = Field(
        None, min_length=1, description="epochs to read; of files that do not tell it the one that they are of; null: all"
    )
    val_share: Share = Field(0.15, description="fraction of the models; a column `split` wins")
    test_share: Share = Field(0.15, description="fraction of the models; a column `split` wins")

    @model_validator(mode="after")
    def _epochs_increase(self) -> "CheckpointsConfig":
        if any(later <= earlier for earlier, later in pairwise(self.epochs or [])):
            raise ValueError("epochs must increase")
        if self.val_share + self.test_share >= 1:
            raise ValueError("val_share + test_share must be below 1")
        if self.images is not None and self.image_size is not None:
            raise ValueError("image_size is for zoos without images")
        return self

    @property
    def storable(self) -> list[int]:
        """Epochs whose weights something may read; none where the files alone tell them."""
        return self.epochs or []


def _source(cell: object) -> str:
    return cell.get("source", "trained") if isinstance(cell, dict) else getattr(cell, "source", "trained")


ZooCell = Annotated[
    Annotated[ZooConfig, Tag("trained")] | Annotated[CheckpointsConfig, Tag("checkpoints")],
    Discriminator(_source, custom_error_type="source", custom_error_message="source must be trained or checkpoints"),
]
