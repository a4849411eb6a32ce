"""Networks between others: on the line of weights from one to another, and soups, whose weights are the mean of several."""

import torch
from jaxtyping import Float
from torch import Tensor

from weightspace.nets.align import align
from weightspace.nets.spec import NetSpec


def interpolate(
    ours: Float[Tensor, "pair weight"], theirs: Float[Tensor, "pair weight"], shares: Float[Tensor, " share"]
) -> Float[Tensor, "pair share weight"]:
    """Networks on the line from ours (share 0) to theirs (share 1)."""
    return torch.lerp(ours.unsqueeze(1), theirs.unsqueeze(1), shares.view(1, -1, 1).to(ours))


def soup(models: Float[Tensor, "soup model weight"]) -> Float[Tensor, "soup weight"]:
    """The mean of each group's weights (Wortsman et al. 2022, "Model soups", uniform)."""
    return models.mean(1)


def aligned_to_first(spec: NetSpec, members: Float[Tensor, "group model weight"]) -> Float[Tensor, "group model weight"]:
    """Groups whose networks have their units in the places of the first one's."""
    num, size, _ = members.shape
    if size == 1:
        return members
    first, others = members[:, :1], members[:, 1:]
    moved = align(spec, others.flatten(0, 1), first.flatten(0, 1).repeat_interleave(size - 1, 0)).weights
    return torch.cat([first, moved.unflatten(0, (num, size - 1))], dim=1)
