"""Properties of a zoo's models at every stored epoch, beside the losses and accuracies of training, as one table."""

from collections.abc import Callable, Collection
from itertools import product
from typing import NamedTuple

import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor

from weightspace.checkpoints import Zoo
from weightspace.ensemble import outputs
from weightspace.images.tensors import ImageSet, normalize
from weightspace.nets.spec import NetSpec, by_spec
from weightspace.properties import calibration_error, token_statistics, weight_norms, weight_statistics
from weightspace.tokens import make_codec

AT_ONCE = 2**25  # weights that are measured together


class Subjects(NamedTuple):
    """Models at one epoch, and the images that they are asked about."""

    spec: NetSpec
    weights: Float[Tensor, "model weight"]
    images: ImageSet


def _norms(subjects: Subjects) -> dict[str, Tensor]:
    spec, weights, _ = subjects
    norms = weight_norms(spec, weights)
    return {"norm": norms.norm(dim=1)} | {f"norm_{layer.name}": norm for layer, norm in zip(spec.layers, norms.T, strict=True)}


def _logits(subjects: Subjects, split: str) -> Float[Tensor, "model image class"]:
    return outputs(subjects.spec, subjects.weights, normalize(getattr(subjects.images, f"{split}_x"), subjects.images))


def _calibration(subjects: Subjects) -> dict[str, Tensor]:
    return {
        f"{split}_calibration_error": calibration_error(_logits(subjects, split), getattr(subjects.images, f"{split}_y"))
        for split in ("val", "test")
    }


def _token_statistics(spec: NetSpec, weights: Float[Tensor, "model weight"]) -> Float[Tensor, "model feature"]:
    codec = make_codec(spec, weights, token_size=None, standardize=False)
    return token_statistics(codec.to(weights.device), weights)


MEASURES: dict[str, Callable[[Subjects], dict[str, Tensor]]] = {  # by the names that settings.PROPERTIES has
    "norms": _norms,
    "weight_statistics": lambda subjects: {"weight_statistics": weight_statistics(*subjects[:2])},
    "token_statistics": lambda subjects: {"token_statistics": _token_statistics(*subjects[:2])},
    "calibration": _calibration,
    "val_logits": lambda subjects: {"val_logits": _logits(subjects, "val").flatten(1)},  # image by image
}


@torch.no_grad()
def properties_table(zoo: Zoo, images: ImageSet, wanted: Collection[str]) -> pa.Table:
    """One row per model and epoch, in the order of `models.parquet`: model, epoch, then a column for each number or list.

    Where a model has no such layer, its norm is null.
    """
    measures, models = [measure for name, measure in MEASURES.items() if name in wanted], zoo.models
    tables = []
    for spec, places in by_spec(map(zoo.spec_of, models)):
        keys, parts = list(product([models[place] for place in places], zoo.epochs)), []
        size = max(1, AT_ONCE // spec.num_weights)
        for start in range(0, len(keys), size):
            subjects = Subjects(spec, zoo.checkpoints(keys[start : start + size]).to(images.val_x.device), images)
            parts.append({name: values.cpu() for measure in measures for name, values in measure(subjects).items()})
        columns = {name: torch.cat([part[name] for part in parts]).tolist() for name in parts[0]}
        tables.append(pa.table({"model": [model for model, _ in keys], "epoch": [epoch for _, epoch in keys], **columns}))
    return pa.concat_tables(tables, promote_options="default").sort_by([("model", "ascending"), ("epoch", "ascending")])
