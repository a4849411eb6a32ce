"""Settings of zoos."""

from collections.abc import Callable
from itertools import pairwise, product
from math import prod
from typing import Annotated, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    create_model,
    model_serializer,
    model_validator,
)

from weightspace.nets.init import INITS
from weightspace.recipe import Recipe, optional
from weightspace.settings import Cell, CellName, Once, Settings, Share

MOST_MODELS = 1_000_000

InitName = Literal[tuple(INITS)]
DrawsName = Literal["combination", "teacher", "original"]
PROPERTIES = ("norms", "weight_statistics", "token_statistics", "calibration", "val_logits")
# Settings of recipes that may vary within a zoo, in the order of their fields: the first that is listed varies slowest.
VARIABLE = {name: field for name, field in Recipe.model_fields.items() if name not in (*Cell.model_fields, "images")}


def _listed(name: str) -> object:
    """The type of a list of values of such a setting."""
    field = VARIABLE[name]
    one = Annotated[field.annotation, Field(), *field.metadata]
    return Annotated[list[one], Field(min_length=1), Once] | None


Varied = create_model(
    "Varied",
    __base__=Settings,
    __doc__="What differs between the stacks of a zoo: values of settings, of which every combination is a stack.",
    **{name: (_listed(name), optional(None, description=field.description)) for name, field in VARIABLE.items()},
)


class ZooConfig(Recipe):
    """One population, of one network or of thousands: every combination of what its lists name, `num_seeds` times."""

    source: Literal["trained"] = Field("trained", exclude=True, description="trained here")
    inits: Annotated[list[InitName], Once] = Field(min_length=1, description="of weights")
    shared_inits: PositiveInt | None = Field(None, description="init tensors per kind of init; null: one per model")
    learning_rates: Annotated[list[PositiveFloat], Once] = Field(min_length=1, description="first, of one_cycle the largest")
    weight_decays: Annotated[list[NonNegativeFloat], Once] = Field(min_length=1, description="0: none")
    varied: Varied = optional(
        Varied(),
        description="settings of how networks are trained that vary too, each as a list in place of its value, as in "
        "`activation: [relu, tanh]`: models of each combination are stacks of their own, and all are one zoo",
    )
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

    @model_validator(mode="before")
    @classmethod
    def _what_varies_is_listed(cls, content: object) -> object:
        """A setting that varies has the first of its values for the whole zoo, which says it nowhere else."""
        varied = content.get("varied") if isinstance(content, dict) else None
        if not isinstance(varied, dict):
            return content
        if twice := [name for name in varied if name in VARIABLE and name in content]:
            raise ValueError(f"{twice[0]} is listed in varied, where it is said alone")
        try:
            return content | {name: values[0] for name, values in Varied.model_validate(varied) if values is not None}
        except ValidationError:  # which `varied` itself tells; what it lacks for that is not told too
            return content | {name: "mlp" for name in varied if name == "architecture"}

    @model_serializer(mode="wrap")
    def _without_what_varies(self, written: Callable[["ZooConfig"], dict[str, object]]) -> dict[str, object]:
        return {name: value for name, value in written(self).items() if name not in self.choices}

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
        return len(self.inits) * len(self.learning_rates) * len(self.weight_decays) * self.num_seeds * self.num_stacks

    @property
    def choices(self) -> dict[str, list]:
        """Values of each setting that varies."""
        return {name: values for name in VARIABLE if (values := getattr(self.varied, name)) is not None}

    def every(self, name: str) -> list:
        return self.choices.get(name) or super().every(name)

    @property
    def num_stacks(self) -> int:
        return prod(map(len, self.choices.values()))

    @property
    def stacks(self) -> list["ZooConfig"]:
        """Every combination of what varies, as a zoo of its own in which nothing does."""
        if not self.choices:
            return [self]
        combinations = [dict(zip(self.choices, values, strict=True)) for values in product(*self.choices.values())]
        return [self.model_copy(update={"varied": Varied(), **values}) for values in combinations]


class AlignmentConfig(Cell):
    """What lies between the test models of a zoo, before and after their units are permuted alike."""

    zoo: CellName = Field(description="cell of the section zoos")
    epoch: NonNegativeInt = Field(description="zoo epoch whose checkpoints are aligned")
    kind: Literal["same_init", "different_init"] = Field(description="models from one init tensor, or from as many as can be")
    num: PositiveInt = Field(32, description="pairs, and soups of each size, at most; no model is in two of a size")
    soups: Annotated[list[Annotated[int, Field(ge=2)]], Once] = Field([2, 4, 8, 16], description="models that are averaged")
    canonical: bool = Field(False, description="first make units' scales (relu, leaky_relu) or signs (tanh, erf, sigmoid) equal")
