"""Learning: steps of Ranger on one stack of predictors, by whatever gradient, to the end of a phase."""

from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from weightspace.nets.spec import NetSpec
from weightspace.predictor.ranger import cosine_rate, ranger_step
from weightspace.predictor.reconstruct import Descent, Target, saved_descent
from weightspace.progress import Progress
from weightspace.store import TrainingState


class Schedule(NamedTuple):
    """Steps of one phase, and the learning rate's way through them."""

    what: str  # in progress lines
    steps: int
    first_rate: float
    last_rate: float
    weight_decay: float


def learn(
    spec: NetSpec,
    now: Descent,
    gradient_of: Callable[[Float[Tensor, "model weight"], int], Float[Tensor, "model weight"]],
    schedule: Schedule,
    state: TrainingState | None,
) -> Float[Tensor, "model weight"]:
    """The stack after the phase's last step; `gradient_of` is given the weights as a leaf and the step, counted from 1."""
    progress = Progress(schedule.what, schedule.steps, now.step)
    tensors = {"weights": now.weights, **now.averages._asdict(), "square": now.square}  # which change in place
    for step in range(now.step + 1, schedule.steps + 1):
        gradient = gradient_of(now.weights.detach().requires_grad_(), step)
        rate = cosine_rate(schedule.first_rate, schedule.last_rate, step, schedule.steps)
        ranger_step(spec, now.weights, gradient, now.averages, (rate, schedule.weight_decay), step)
        if state:
            state.save_if_due(lambda: tensors, step=step)
        progress.update(step)
    return now.weights


def resumed(state: TrainingState | None, target: Target) -> Descent | None:
    """A stack as its state file holds it; None where there is none."""
    saved = state.load() if state else None
    return None if saved is None else saved_descent(saved, target)
