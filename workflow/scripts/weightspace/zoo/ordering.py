"""Put the units of all models of a zoo beside those of one of them."""

import pyarrow as pa
import torch

from weightspace.checkpoints import Zoo
from weightspace.errors import InputError
from weightspace.nets.align import align
from weightspace.unit_orders import AT_ONCE, UnitOrders


def unit_orders(zoo: Zoo, models: pa.Table) -> UnitOrders:
    """The permutation that aligns each model with the reference, at the model's last stored epoch (SANE, section 3).

    The reference is the first train model that has not diverged by the last stored epoch. Models of which no stored epoch is
    usable are left out. Raises InputError naming the index if there is no reference.
    """
    rows, last = models.to_pandas(), zoo.epochs[-1]
    rows = rows[rows["epoch"].isin(zoo.epochs) & ~rows["diverged"]]
    candidates = rows.loc[(rows["split"] == "train") & (rows["epoch"] == last), "model"]
    if candidates.empty:
        raise InputError(f"{zoo.path}: no train model is usable at epoch {last}, with which others could be aligned")
    reference = int(candidates.min())
    places = list(rows.groupby("model")["epoch"].max().items())
    target, size, found = zoo.checkpoints([(reference, last)]), max(1, AT_ONCE // zoo.spec.num_weights), []
    for start in range(0, len(places), size):
        found.append(align(zoo.spec, zoo.checkpoints(places[start : start + size]), target).orders)
    orders = [torch.cat(parts) for parts in zip(*found, strict=True)]
    return UnitOrders(reference, [int(model) for model, _ in places], orders)
