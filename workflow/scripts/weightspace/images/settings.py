"""Settings of image sets."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt, model_validator

from weightspace.images.published import NORMALIZATIONS, PUBLISHED, Constants
from weightspace.settings import Cell, Settings, Share


class RemoteFile(Settings):
    """A file fetched once from `url` and kept only if its hash is the pinned one."""

    url: str = Field(description="http, https or file address", pattern=r"^(https?|file)://")
    sha256: str = Field(description="hex digest", pattern=r"^[0-9a-f]{64}$")


class Normalization(Settings):
    """What x / 255 is normalized with: one number for all channels, or one for each."""

    mean: list[float] = Field(min_length=1, description="is subtracted")
    std: list[PositiveFloat] = Field(min_length=1, description="divides")


def _listed(files: object) -> object:
    """One file as a list of one, none as an empty list."""
    return files if isinstance(files, list) else [] if files is None else [files]


Files = Annotated[list[str | RemoteFile], BeforeValidator(_listed)]


class ImagesConfig(Cell):
    """One image set."""

    source: Literal["bundled_digits", "parquet", "folder", *PUBLISHED] = Field(
        description="scikit-learn's digits; Parquet files as on the HF hub; folders of one subfolder per class; or a set by name"
    )
    train: Files = Field(
        [],
        description="Parquet file, glob or folder below images_dir, a remote file, or a list; a set by name has its own",
    )
    test: Files = Field([], description="the same for the test images; without it test_share is held out of train")
    image_column: str | None = Field(None, description="column of images; null: image or img, or the only one that there is")
    label_column: str | None = Field(None, description="column of labels; null: label, labels, fine_label or another usual name")
    size: PositiveInt = Field(8, description="height and width in pixels; square images of other sizes are resized")
    crop: PositiveInt | None = Field(None, description="so many pixels in the middle are all that is kept, before resizing")
    fit: Literal["crop", "squeeze", "pad"] | None = Field(
        None,
        description="what makes images square: their middle, a change of aspect, or borders; null stops at one that is not",
    )
    background: Literal["black", "white"] = Field("black", description="what borders are of, and lies behind transparent pixels")
    channels: Literal[1, 3] = Field(1, description="1 gray, 3 RGB")
    num_classes: PositiveInt = Field(10, description="labels run from 0 to num_classes - 1; names of classes are so many")
    val_share: Share = Field(0.15, description="fraction of the training images held out for validation")
    test_share: Share = Field(0.2, description="fraction of all images held out for test, where there are no test files")
    limit: PositiveInt | None = Field(
        None,
        description="at most so many images of train and of test (of all where test is held out), the first of a fixed shuffle",
    )
    normalization: Literal["train", "published", *NORMALIZATIONS] | Normalization = Field(
        "train",
        description="mean and deviation of the train images, constants by name, or `mean` and `std`; published: those of the set",
    )

    @model_validator(mode="before")
    @classmethod
    def _published_defaults(cls, given: object) -> object:
        """What is not said of a set by name is as its entry says."""
        if not isinstance(given, dict) or not (published := PUBLISHED.get(str(given.get("source")))):
            return given
        usual = next(iter(published.labels.values()))
        classes = {"num_classes": published.labels.get(str(given.get("label_column")), usual)}
        filled = published.defaults | classes | given
        if filled.get("normalization") == "published" and published.normalization:
            filled["normalization"] = published.normalization
        return filled

    @model_validator(mode="after")
    def _files_match_source(self) -> "ImagesConfig":
        if self.source in ("parquet", "folder") and not self.train:
            raise ValueError(f"source {self.source} needs train")
        if self.test and not self.train:
            raise ValueError("test needs train beside it")
        if self.source == "bundled_digits" and (self.train or self.test):
            raise ValueError("source bundled_digits takes neither train nor test")
        if self.val_share + self.test_share >= 1:
            raise ValueError("val_share + test_share must be below 1")
        if self.source == "bundled_digits" and (self.size, self.channels) != (8, 1):
            raise ValueError("source bundled_digits is 8 pixels wide with 1 channel")
        if self.source == "bundled_digits" and self.num_classes != 10:
            raise ValueError(f"source bundled_digits has 10 classes, num_classes is {self.num_classes}")
        if self.source == "bundled_digits" and (self.image_column or self.label_column or self.crop):
            raise ValueError("source bundled_digits takes neither image_column nor label_column nor crop")
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

    @model_validator(mode="after")
    def _constants_fit_the_channels(self) -> "ImagesConfig":
        if self.normalization == "published":
            known = [name for name, published in PUBLISHED.items() if published.normalization]
            raise ValueError(f"normalization: published is known of {', '.join(known)} alone")
        if self.constants and not {len(self.constants.mean), len(self.constants.std)} <= {1, self.channels}:
            raise ValueError(f"normalization: has not one number, nor one for each of {self.channels} channels")
        return self

    @property
    def constants(self) -> Constants | None:
        """What normalizes, or None where the train images say it."""
        if isinstance(self.normalization, Normalization):
            return Constants(tuple(self.normalization.mean), tuple(self.normalization.std))
        return NORMALIZATIONS.get(self.normalization)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """channel, height, width"""
        return self.channels, self.size, self.size
