"""Settings of autoencoders and of the baselines that they have to beat."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from weightspace.autoencoder.probed import ProbesConfig
from weightspace.autoencoder.settings_within import (
    Conditioning,
    Extent,
    PositionTables,
    RateConfig,
    RefineConfig,
    UntilFlat,
    Weighting,
    with_weighting,
)
from weightspace.cells import plain_label
from weightspace.settings import Cell, CellName, Once, Seeds

VIEWS = {  # how each view of a checkpoint is drawn
    "original": ["original"],
    "original_original": ["original", "original"],
    "original_permuted": ["original", "permuted"],
    "permuted_permuted": ["permuted", "permuted"],
    "stored": ["stored", "stored"],
}


class AutoencoderSettings(Cell):
    """One autoencoder over the checkpoints of a zoo, or of several, for any seed."""

    zoo: CellName | Annotated[list[CellName], Field(min_length=2), Once] = Field(
        description="cell of the section zoos, or several, in whose turn each step learns; rows and figures have one of each"
    )
    epochs: list[NonNegativeInt] | None = Field(
        None, min_length=1, description="zoo epochs to learn from; the last one is evaluated; null: all that the zoo keeps"
    )
    align: bool = Field(
        False,
        description="permute each model's units towards a train model's first, by its last stored weights; once per zoo",
    )
    contrast_weight: NonNegativeFloat = Field(0.0, description="factor of NT-Xent between two views")
    structure_weight: NonNegativeFloat = Field(0.0, description="factor of the masked squared error of weights")
    behavior_weight: NonNegativeFloat = Field(0.0, description="factor of the distance of outputs on the queries")
    cycle_weight: NonNegativeFloat = Field(0.0, description="factor of the distance of a code from that of its reconstruction")
    weighting: Weighting | None = Field(None, description="in the place of the weights of contrast, structure and behavior")
    structure_mean: Literal["weights", "entries"] = Field(
        "weights", description="over which the squared error is a mean; entries: padding too, as published"
    )
    structure_scale: Literal["none", "token", "batch"] = Field(
        "none", description="what errors are divided by: the deviation of a token's weights, or, as MultiZoo-SANE, of a step's"
    )
    behavior_distance: Literal["softmax_mse", "logit_mse", "distillation", "soft_cross_entropy", "raw_cross_entropy"] = Field(
        "softmax_mse", description="softmax_mse is the published one; raw_cross_entropy: logits as targets, as the published code"
    )
    distillation_temperature: PositiveFloat = Field(2.0, description="of behavior_distance: distillation")
    loss_scale: Literal["none", "first_batch"] = Field(
        "none", description="first_batch: divide each loss but cycle by its first value"
    )
    views: Literal[tuple(VIEWS)] = Field(
        "original_permuted",
        description="of a checkpoint, per step, after align; permutations are fresh; stored: two of a fixed number, as published",
    )
    stored_permutations: PositiveInt = Field(20, description="of views: stored; the original is one more")
    permuted_padding: Literal["zeros", "first_weight"] = Field(
        "zeros", description="what pads permuted views; first_weight: the network's own first weight, as the published code"
    )
    noise: NonNegativeFloat = Field(
        0.0, description="deviation of the factors 1 + e, normal, of the entries of every view; SANE: 0.1"
    )
    noise_target: Literal["noised", "clean"] = Field(
        "noised", description="what is to be decoded of noised views; noised: themselves, as published; clean: without noise"
    )
    reconstruct: Literal["first", "both"] = Field(
        "first", description="views that structure and behavior are asked of; published: both"
    )
    standardize: bool = Field(True, description="weights per layer to mean 0 and deviation 1")
    scale_from: Literal["train", "split"] = Field(
        "train", description="models whose mean and deviation are taken; split: each split's own, as SANE's code"
    )
    scale_deviation: Literal["total", "within"] = Field(
        "total", description="within: root of the mean variance within a checkpoint, as SANE's code"
    )
    token_size: PositiveInt | None = Field(None, description="entries of a token; null: the longest unit")
    batch_norm_tokens: Literal["none", "affine", "all"] = Field(
        "affine",
        description="of each batch norm: scale and shift; all: running statistics too; none: train models' mean stands in",
    )
    conditioning: Conditioning | None = Field(
        Conditioning(), description="of batch norms, before rebuilt networks are measured; null: as decoded, or as they start"
    )
    position_tables: PositionTables | None = Field(None, description="sizes; null: as many rows as the networks have positions")
    attention: Literal["tokens", "batch"] = Field(
        "tokens", description="batch: across models at equal token, the axis of the published torch layers"
    )
    layers: Literal["pre_norm", "post_norm", "gpt2"] = Field(
        "pre_norm", description="norms before, GELU; post_norm: norms after, ReLU; gpt2: as pre_norm without biases"
    )
    final_norm: bool = Field(True, description="a layer norm after the last layer; published: none")
    layer_init: Literal["xavier", "copied", "gpt2"] = Field(
        "xavier",
        description="of attention's input; copied: one draw for all layers; gpt2: normal, outputs scaled by 1 / sqrt(2 depth)",
    )
    decoder_dropout: float = Field(0.0, ge=0, lt=1, description="in training, in the decoder alone; published torch layers: 0.1")
    width: PositiveInt = Field(64, description="numbers per token inside the transformer")
    depth: PositiveInt = Field(2, description="layers of the encoder, and of the decoder")
    heads: PositiveInt = Field(4, description="attention heads")
    feedforward: PositiveInt = Field(128, description="hidden units of a layer's MLP")
    latent: PositiveInt = Field(8, description="numbers per token in the bottleneck")
    linear_code: bool = Field(
        False,
        description="a linear code of the whole network beside the transformer's, started at the principal directions of the "
        "train networks, with the transformer's own part at 0",
    )
    projection: PositiveInt = Field(30, description="outputs of the head that the contrast compares")
    temperature: PositiveFloat = Field(0.1, description="of NT-Xent")
    window: PositiveInt | None = Field(
        None, description="successive tokens of a network that a step sees, from a start drawn anew; null: all of them"
    )
    window_start: Literal["network", "batch"] = Field(
        "network", description="what a start is drawn for; batch: one for all networks of a step, as published"
    )
    halo: NonNegativeInt = Field(
        0, description="of a window's tokens, how many on each side are beside those that are measured; published: 64 of 256"
    )
    steps: PositiveInt = Field(description="optimizer steps; with until_flat at most so many")
    until_flat: UntilFlat | None = Field(None, description="end where the loss of val networks has flattened; null: after steps")
    batch_size: PositiveInt = Field(32, description="checkpoints per step")
    batches: Literal["independent", "epochs"] = Field(
        "independent", description="epochs: each checkpoint once before any comes again, the rest dropped, as published"
    )
    learning_rate: PositiveFloat = Field(1e-3, description="peak of the one-cycle schedule")
    schedule: Literal["one_cycle", "one_cycle_momentum", "constant"] = Field(
        "one_cycle", description="one_cycle_momentum: beta1 from 0.95 to 0.85 and back, as SANE; constant: as Meynent et al."
    )
    weight_decay: NonNegativeFloat = Field(3e-9, description="of AdamW, on matrices")
    clip_norm: PositiveFloat | None = Field(1.0, description="largest norm of a step's gradient; null: any, as published")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="of encoder and decoder in training; bfloat16: weights and losses stay float32"
    )
    num_queries: PositiveInt = Field(64, description="query images per step, shared by the batch")
    query_pool: PositiveInt = Field(1024, description="so many queries are there to draw from; their targets are cached")
    queries: Annotated[list[Literal["train", "other", "blends", "uniform", "gaussian"]], Field(min_length=1), Once] = Field(
        ["train"],
        description="what they are, in equal parts: train images, those of query_images, means of two train images of different "
        "classes, pixels from 0 to 1 that are not normalized (as published), or normal ones of deviation 1",
    )
    query_images: CellName | None = Field(None, description="of queries: other, cell of the section images")
    evaluation_batch: PositiveInt = Field(16, description="models encoded together when measuring; matters for attention: batch")
    evaluation_mates: Literal["last_epoch", "all_epochs"] = Field(
        "last_epoch", description="all_epochs: networks are encoded beside their earlier epochs, as published"
    )
    refine: RefineConfig | None = Field(
        None, description="steps on the code of each network that is rebuilt; null: the encoder's code is taken as it is"
    )
    rate: RateConfig | None = Field(None, description="codes rounded to bytes, and measured once more; null: not")
    probe_sequence: Literal["windows", "whole"] = Field(
        "windows", description="what probes read is encoded in windows with their halos; whole: in one, as published"
    )
    probe_features: Literal["standardized", "raw"] = Field(
        "standardized", description="raw: neither centered nor scaled, penalties 1 and 3 times powers of 10, as published"
    )
    probe_statistics: Literal["weights", "tokens"] = Field(
        "weights", description="14 numbers per layer; tokens: 7 over its whole tokens, padding too, as SANE's code"
    )

    @model_validator(mode="before")
    @classmethod
    def _weights_are_those_of_the_weighting(cls, given: object) -> object:
        return with_weighting(given)

    @model_validator(mode="after")
    def _has_a_loss(self) -> "AutoencoderSettings":
        if not any(self.loss_weights.values()):
            raise ValueError(f"{', '.join(f'{name}_weight' for name in LOSSES)}: all are 0")
        if self.width % self.heads or self.width % 2:
            raise ValueError(f"width {self.width} is not a multiple of 2 and of heads {self.heads}")
        if self.num_queries > self.query_pool:
            raise ValueError(f"num_queries {self.num_queries} is more than query_pool {self.query_pool}")
        if ("other" in self.queries) != (self.query_images is not None):
            raise ValueError("query_images is of queries: other, which needs it")
        if self.until_flat and self.schedule != "constant":
            raise ValueError("until_flat needs schedule: constant, for nobody knows when a cycle should end")
        if self.contrast_weight and len(VIEWS[self.views]) < 2:
            raise ValueError("contrast_weight needs two views")
        return self

    @model_validator(mode="after")
    def _windows_hold_more_than_their_halos(self) -> "AutoencoderSettings":
        if self.window is None and self.halo:
            raise ValueError(f"halo {self.halo} needs a window")
        if self.window is not None and self.window <= 2 * self.halo:
            raise ValueError(f"window {self.window} holds nothing but its halos of {self.halo} tokens on each side")
        if self.window is not None and self.behavior_weight:
            raise ValueError("behavior_weight needs whole networks, which are decoded with window: null alone")
        return self

    @model_validator(mode="after")
    def _codes_are_of_whole_networks(self) -> "AutoencoderSettings":
        if self.linear_code and (self.window is not None or self.several):
            raise ValueError("linear_code is of whole networks of one zoo: window must be null, and zoo one name")
        for name in ("refine", "rate"):
            if getattr(self, name) and self.attention == "batch":
                raise ValueError(f"{name} is of each network by itself: with attention: batch they are decoded beside each other")
        return self

    @property
    def zoos(self) -> list[str]:
        """Its zoos, in order."""
        return [self.zoo] if isinstance(self.zoo, str) else self.zoo

    def cells(self, name: str) -> dict[str, str]:
        """Cells of rows and figures, by zoo, of an autoencoder of that name."""
        return cells_of(name, self.zoos)

    def sequence_lengths(self, extents: Sequence[Extent]) -> list[int]:
        """Tokens of a training sequence of networks of these extents."""
        return [min(self.window or extent.sequence, extent.sequence) for extent in extents]

    def unlike_lengths(self, extents: Sequence[Extent]) -> list[str]:
        """Why the contrast cannot compare all sequences, if it cannot."""
        lengths = self.sequence_lengths(extents)
        if not self.contrast_weight or len(set(lengths)) < 2:
            return []
        shortest = min(extent.sequence for extent in extents)
        return [f"the contrast compares sequences of one length: {shortest} at most, the tokens of the smallest networks"]

    @property
    def several(self) -> list[str]:
        """Its zoos where it has several, each of which is then a cell."""
        return self.zoos if len(self.zoos) > 1 else []

    @property
    def loss_weights(self) -> dict[str, float]:
        """Factor of each loss, by the loss's name."""
        return {name: getattr(self, f"{name}_weight") for name in LOSSES}


