"""Settings of zoos."""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from weightspace.nets.init import INITS
from weightspace.settings import ActivationName, Cell, CellName, Once, Share

MOST_MODELS = 1_000_000

InitName = Literal[tuple(INITS)]


class ZooConfig(Cell):
    """One population: every combination of init, learning rate and weight decay, `num_seeds` times."""

    source: Literal["trained"] = Field("trained", exclude=True, description="trained here")
    images: CellName = Field(description="cell of the section images")
    architecture: str | list[str] = Field(description="a name of nets.spec.ARCHITECTURES, or layers in the same notation")
    activation: ActivationName = Field("relu", description="of every hidden layer")
    inits: Annotated[list[InitName], Once] = Field(min_length=1, description="of weights; biases start at 0.01, as published")
    shared_inits: PositiveInt | None = Field(None, description="init tensors per kind of init; null: one per model")
    learning_rates: Annotated[list[PositiveFloat], Once] = Field(min_length=1, description="constant over training")
    weight_decays: Annotated[list[NonNegativeFloat], Once] = Field(min_length=1, description="L2, added to the gradient")
    num_seeds: PositiveInt = Field(description="models per combination; a seed sets the init and the order of images")
    optimizer: Literal["adam", "sgd"] = Field("adam", description="adam: L2-coupled weight decay; sgd: with momentum")
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd")
    batch_size: PositiveInt = Field(32, description="images per step and model")
    epochs: list[NonNegativeInt] = Field(min_length=1, description="epochs whose checkpoints are kept, the last one included")
    val_share: Share = Field(0.15, description="fraction of the models")
    test_share: Share = Field(0.25, description="fraction of the models")
    num_shards: PositiveInt = Field(1, description="jobs that share the models")
    stack_size: PositiveInt = Field(64, description="models trained as one tensor; halved when the GPU's memory ends")

    @model_validator(mode="after")
    def _epochs_increase(self) -> "ZooConfig":
        if any(later <= earlier for earlier, later in pairwise(self.epochs)):
            raise ValueError("epochs must increase")
        if self.val_share + self.test_share >= 1:
            raise ValueError("val_share + test_share must be below 1")
        if self.num_models > MOST_MODELS:
            raise ValueError(f"it would have {self.num_models:,} models, more than {MOST_MODELS:,}")
        if self.num_shards > self.num_models:
            raise ValueError(f"num_shards is {self.num_shards} for {self.num_models} models")
        return self

    @property
    def num_models(self) -> int:
        return len(self.inits) * len(self.learning_rates) * len(self.weight_decays) * self.num_seeds
