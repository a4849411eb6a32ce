"""How networks learn images, as settings: what every population of trained networks has, and its schedules of learning rates."""

from collections.abc import Callable
from math import cos, pi
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator
from pydantic.fields import FieldInfo

from weightspace.settings import ActivationName, Cell, CellName, Once

MILESTONE_FACTOR = 0.1  # of the learning rate
FIRST_DECAY = 0.9  # of Adam's first moment (Kingma and Ba 2015)
# OneCycleLR of torch, as it is without arguments: share of the steps in which the rate rises, what it begins and ends at as
# fractions of the largest, and between which values the momentum falls and rises
RISE_SHARE, FIRST_RATE, LAST_RATE, HIGH, LOW = 0.3, 1 / 25, 1 / 25 / 1e4, 0.95, 0.85


class When(NamedTuple):
    """A step of a training."""

    epoch: int  # from 1
    step: int  # from 0, over all epochs
    steps: int  # in all


def one_cycle(when: When, low: float, high: float, last: float) -> float:
    """From low to high while the rate rises, then to the last, each along half a cosine (Smith and Topin 2018; torch)."""
    top = RISE_SHARE * when.steps - 1
    if when.step <= top and top > 0:
        return _between(low, high, when.step / top)
    return _between(high, last, min(1.0, (when.step - top) / (when.steps - 1 - top)))


def _between(one: float, other: float, share: float) -> float:
    return other + (one - other) * (1 + cos(pi * share)) / 2


# The learning rate at a step over the largest.
SCHEDULES: dict[str, Callable[["Recipe", When], float]] = {
    "constant": lambda recipe, when: 1.0,
    "steps": lambda recipe, when: MILESTONE_FACTOR ** sum(when.epoch > milestone for milestone in recipe.milestones),
    "one_cycle": lambda recipe, when: one_cycle(when, FIRST_RATE, 1.0, LAST_RATE),
    "cosine": lambda recipe, when: _between(1.0, 0.0, when.step / when.steps),
}
ScheduleName = Literal[tuple(SCHEDULES)]
OptimizerName = Literal["adam", "adamw", "sgd"]
BiasesName = Literal["published", "uniform"]


def optional(default: Any, **about: Any) -> FieldInfo:
    """A setting that is no part of what a cell says of itself where it has its default.

    So files and tables from before there was such a setting stay those of their cells.
    """
    return Field(default, exclude_if=lambda value: value == default, **about)


class Recipe(Cell):
    """What is learned, by which networks, and how; rates, decays and epochs stand where a population says how many it has."""

    images: CellName = Field(description="cell of the section images")
    architecture: str | list[str] = Field(
        description="a name of nets.spec.ARCHITECTURES or RESIDUAL_ARCHITECTURES, or layers in the same notation"
    )
    activation: ActivationName = Field("relu", description="of every hidden layer")
    biases: BiasesName = optional(
        "published", description="at the start; published: 0.01, as in the papers' zoos; uniform: in +-1 / sqrt(fan_in), torch's"
    )
    optimizer: OptimizerName = Field(
        "adam", description="weight decay is L2, added to the gradient, or of adamw decoupled; sgd: with momentum"
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd")
    schedule: ScheduleName = optional(
        "constant",
        description="of the learning rate: steps falls at the milestones, cosine falls to 0, one_cycle rises and falls with "
        "every step, and the momentum (of adam, its first decay) against it, as torch's OneCycleLR",
    )
    milestones: Annotated[list[PositiveInt], Once] = optional(
        [], description="of steps: epochs after which the learning rate falls to a tenth"
    )
    batch_size: PositiveInt = Field(32, description="images per step and model")
    augment: bool = optional(False, description="random flips, and crops from a frame of 4 zeros")
    label_smoothing: float = optional(0.0, ge=0, lt=1, description="share of a label that all classes divide among them")
    smoothness: NonNegativeFloat = optional(
        0.0, description="weight in the loss of the summed cosine of neighboring kernels (NeRN's lambda)"
    )

    @model_validator(mode="after")
    def _milestones_are_read(self) -> "Recipe":
        schedules, default = self.every("schedule"), type(self).model_fields["milestones"].default
        if "steps" not in schedules and any(milestones not in ([], default) for milestones in self.every("milestones")):
            raise ValueError(f"milestones are of schedule steps, and the schedule is {' or '.join(schedules)}")
        return self

    def every(self, name: str) -> list:
        """Values of a setting among the networks: the one that all have, if it does not vary."""
        return [getattr(self, name)]

    def momentum_at(self, when: When) -> float:
        """Momentum of sgd, or decay of Adam's first moment, at a step."""
        if self.schedule == "one_cycle":
            return one_cycle(when, HIGH, LOW, HIGH)
        return self.momentum if self.optimizer == "sgd" else FIRST_DECAY
