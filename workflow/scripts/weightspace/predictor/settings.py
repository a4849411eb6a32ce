"""Settings of predictors, which hold the weights of a zoo's networks, the originals, and of their controls."""

from itertools import product
from math import log2
from typing import Annotated, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from weightspace.chosen import ChosenNetworks
from weightspace.compression.settings import Bits, KeptShare
from weightspace.recipe import Recipe
from weightspace.settings import Cell, CellName, Once, Seeds, Settings, settings_hash

ANGLE_BITS = 53  # of a float64: the angle of an integer coordinate at a frequency above 2^53 pi has no digits left


class DistillationConfig(Settings):
    """Learning from what a teacher answers, together with the reconstruction (NeRN) or after it (Choi et al. 2024)."""

    when: Literal["jointly", "afterwards"] = Field(
        description="jointly: in one loss with the reconstruction; afterwards: alone, from the reconstructed weights on"
    )
    teacher: CellName | None = Field(
        None, description="a zoo, whose networks teach, again in turn where they are fewer; null: the own original"
    )
    inputs: Literal["images", "uniform_noise", "gaussian_noise"] = Field(
        "images", description="train images, or noise in place of them: uniform in [-2, 2] or normal, per normalized pixel"
    )
    augment: bool = Field(False, description="of images: random flips, and crops from a frame of 4 zeros")
    batch_size: PositiveInt = Field(256, description="inputs per step")
    logit_weight: NonNegativeFloat = Field(
        description="of KL(teacher || network + 1e-4), mean over inputs: jointly 1e-4 to 1e-6 as published, afterwards 1"
    )
    feature_weight: NonNegativeFloat = Field(
        0.0, description="of the distance of normed feature maps; jointly only, there as logit_weight"
    )
    warmup_steps: NonNegativeInt = Field(0, description="of jointly: first steps without distillation")
    steps: PositiveInt | None = Field(None, description="of afterwards")
    learning_rate: PositiveFloat = Field(5e-4, description="of afterwards, first")
    as_published_2022: bool = Field(
        False, description="the distillation has no gradient, as in the code of the ICLR submission (eb95803 to bf164c8)"
    )

    @model_validator(mode="after")
    def _teaches(self) -> "DistillationConfig":
        if not (self.logit_weight or self.feature_weight):
            raise ValueError("logit_weight and feature_weight are both 0")
        if self.augment and self.inputs != "images":
            raise ValueError("augment is of images")
        return self

    @model_validator(mode="after")
    def _phase_is_whole(self) -> "DistillationConfig":
        if (self.when == "afterwards") != (self.steps is not None):
            raise ValueError("steps must be given where when is afterwards, and only there")
        if self.when == "afterwards" and (self.feature_weight or self.warmup_steps or self.as_published_2022):
            raise ValueError("feature_weight, warmup_steps and as_published_2022 are of jointly")
        if self.teacher is not None and self.feature_weight:
            raise ValueError("only the own original has feature maps to compare")
        return self


class QuantizationConfig(Settings):
    """Numbers of the predictor on a symmetric grid of integers."""

    bits: Literal[8, 6, 4] = Field(description="per number; biases stay float32")
    per: Literal["tensor", "channel"] = Field("channel", description="what shares a scale: a layer, or one output of it")
    tuned_steps: NonNegativeInt = Field(0, description="of quantization-aware reconstruction at the end; 0: rounding alone")


OrderName = Literal["none", "in_filter", "cross_filter", "serpentine"]
ControlKind = Literal["noise", "truncated", "shrunk", "low_pass", "averaged", "quantized", "pruned", "low_rank", "small"]
KINDS = (
    "at the predictor's error in each layer: noise (Gaussian), truncated (singular values), shrunk, low_pass (in the predictor's "
    "order); averaged: the zoo's mean weights of the last epochs, with batch-norm statistics of train images; at so many "
    "bytes: quantized, pruned, low_rank, each compressed with zstd; small: a small network distilled from the original; "
    "null: the control's name"
)


