"""Settings of baselines: what stands in the place of an autoencoder."""

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from weightspace.autoencoder.settings_within import (
    Conditioning,
    RateConfig,
    RefineConfig,
)
from weightspace.compression.settings import Bits, KeptShare
from weightspace.settings import Cell, CellName


class BaselineConfig(Cell):
    """What an autoencoder has to beat: networks rebuilt without one, measured in the same way."""

    zoo: CellName = Field(description="cell of the section zoos")
    epochs: list[NonNegativeInt] | None = Field(
        None, min_length=1, description="zoo epochs to learn from; the last one is evaluated; null: all that the zoo keeps"
    )
    align: bool = Field(False, description="permute each model's units towards those of a train model first, as autoencoders do")
    kind: Literal["init_mean", "pca", "noise", "identity", "quantized", "pruned", "low_rank"] = Field(
        description="mean of the train models of the same init; linear code; white noise on the original; the original; the "
        "original in few bits, with a scale per unit; without its small weights; with few singular values per layer"
    )
    numbers: PositiveInt | None = Field(
        None,
        description="of pca: numbers per model, at most one less than there are train checkpoints",
    )
    conditioning: Conditioning | None = Field(
        Conditioning(), description="of batch norms, before rebuilt networks are measured; null: the originals' statistics"
    )
    weights_r2: float | None = Field(None, gt=0, lt=1, description="of noise: the R2 that it leaves, as the autoencoder's")
    refine: RefineConfig | None = Field(None, description="of pca: steps on the code of each network, as of an autoencoder")
    rate: RateConfig | None = Field(None, description="of pca, and of identity, whose code are the weights: as of an autoencoder")
    bits: Bits | None = Field(None, description="of quantized: of a weight")
    kept_share: KeptShare | None = Field(None, description="of pruned and low_rank: of weights, of singular values")

    @property
    def zoos(self) -> list[str]:
        """Its zoo, as autoencoders may have several."""
        return [self.zoo]

    @model_validator(mode="after")
    def _settings_match_kind(self) -> "BaselineConfig":
        if (self.numbers is not None) != (self.kind == "pca") or (self.weights_r2 is not None) != (self.kind == "noise"):
            raise ValueError("kind pca needs numbers, kind noise needs weights_r2, and neither is for another kind")
        if (self.bits is not None) != (self.kind == "quantized"):
            raise ValueError("kind quantized needs bits, which are for no other kind")
        if (self.kept_share is not None) != (self.kind in ("pruned", "low_rank")):
            raise ValueError("kinds pruned and low_rank need kept_share, which is for no other kind")
        if self.refine and self.kind != "pca":
            raise ValueError("refine is of pca, which has a code")
        if self.rate and self.kind not in ("pca", "identity"):
            raise ValueError("rate is of pca and of identity, which have a code")
        if self.rate and self.conditioning is None:
            raise ValueError("rate needs conditioning: the originals' statistics are no part of a code")
        return self
