"""Settings that stand within those of an autoencoder or a baseline."""

from typing import Annotated, Literal, NamedTuple

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from weightspace.settings import Once, Settings


class Extent(NamedTuple):
    """How many different positions a network's tokens have."""

    sequence: int  # tokens
    layer: int
    unit: int  # of the largest layer


class PositionTables(Settings):
    """Rows of the learned tables of positions: how many different positions an autoencoder can tell apart."""

    sequence: PositiveInt = Field(description="tokens of a network; published: 500, of LeNet-5 1,024")
    layer: PositiveInt = Field(description="layers; published: 50, of LeNet-5 64")
    unit: PositiveInt = Field(description="units of a layer; published: 100, of LeNet-5 128")

    def too_small(self, needed: Extent) -> dict[str, str]:
        """What is wrong with each table that has fewer rows than tokens have positions, by its name."""
        few = {name: rows for name, rows in self.model_dump().items() if rows < getattr(needed, name)}
        return {name: f"{rows} rows are too few for {getattr(needed, name)} positions" for name, rows in few.items()}


class Conditioning(Settings):
    """How networks that come back get running statistics: from none on, moved by batches of val images as in training."""

    batches: PositiveInt = Field(50, description="of val images, each drawn anew; SANE: 200")
    batch_size: PositiveInt = Field(32, description="images of each")


class RefineConfig(Settings):
    """Gradient steps on the code of each network that is rebuilt, from the encoder's on, for that network alone."""

    steps: PositiveInt = Field(100, description="of Adam, whose rate falls to 0")
    learning_rate: PositiveFloat = Field(0.02, description="first")
    structure_weight: NonNegativeFloat = Field(1.0, description="factor of the mean squared error of standardized weights")
    behavior_weight: NonNegativeFloat = Field(0.1, description="factor of the distance of answers to train images")
    behavior_distance: Literal["softmax_mse", "logit_mse"] = Field("logit_mse", description="as of autoencoders")
    num_queries: PositiveInt = Field(256, description="train images per step")
    query_pool: PositiveInt = Field(1024, description="train images that they are drawn from")

    @model_validator(mode="after")
    def _has_a_loss(self) -> "RefineConfig":
        if not (self.structure_weight or self.behavior_weight):
            raise ValueError("structure_weight and behavior_weight are both 0")
        if self.num_queries > self.query_pool:
            raise ValueError(f"num_queries {self.num_queries} is more than query_pool {self.query_pool}")
        return self


class RateConfig(Settings):
    """The code of each network as a string of bytes: rounded, entropy-coded, and measured as what it decodes to."""

    bits: Annotated[list[Annotated[int, Field(ge=2, le=12)]], Field(min_length=1), Once] = Field(
        [8, 6, 4], description="of the grid, which spans the codes of train networks; each is measured"
    )
    step: Literal["code", "number"] = Field(
        "code", description="of the grid; code: one for all numbers, by the one that varies most; number: each its own"
    )
