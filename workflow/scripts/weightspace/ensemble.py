"""Many networks as one: run a stack, measure it, set its running statistics."""

from math import ceil, prod, sqrt

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from weightspace.nets.forward import forward, move_statistics
from weightspace.nets.spec import NetSpec
from weightspace.nets.steps import Training

CHUNK = 2**15  # image passes per call of forward
CACHED = 2**23  # numbers of feature maps per call on a CPU, 32 MB, of images of so many pixels: more wait for memory
LARGE = 16 * 16
RECALIBRATION_BATCH = 256  # images at most, whose statistics count as one batch's


@torch.no_grad()
def outputs(
    spec: NetSpec, weights: Float[Tensor, "model weight"], images: Float[Tensor, "batch channel height width"]
) -> Float[Tensor, "model batch class"]:
    """Logits of all models on the same images, in chunks that fit."""
    size, most = max(1, CHUNK // max(1, len(images))), CHUNK
    if images.device.type == "cpu" and spec.num_mapped and prod(spec.image_shape[1:]) >= LARGE:
        most = min(CHUNK, max(1, CACHED // (spec.num_mapped * min(size, len(weights)))))
    rows = [[forward(spec, stack, part.unsqueeze(0)) for part in images.split(most)] for stack in weights.split(size)]
    return torch.cat([torch.cat(row, dim=1) for row in rows])


def evaluate(
    spec: NetSpec,
    weights: Float[Tensor, "model weight"],
    images: Float[Tensor, "batch channel height width"],
    labels: Int[Tensor, " batch"],
) -> tuple[Float[Tensor, " model"], Float[Tensor, " model"]]:
    """Mean cross-entropy and accuracy (a fraction) of each model; not finite where the model is not."""
    logits = outputs(spec, weights, images)
    loss = F.cross_entropy(logits.flatten(0, 1), labels.repeat(len(weights)), reduction="none").view(len(weights), -1).mean(1)
    return loss, (logits.argmax(-1) == labels).float().mean(1)


def learning_bar(labels: Int[Tensor, " image"]) -> float:
    """Accuracy of the best constant answer to so many images, plus three standard errors of it."""
    share = float(labels.bincount().max()) / len(labels)
    return share + 3 * sqrt(share * (1 - share) / len(labels))


@torch.no_grad()
def recalibrated(
    spec: NetSpec, weights: Float[Tensor, "model weight"], images: Float[Tensor, "batch channel height width"]
) -> Float[Tensor, "model weight"]:
    """The same weights with the running statistics of these images: means over batches that count by their images.

    Of at most RECALIBRATION_BATCH images they are the exact statistics of all of them.
    """
    changed, seen = weights.clone(), 0
    for part in images.tensor_split(ceil(len(images) / RECALIBRATION_BATCH)):
        statistics: dict[str, Tensor] = {}
        forward(spec, weights, part.unsqueeze(0), training=Training(statistics))
        seen += len(part)
        move_statistics(spec, changed, statistics, len(part) / seen)
    return changed
