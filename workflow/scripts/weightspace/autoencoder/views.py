"""A fixed number of permuted views, as the published code stores them: one stack per checkpoint."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor

from weightspace.nets.spec import NetSpec
from weightspace.nets.symmetry import permutation_map, sample_permutations
from weightspace.rng import generator_for


class StoredPermutations(NamedTuple):
    """A fixed number of permutations for all checkpoints, as published: slot 0 of a checkpoint is the original."""

    maps: Int[Tensor, "permutation weight"]  # index maps; the first moves nothing
    slots: Int[Tensor, "checkpoint permutation"]  # which of them stands in each slot; the first in the first


def stored_permutations(spec: NetSpec, num: int, checkpoints: int) -> StoredPermutations:
    """`num` random permutations and the identity; each checkpoint has them in an order of its own (augmentations.py:374-440)."""
    generator = generator_for("stored_permutations", num)
    maps = permutation_map(spec, sample_permutations(spec, num, generator))
    orders = 1 + torch.rand(checkpoints, num, generator=generator).argsort(dim=1)
    return StoredPermutations(torch.cat([torch.arange(spec.num_weights).unsqueeze(0), maps]), F.pad(orders, (1, 0)))
