"""Learning: steps of Ranger on one stack of predictors, by any gradient, to the end of a phase."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from weightspace.nets.spec import NetSpec
from weightspace.predictor.ranger import Averages, Rates, cosine_rate, ranger_step, start_averages
from weightspace.progress import Progress
from weightspace.store import TrainingState

Gradient = Callable[[Float[Tensor, "model weight"], int], Float[Tensor, "model weight"]]  # at the weights, a leaf, in a step


class RangerState(NamedTuple):
    """A stack in training; all but the step changes in place."""

    weights: Float[Tensor, "model weight"]
    averages: Averages
    square: Float[Tensor, " model"]  # the running mean square error
    step: int

    @property
    def tensors(self) -> dict[str, Tensor]:
        """What a state file holds of it."""
        return {"weights": self.weights, **self.averages._asdict(), "square": self.square}


class Schedule(NamedTuple):
    """Steps of one phase, and its learning rates."""

    what: str  # in progress lines
    steps: int
    first_rate: float
    last_rate: float
    weight_decay: float


def start_from(weights: Float[Tensor, "model weight"]) -> RangerState:
    """Before the first step of a phase; the given weights change in place from then on."""
    return RangerState(weights, start_averages(weights), torch.zeros_like(weights[:, 0]), 0)


def restored(saved: tuple[dict[str, Tensor], dict], device: torch.device) -> RangerState:
    """The stack that a state file holds."""
    tensors = {name: tensor.to(device) for name, tensor in saved[0].items()}
    averages = Averages(*(tensors[name] for name in Averages._fields))
    return RangerState(tensors["weights"], averages, tensors["square"], saved[1]["step"])


def resumed(state: TrainingState | None, device: torch.device) -> RangerState | None:
    """The stack that the state file holds; None if there is none."""
    saved = state.load() if state else None
    return None if saved is None else restored(saved, device)


def descend(spec: NetSpec, now: RangerState, gradient_of: Gradient, schedule: Schedule) -> Iterator[RangerState]:
    """Yield the stack after each step to the end of the phase; steps are counted from 1."""
    for step in range(now.step + 1, schedule.steps + 1):
        gradient = gradient_of(now.weights.detach().requires_grad_(), step)
        rate = cosine_rate(schedule.first_rate, schedule.last_rate, step, schedule.steps)
        ranger_step(spec, now.weights, gradient, now.averages, Rates(rate, schedule.weight_decay), step)
        yield now._replace(step=step)


def learn(
    spec: NetSpec,
    now: RangerState,
    gradient_of: Gradient,
    schedule: Schedule,
    state: TrainingState | None,
    ended: Float[Tensor, "round model weight"] | None = None,
) -> Float[Tensor, "model weight"]:
    """The stack after the phase's last step; the state file also keeps the predictors of rounds that have `ended`."""
    progress = Progress(schedule.what, schedule.steps, now.step)
    tensors = now.tensors if ended is None else now.tensors | {"ended": ended}
    for after in descend(spec, now, gradient_of, schedule):
        progress.update(after.step)
        if state:
            state.save_if_due(lambda: tensors, step=after.step)
    return now.weights