class ControlConfig(Settings):
    """What a predictor has to be compared with, for the same originals; a list of numbers makes several."""

    kind: ControlKind | None = Field(None, description=KINDS)
    seeds: Seeds = Field([0], description="seeds of the predictor that it stands against; its own random numbers use them too")
    bits: Bits | Annotated[list[Bits], Field(min_length=1), Once] | None = Field(None, description="of quantized, per weight")
    kept_share: KeptShare | Annotated[list[KeptShare], Field(min_length=1), Once] | None = Field(
        None, description="of pruned, low_rank: weights or singular values kept"
    )
    architecture: str | list[str] | None = Field(None, description="of small; it is trained as its original was")
    teacher: CellName | None = Field(None, description="of small: a zoo that it is distilled from; null: the own original")


class ControlSettings(Cell):
    """One control of a predictor, for any seed of it."""

    predictor: CellName = Field(description="cell of the section predictors")
    kind: ControlKind = Field(description="as in its table of controls")
    bits: Bits | None = Field(None, description="as there")
    kept_share: KeptShare | None = Field(None, description="as there")
    architecture: str | list[str] | None = Field(None, description="as there")
    teacher: CellName | None = Field(None, description="as there")

    @model_validator(mode="after")
    def _has_its_number(self) -> "ControlSettings":
        if (self.bits is not None) != (self.kind == "quantized"):
            raise ValueError("bits must be given for quantized, and only there")
        if (self.kept_share is not None) != (self.kind in ("pruned", "low_rank")):
            raise ValueError("kept_share must be given for pruned and low_rank, and only there")
        if (self.architecture is not None) != (self.kind == "small") or self.teacher is not None and self.kind != "small":
            raise ValueError("architecture must be given for small, and only there; only small may have a teacher")
        return self


class PredictorControlConfig(ControlSettings):
    """A control of a predictor, once per seed."""

    seeds: Seeds = Field(description="as in its table of controls")


class SmallRecipe(Recipe):
    """How small networks of a control are trained: each as its original was, whose zoo says it."""

    epochs: PositiveInt = Field(description="of the zoo's training")
    inits: list[str] = Field(description="of each network")
    learning_rates: list[PositiveFloat] = Field(description="of each network")
    weight_decays: list[NonNegativeFloat] = Field(description="of each network")


