"""In which order the units of a zoo's models lie like those of one of them: found once per zoo, for whoever reads its weights."""

from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightspace.jobs import Job
from weightspace.nets.spec import NetSpec
from weightspace.nets.symmetry import permutation_map
from weightspace.store import load_tensors, save_tensors

AT_ONCE = 2**25  # weights that are put in order together


class UnitOrders(NamedTuple):
    """One permutation per model, for all its epochs."""

    reference: int  # the model whose units keep their places
    models: list[int]
    orders: list[Int[Tensor, "model _unit"]]  # of each level that may be permuted, as `permutation_map` takes them


def write_unit_orders(path: str | Path, found: UnitOrders, job: Job | None = None) -> None:
    """Write orders to one safetensors file, whole or not at all."""
    tensors = {str(n): order for n, order in enumerate(found.orders)}
    save_tensors(path, tensors, {"reference": found.reference, "models": found.models}, job)


def read_unit_orders(path: str | Path) -> UnitOrders:
    """What `write_unit_orders` wrote; raises InputError naming the file if it is damaged."""
    tensors, about = load_tensors(path)
    return UnitOrders(about["reference"], about["models"], [tensors[str(n)] for n in range(len(tensors))])


def in_order(
    spec: NetSpec, weights: Float[Tensor, "checkpoint weight"], models: list[int], found: UnitOrders
) -> Float[Tensor, "checkpoint weight"]:
    """Checkpoints of these models with their units in order; as they are where no unit may move."""
    if not found.orders:
        return weights
    places = {model: place for place, model in enumerate(found.models)}
    rows, parts = torch.tensor([places[model] for model in models]), []
    for part, own in zip(*(each.split(max(1, AT_ONCE // spec.num_weights)) for each in (weights, rows)), strict=True):
        maps = permutation_map(spec, [order[own] for order in found.orders])
        parts.append(part.gather(1, maps.to(part.device)))
    return torch.cat(parts)
