"""Settings of image sets."""

from typing import Literal

from pydantic import Field, PositiveInt, model_validator

from weightspace.settings import Cell, Settings, Share


class RemoteFile(Settings):
    """A file fetched once from `url` and kept only if its hash is the pinned one."""

    url: str = Field(description="http, https or file address", pattern=r"^(https?|file)://")
    sha256: str = Field(description="hex digest", pattern=r"^[0-9a-f]{64}$")


class ImagesConfig(Cell):
    """One image set."""

    source: Literal["bundled_digits", "parquet"] = Field(description="scikit-learn's digits, or Parquet files as on the HF hub")
    train: str | RemoteFile | None = Field(None, description="Parquet file below images_dir, or a remote file")
    test: str | RemoteFile | None = Field(None, description="the same for the test images")
    size: PositiveInt = Field(8, description="height and width in pixels; other sizes are resized")
    channels: Literal[1, 3] = Field(1, description="1 gray, 3 RGB")
    val_share: Share = Field(0.15, description="fraction of the training images held out for validation")
    test_share: Share = Field(0.2, description="fraction held out for test; bundled digits only")
    limit: PositiveInt | None = Field(None, description="at most so many images of each file, the first of a fixed shuffle")
    num_classes: PositiveInt = Field(10, description="labels run from 0 to num_classes - 1")

    @model_validator(mode="after")
    def _files_match_source(self) -> "ImagesConfig":
        files = (self.train is not None, self.test is not None)
        if self.source == "parquet" and not all(files):
            raise ValueError("source parquet needs both train and test")
        if self.source == "bundled_digits" and any(files):
            raise ValueError("source bundled_digits takes neither train nor test")
        if self.val_share + self.test_share >= 1:
            raise ValueError("val_share + test_share must be below 1")
        if self.source == "bundled_digits" and (self.size, self.channels) != (8, 1):
            raise ValueError("source bundled_digits is 8 pixels wide with 1 channel")
        if self.source == "bundled_digits" and self.num_classes < 10:
            raise ValueError("source bundled_digits has 10 classes")
        if self.source == "parquet" and self.train == self.test:
            raise ValueError("train and test are one file")
        return self

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """channel, height, width"""
        return self.channels, self.size, self.size

    @property
    def local_files(self) -> dict[str, str]:
        """Keys of the files that must lie below images_dir, with their paths."""
        return {key: getattr(self, key) for key in ("train", "test") if isinstance(getattr(self, key), str)}
