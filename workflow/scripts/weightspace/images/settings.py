"""Settings of image sets."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PositiveInt, model_validator

from weightspace.settings import Cell, Settings, Share


class RemoteFile(Settings):
    """A file fetched once from `url` and kept only if its hash is the pinned one."""

    url: str = Field(description="http, https or file address", pattern=r"^(https?|file)://")
    sha256: str = Field(description="hex digest", pattern=r"^[0-9a-f]{64}$")


def _listed(files: object) -> object:
    """One file as a list of one, none as an empty list."""
    return files if isinstance(files, list) else [] if files is None else [files]


Files = Annotated[list[str | RemoteFile], BeforeValidator(_listed)]


class ImagesConfig(Cell):
    """One image set."""

    source: Literal["bundled_digits", "parquet"] = Field(description="scikit-learn's digits, or Parquet files as on the HF hub")
    train: Files = Field([], description="Parquet file or glob below images_dir, a remote file, or a list of these")
    test: Files = Field([], description="the same for the test images")
    size: PositiveInt = Field(8, description="height and width in pixels; square images of other sizes are resized")
    fit: Literal["crop", "squeeze", "pad"] | None = Field(
        None,
        description="what makes images square: their middle, a change of aspect, or black borders; null stops at one that is not",
    )
    channels: Literal[1, 3] = Field(1, description="1 gray, 3 RGB")
    num_classes: PositiveInt = Field(10, description="labels run from 0 to num_classes - 1")
    val_share: Share = Field(0.15, description="fraction of the training images held out for validation")
    test_share: Share = Field(0.2, description="fraction held out for test; bundled digits only")
    limit: PositiveInt | None = Field(
        None, description="at most so many images of train and of test (of all digits), the first of a fixed shuffle"
    )

    @model_validator(mode="after")
    def _files_match_source(self) -> "ImagesConfig":
        if self.source == "parquet" and not (self.train and self.test):
            raise ValueError("source parquet needs both train and test")
        if self.source == "bundled_digits" and (self.train or self.test):
            raise ValueError("source bundled_digits takes neither train nor test")
        if self.val_share + self.test_share >= 1:
            raise ValueError("val_share + test_share must be below 1")
        if self.source == "bundled_digits" and (self.size, self.channels) != (8, 1):
            raise ValueError("source bundled_digits is 8 pixels wide with 1 channel")
        if self.source == "bundled_digits" and self.num_classes != 10:
            raise ValueError(f"source bundled_digits has 10 classes, num_classes is {self.num_classes}")
        return self

    @model_validator(mode="after")
    def _files_are_named_once(self) -> "ImagesConfig":
        owners: dict[str, str] = {}
        for split in ("train", "test"):
            for file in getattr(self, split):
                for identity in [file] if isinstance(file, str) else [file.url, file.sha256]:
                    if identity in owners:
                        raise ValueError(f"{split} names {identity}, which {owners[identity]} names already")
                    owners[identity] = split
        return self

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """channel, height, width"""
        return self.channels, self.size, self.size
