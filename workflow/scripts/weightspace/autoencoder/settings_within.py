"""Settings that stand within those of an autoencoder or a baseline."""

from collections.abc import Sequence
from statistics import fmean
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, ValidationError, model_validator

from weightspace.settings import Once, Settings, Share


class Extent(NamedTuple):
    """How many different positions a network's tokens have."""

    sequence: int  # tokens
    layer: int
    unit: int  # of the largest layer


class Weighting(Settings):
    """Weights of the three losses as Meynent et al. 2025 write them: gamma C + (1 - gamma) (beta S + (1 - beta) B)."""

    gamma: float = Field(ge=0, le=1, description="share of the contrast in the total; published: 0.05")
    beta: float = Field(
        ge=0, le=1, description="share of structure in the rest, of which behavior has what is left; published: 0.1"
    )

    @property
    def weights(self) -> dict[str, float]:
        """The settings that it stands for, by their names."""
        rest = 1 - self.gamma
        return {
            "contrast_weight": self.gamma,
            "structure_weight": rest * self.beta,
            "behavior_weight": rest * (1 - self.beta),
        }


def with_weighting(given: object) -> object:
    """Settings as given, with the weights that a weighting among them stands for; raises ValueError if another stands there."""
    if not isinstance(given, dict) or given.get("weighting") is None:
        return given
    try:
        weights = Weighting.model_validate(given["weighting"]).weights
    except ValidationError:
        return given  # which the field itself is told
    if other := [key for key, weight in weights.items() if given.get(key, weight) != weight]:
        raise ValueError(f"weighting says {other[0]}, which stands beside it")
    return given | weights


class UntilFlat(Settings):
    """Training at a constant rate until the loss of val networks has flattened; then the rate falls to 0, and training ends."""

    every: PositiveInt = Field(100, description="steps between two looks at val networks; over the first so many the rate rises")
    batches: PositiveInt = Field(4, description="of val networks at each look, always the same ones in the same views")
    least: PositiveInt = Field(1000, description="steps before which nothing is judged")
    share: Share = Field(0.2, description="of the steps done, the last ones that are compared with as many before them")
    improvement: Share = Field(0.01, description="flat: the mean loss has fallen by less than this share from those to these")
    decay: Share = Field(0.2, description="steps in which the rate falls to 0, as a share of those before")

    def is_flat(self, losses: Sequence[float]) -> bool:
        """Whether the losses of all looks so far have flattened."""
        num = round(self.share * len(losses))
        if num < 1 or 2 * num > len(losses) or len(losses) * self.every < self.least:
            return False
        last, before = fmean(losses[-num:]), fmean(losses[-2 * num : -num])
        return before - last < self.improvement * abs(before)

    def latest(self, steps: int) -> int:
        """Steps after which the rate falls at the latest, where there may be so many in all."""
        return max(1, int(steps / (1 + self.decay)))

    def end(self, flat_at: int) -> int:
        """Steps in all where the rate falls from step `flat_at` on."""
        return flat_at + max(1, int(self.decay * flat_at))

    def rate(self, peak: float, step: int, flat_at: int | None) -> float:
        """Learning rate at a step: rises over the first steps, stays, and falls from `flat_at` on, if that has come."""
        warm = peak * min(1.0, (step + 1) / self.every)
        return warm if flat_at is None else warm * (self.end(flat_at) - step) / (self.end(flat_at) - flat_at)


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
