"""Problem: queries and answers in scaled units, to fit networks to and to validate them on."""

from typing import NamedTuple

import torch
from torch import Tensor

from weightspace.nets.spec import NetSpec
from weightspace.recovery.fit import Fit, squared_error
from weightspace.recovery.queries import Queries
from weightspace.recovery.scaling import Scaling, scaling_of


class Problem(NamedTuple):
    """Queries and answers of all teachers of a cell, in scaled units."""

    scaling: Scaling
    train: Fit
    val: Fit

    def of_teacher(self, teacher: int, num: int) -> "Problem":
        """The same for `num` models that imitate one teacher."""
        owner = torch.full((num,), teacher, device=self.train.owner.device)
        return self._replace(train=self.train._replace(owner=owner), val=self.val._replace(owner=owner))


def problem_of(spec: NetSpec, queries: Queries, device: str | torch.device = "cpu") -> Problem:
    """What students of these layers are fitted to, and what they are validated on."""
    scaling = scaling_of(spec, queries)
    owner = torch.arange(len(queries.train_y))
    train, val = (
        Fit(scaling.inputs(x).to(device), scaling.answers(y).to(device), owner.to(device))
        for x, y in ((queries.train_x, queries.train_y), (queries.val_x, queries.val_y))
    )
    return Problem(Scaling(*(tensor.to(device) for tensor in scaling)), train, val)


def validation_error(spec: NetSpec, weights: Tensor, problem: Problem, num: int) -> Tensor:
    """Mean squared error of `num` students of each teacher on the validation queries, in units of the answers' variance."""
    owner = torch.arange(len(problem.val.y), device=weights.device).repeat_interleave(num)
    return squared_error(spec, weights, problem.val._replace(owner=owner))
