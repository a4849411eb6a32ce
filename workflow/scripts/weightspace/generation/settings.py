"""Settings of generated networks: how codes are drawn and chosen, how networks are fine-tuned, what they are compared with."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, ValidationError, model_validator

from weightspace.generation.rival_settings import RivalConfig, RivalSettings, named_rivals
from weightspace.recipe import OptimizerName
from weightspace.settings import Cell, CellName, Seeds, Settings

SamplerName = Literal[
    "kde_published", "kde_published_token", "kde_number", "kde_token", "kde_joint", "kde_pca", "gaussian_start"
]  # fmt: skip
SAMPLER = (
    "how codes are drawn from those of the anchors. Kernel densities: kde_published (one anchor and one shift for all numbers of "
    "a network, as the published code draws with one seed), kde_published_token (one anchor, and one shift of a token that all "
    "tokens get, as SANE's), kde_number, kde_token (each number or token has an anchor and a shift of its own), kde_joint (one "
    "anchor, every number a shift of its own), kde_pca (the same along principal directions alone); gaussian_start: every "
    "number by itself, normal"
)


class FineTuneConfig(Settings):
    """How samples and rivals are trained further on the train images, all as one stack, in one order of the images."""

    epochs: list[NonNegativeInt] = Field([0, 1, 5], description="measured, from 0 on, which is before training")
    optimizer: OptimizerName = Field("adam", description="as of zoos")
    schedule: Literal["constant", "cosine", "one_cycle"] = Field("constant", description="as of zoos")
    learning_rate: PositiveFloat = Field(1e-3, description="first, of one_cycle the largest")
    weight_decay: NonNegativeFloat = Field(0.0, description="as of zoos")
    batch_size: PositiveInt = Field(32, description="images per step and network")
    augment: bool = Field(False, description="random flips and crops, as of zoos")

    @model_validator(mode="after")
    def _epochs_increase_from_0(self) -> "FineTuneConfig":
        if self.epochs[:1] != [0] or any(later <= earlier for earlier, later in pairwise(self.epochs)):
            raise ValueError("epochs must begin with 0 and increase")
        return self


class BootstrapConfig(Settings):
    """Codes of the best samples, by val images, become the anchors of the next round (SANE, algorithm 3)."""

    kind: Literal["ranked", "elitist"] = Field(
        "ranked", description="samples that are chosen from; ranked: those of the last round; elitist: those of all rounds"
    )
    rounds: PositiveInt = Field(1, description="after the first draw")
    keep: PositiveInt = Field(10, ge=2, description="samples whose codes are the next anchors")
    sampler: SamplerName | None = Field(None, description="of these rounds; null: as of the first draw")


class GenerationSettings(Cell):
    """New networks from the code of an autoencoder, for any seed."""

    autoencoder: CellName = Field(description="cell of the section autoencoders")
    zoo: CellName | None = Field(
        None, description="of an autoencoder of several zoos, whose networks are anchors; null: the first"
    )
    epoch: NonNegativeInt | None = Field(
        None, description="of the zoo, at which networks are anchors; null: the autoencoder's last"
    )
    best_share: float = Field(1.0, gt=0, le=1, description="of the train networks, by val images, that are anchors; KDE30: 0.3")
    sampler: SamplerName = Field("kde_token", description=SAMPLER)
    bandwidth: NonNegativeFloat = Field(0.2, description="deviation of the shifts, in units of `unit`; published: 0.2, 0.002")
    unit: Literal["one", "deviation"] = Field(
        "one",
        description="one: as codes come, as published; deviation: of each number, or direction, over anchors",
    )
    components: PositiveInt | None = Field(None, description="of kde_pca: principal directions; null: all that anchors have")
    num: PositiveInt = Field(50, description="networks that are generated, and of each rival")
    draws: PositiveInt | None = Field(
        None, description="samples of each round, of which the best by val images are kept (subsampling); null: num"
    )
    bootstrap: BootstrapConfig | None = Field(None, description="null: no further rounds")
    fine_tune: FineTuneConfig = Field(FineTuneConfig(), description="on the zoo's images, of samples and rivals alike")
    rivals: dict[CellName, RivalConfig] = Field({}, description="what they are compared with, by name")

    @property
    def kind(self) -> str:
        """The sampler, by which tables tell cells apart."""
        return self.sampler

    @property
    def num_drawn(self) -> int:
        """Samples of each round."""
        return self.draws or self.num

    @property
    def chooses(self) -> bool:
        """Whether samples are chosen by val images, and then come best first."""
        return self.num_drawn > self.num or self.bootstrap is not None

    def named_rivals(self, generation: str) -> dict[str, RivalSettings]:
        """Rivals by the names of their cells without that of their generation, one for each number where there are several."""
        return named_rivals(self.rivals, generation, self.num)

    @model_validator(mode="after")
    def _draws_are_enough(self) -> "GenerationSettings":
        if self.num_drawn < self.num:
            raise ValueError(f"draws {self.draws} are fewer than num {self.num}")
        if self.bootstrap and self.bootstrap.keep > self.num_drawn:
            raise ValueError(f"bootstrap.keep {self.bootstrap.keep} is more than the {self.num_drawn} samples of a round")
        samplers = {self.sampler, self.bootstrap and self.bootstrap.sampler}
        if self.components is not None and "kde_pca" not in samplers:
            raise ValueError("components is of kde_pca")
        return self

    @model_validator(mode="after")
    def _rivals_are_whole(self) -> "GenerationSettings":
        for name, rival in self.rivals.items():
            try:
                named_rivals({name: rival}, "itself", self.num)
            except ValidationError as error:
                raise ValueError(f"rivals.{name}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None
        self.named_rivals("itself")
        return self


class GenerationConfig(GenerationSettings):
    """Generated networks, once per seed."""

    seeds: Seeds = Field(description="of the autoencoder; draws, rivals and the order of images are seeded by them too")

    def problems_with(self, seeds: list[int], zoos: list[str]) -> Iterator[str]:
        """What does not fit an autoencoder of these seeds and zoos, each by its key."""
        if missing := sorted(set(self.seeds) - set(seeds)):
            yield f"seeds: the autoencoder has no seed {missing[0]}"
        if self.zoo not in (None, *zoos):
            yield f"zoo: the autoencoder has {', '.join(zoos)}, not {self.zoo!r}"


class GenerationRivalConfig(RivalSettings):
    """A rival of generated networks, whose rows their job leaves, once per seed."""

    seeds: Seeds = Field(description="as of the generated networks")