class PredictorSettings(ChosenNetworks):
    """One kind of predictor for each of some networks of a zoo, for any seed."""

    hidden: int = Field(ge=1, le=16384, description="units of each of the four hidden layers")
    kernel_sizes: Annotated[list[PositiveInt], Once] | None = Field(
        None, description="sizes of the convolution kernels that are predicted; null: all sizes"
    )
    linear: bool = Field(False, description="predict linear layers too, in blocks of as many numbers as a kernel has")
    order: OrderName = Field(
        "cross_filter",
        description="how kernels get their coordinates, so that neighbors are alike; serpentine (ours): cross_filter with every "
        "other row of ranks backwards",
    )
    embedding_base: PositiveFloat = Field(0.76, description="ratio of the frequencies of successive levels")
    embedding_levels: int = Field(40, ge=1, le=1024, description="frequencies per coordinate")
    steps: PositiveInt = Field(description="of the reconstruction, in each round")
    rounds: PositiveInt = Field(1, description="each after the first reconstructs what the one before has put out")
    kernel_batch: PositiveInt = Field(4096, description="kernels per step; fewer kernels are all taken")
    norm_weighted_share: float = Field(
        0.2, ge=0, le=1, description="probability that a step draws kernels by their norms, with replacement"
    )
    error: Literal["exact", "fast"] = Field(
        "fast",
        description="what the loss is divided by: the error of all kernels at each step, as published, or a running one; with a "
        "distillation jointly always the exact one",
    )
    learning_rate: PositiveFloat = Field(5e-3, description="of Ranger, first")
    last_learning_rate: PositiveFloat = Field(1e-6, description="at the end of the cosine")
    weight_decay: NonNegativeFloat = Field(1e-3, description="decoupled")
    distillation: DistillationConfig | None = Field(None, description="null: reconstruction alone, without images")
    quantization: QuantizationConfig | None = Field(None, description="of the predictor that is kept; null: float32")
    stack: CellName | None = Field(
        None,
        description="cell of this section in whose stack this one trains, with the same settings but for zoo, models, epoch, "
        "seeds and order, and without a distillation; null: in its own",
    )

    @property
    def ordering(self) -> dict[str, object]:
        """The settings that, with the zoo, fix the order of the kernels."""
        sizes = None if self.kernel_sizes is None else sorted(set(self.kernel_sizes))
        chosen = {key: getattr(self, key) for key in ("zoo", "models", "epoch")}
        return {"order": self.order, "kernel_sizes": sizes, "linear": self.linear, "chosen": chosen}

    @property
    def order_name(self) -> str:
        """Name of the file of that order, the same for all predictors of a zoo with the same `ordering`."""
        sizes = [] if self.kernel_sizes is None else ["kernels", *map(str, self.ordering["kernel_sizes"])]
        models = [] if self.models is None else ["models", settings_hash(self.models)]  # of a list of any length
        epoch = [] if self.epoch is None else ["epoch", str(self.epoch)]
        return "_".join([self.order, *sizes, *["linear"] * self.linear, *models, *epoch])

    @model_validator(mode="after")
    def _reads(self) -> "PredictorSettings":
        if self.kernel_sizes == [] and not self.linear:
            raise ValueError("kernel_sizes: with none, and without linear, nothing is predicted")
        jointly = self.distillation is not None and self.distillation.when == "jointly"
        if jointly and self.rounds > 1:
            raise ValueError("rounds are of the reconstruction alone; jointly there is one")
        if jointly and self.distillation.warmup_steps >= self.steps:
            raise ValueError(f"distillation.warmup_steps leaves none of {self.steps} steps to distill in")
        if (self.embedding_levels - 1) * log2(self.embedding_base) > ANGLE_BITS:
            raise ValueError(f"embedding_base: to the power of {self.embedding_levels - 1} it must not be above 2^{ANGLE_BITS}")
        return self


class PredictorConfig(PredictorSettings):
    """Predictors of all originals, once per seed; all train as one stack, or as part of another's."""

    seeds: Seeds = Field(description="initial weights and batches; all train as one stack, so that another list trains anew")
    controls: dict[CellName, ControlConfig] = Field({}, exclude=True, description="what it has to be compared with, by name")

    def named_controls(self, predictor: str) -> dict[str, PredictorControlConfig]:
        """Controls by name, one for each number where there are several: `quantized_8`, `pruned_25` (percent), `noise`."""
        made = {}
        for name, control in self.controls.items():
            for bits, share in product(_listed(control.bits), _listed(control.kept_share)):
                number = f"_{bits}" if bits else f"_{round(100 * share)}" if share else ""
                chosen = {"kind": control.kind or name, "bits": bits, "kept_share": share}
                same = {key: getattr(control, key) for key in ("seeds", "architecture", "teacher")}
                if name + number in made:
                    raise ValueError(f"controls: two have the name {name + number!r}")
                made[name + number] = PredictorControlConfig(predictor=predictor, **chosen, **same)
        return made

    @model_validator(mode="after")
    def _controls_are_whole(self) -> "PredictorConfig":
        for name, control in self.controls.items():
            try:
                self.model_copy(update={"controls": {name: control}}).named_controls("itself")
            except ValidationError as error:
                raise ValueError(f"controls.{name}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None
        self.named_controls("itself")
        return self


def _listed(value: object) -> list:
    return value if isinstance(value, list) else [value]
