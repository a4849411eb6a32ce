"""Settings of zoos."""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from weightspace.nets.init import INITS
from weightspace.recipe import Recipe, optional
from weightspace.settings import Cell, CellName, Once, Share

MOST_MODELS = 1_000_000

InitName = Literal[tuple(INITS)]
DrawsName = Literal["combination", "teacher", "original"]
PROPERTIES = ("norms", "weight_statistics", "token_statistics", "calibration", "val_logits")


class ZooConfig(Recipe):
    """One population, of one network or of thousands: every combination of init, learning rate and decay, `num_seeds` times."""

    source: Literal["trained"] = Field("trained", exclude=True, description="trained here")
    inits: Annotated[list[InitName], Once] = Field(min_length=1, description="of weights")
    shared_inits: PositiveInt | None = Field(None, description="init tensors per kind of init; null: one per model")
    learning_rates: Annotated[list[PositiveFloat], Once] = Field(min_length=1, description="first, of one_cycle the largest")
    weight_decays: Annotated[list[NonNegativeFloat], Once] = Field(min_length=1, description="0: none")
    num_seeds: PositiveInt = Field(description="models per combination; a seed sets the init and the order of images")
    draws: DrawsName = optional(
        "combination",
        description="what a model's random numbers are seeded by: its combination and seed; or, as the kept references were "
        "trained, the name of its zoo and its index, in the manner of teachers or of originals",
    )
    epochs: list[NonNegativeInt] = Field(min_length=1, description="epochs that models are measured at, the last one included")
    weights: Literal["read", "all"] | Annotated[list[NonNegativeInt], Field(min_length=1), Once] = Field(
        "read",
        exclude=True,  # a job is told the epochs
        description="epochs whose weights are stored; read: those that a cell of the scenario reads, and the last; all: all of "
        "`epochs`; a list: these, whoever reads them. A zoo is trained anew where this changes",
    )
    averaged_epochs: NonNegativeInt = optional(
        0, description="last epochs whose mean weights are stored too, beside those of `weights`; 0: none"
    )
    val_share: Share = Field(0.15, description="fraction of the models; where nothing reads splits, it is no matter")
    test_share: Share = Field(0.25, description="fraction of the models, as val_share")
    num_shards: PositiveInt = Field(1, description="jobs that share the models")
    stack_size: PositiveInt = Field(64, description="models trained as one tensor; halved when the GPU's memory ends")
    measured: Annotated[list[Literal[PROPERTIES]], Once] = Field(
        [],
        exclude=True,
        description="what else is measured of each model, at each epoch whose weights are stored, into properties.parquet",
    )

    @model_validator(mode="after")
    def _epochs_increase(self) -> "ZooConfig":
        if any(later <= earlier for earlier, later in pairwise(self.epochs)):
            raise ValueError("epochs must increase")
        if not set(self.storable) <= set(self.epochs):
            raise ValueError("weights must be among epochs")
        if self.averaged_epochs > self.epochs[-1]:
            raise ValueError(f"averaged_epochs is {self.averaged_epochs}, and there are only {self.epochs[-1]} epochs")
        if self.draws != "combination" and self.shared_inits is not None:
            raise ValueError("shared_inits are of draws combination: other draws give each model its own")
        if self.val_share + self.test_share >= 1:
            raise ValueError("val_share + test_share must be below 1")
        if self.num_models > MOST_MODELS:
            raise ValueError(f"it would have {self.num_models:,} models, more than {MOST_MODELS:,}")
        if self.num_shards > self.num_models:
            raise ValueError(f"num_shards is {self.num_shards} for {self.num_models} models")
        return self

    @property
    def storable(self) -> list[int]:
        """Epochs whose weights something may read."""
        return self.epochs if isinstance(self.weights, str) else sorted(self.weights)

    @property
    def num_models(self) -> int:
        return len(self.inits) * len(self.learning_rates) * len(self.weight_decays) * self.num_seeds


class AlignmentConfig(Cell):
    """What lies between the test models of a zoo, before and after their units are permuted alike."""

    zoo: CellName = Field(description="cell of the section zoos")
    epoch: NonNegativeInt = Field(description="zoo epoch whose checkpoints are aligned")
    kind: Literal["same_init", "different_init"] = Field(description="models from one init tensor, or from as many as can be")
    num: PositiveInt = Field(32, description="pairs, and soups of each size, at most; no model is in two of a size")
    soups: Annotated[list[Annotated[int, Field(ge=2)]], Once] = Field([2, 4, 8, 16], description="models that are averaged")
    canonical: bool = Field(False, description="first make units' scales (relu, leaky_relu) or signs (tanh, erf, sigmoid) equal")