LOSSES = [key.removesuffix("_weight") for key in AutoencoderSettings.model_fields if key.endswith("_weight")]


def cells_of(name: str, zoos: list[str]) -> dict[str, str]:
    """What rows and figures call an autoencoder, by its zoos: of several zoos it is a cell for each."""
    return {zoo: name if len(zoos) == 1 else f"{name}_{zoo}" for zoo in zoos}


class AutoencoderConfig(AutoencoderSettings):
    """One autoencoder over the checkpoints of a zoo, trained once per seed."""

    seeds: Seeds = Field(description="one training each: initial weights, batches, permutations, queries")
    against: CellName | None = Field(
        None,
        exclude=True,
        description="the autoencoder that it differs from by what its label says; figure deviations pairs the two by seed",
    )
    probes: ProbesConfig = Field(
        ProbesConfig(), description="what linear probes read and predict; nothing is trained again for it"
    )

    @model_validator(mode="after")
    def _is_compared_as_one_cell(self) -> "AutoencoderConfig":
        if self.against and self.several:
            raise ValueError("against is for autoencoders of one zoo, whose rows are of one cell")
        return self

    @model_validator(mode="after")
    def _what_is_probed_was_trained(self) -> "AutoencoderConfig":
        if "projection" in self.probes.features and not self.contrast_weight:
            raise ValueError("probes.features: projection is what the contrast trains, and contrast_weight is 0")
        return self

    def by_zoo(self, name: str) -> dict[str, "AutoencoderConfig"]:
        """The cells that an autoencoder of that name is to rows and figures, each with its one zoo."""
        labels = {zoo: f"{self.label}, {plain_label(zoo)}" if self.label and self.several else self.label for zoo in self.zoos}
        return {cell: self.model_copy(update={"zoo": zoo, "label": labels[zoo]}) for zoo, cell in self.cells(name).items()}
