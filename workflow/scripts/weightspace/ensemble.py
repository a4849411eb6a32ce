"""Many networks as one: run a stack, measure it, set its running statistics."""

from collections.abc import Callable, Sequence
from math import ceil, prod, sqrt

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from weightspace.nets.forward import forward, move_statistics, unflatten
from weightspace.nets.spec import NetSpec, by_spec
from weightspace.nets.steps import Training

CHUNK = {"cpu": 2**22, "cuda": 2**29}  # numbers of feature maps in a call of forward: on a CPU more wait for memory
TOGETHER = 4  # models in a call, at least: convolutions of one model alone take longer
RECALIBRATION_BATCH = 256  # images at most, whose statistics count as one batch's


def each_by_its_own(
    spec: NetSpec, specs: Sequence[NetSpec] | None, run: Callable[[NetSpec, slice | Tensor], Float[Tensor, "part ..."]]
) -> Float[Tensor, "model ..."]:
    """What `run` makes of the networks of each spec, told by their places, in the networks' order; None: all are of `spec`."""
    if specs is None:
        return run(spec, slice(None))
    kinds = by_spec(specs)
    made = torch.cat([run(own, torch.tensor(places)) for own, places in kinds])
    return made[torch.tensor([place for _, places in kinds for place in places]).argsort()]


@torch.no_grad()
def outputs(
    spec: NetSpec, weights: Float[Tensor, "model weight"], images: Float[Tensor, "batch channel height width"]
) -> Float[Tensor, "model batch class"]:
    """Logits of all models on the same images, in chunks that fit."""
    passes = _passes(spec, images.device)
    size = max(TOGETHER, passes // max(1, len(images)))
    rows = [[forward(spec, stack, part.unsqueeze(0)) for part in images.split(passes // size)] for stack in weights.split(size)]
    return torch.cat([torch.cat(row, dim=1) for row in rows])


def _passes(spec: NetSpec, device: torch.device) -> int:
    """Images times models in a call of forward."""
    return max(TOGETHER, CHUNK[device.type] // max(spec.num_mapped, prod(spec.image_shape)))


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


def with_own_statistics(
    spec: NetSpec, weights: Float[Tensor, "model weight"], images: Float[Tensor, "batch channel height width"]
) -> Float[Tensor, "model weight"]:
    """Networks whose batch norms, if any, have the statistics that these images give in them, which no average has."""
    has_statistics = not all(parameter.learned for parameter in spec.parameters)
    return recalibrated(spec, weights, images) if has_statistics else weights


@torch.no_grad()
def conditioned(
    spec: NetSpec,
    weights: Float[Tensor, "model weight"],
    images: Float[Tensor, "image channel height width"],
    batches: Int[Tensor, "batch place"],
) -> Float[Tensor, "model weight"]:
    """The same weights, whose running statistics start anew and are moved by batches of images as in training (SANE, 3.6)."""
    stacks = []
    for stack in weights.split(max(1, _passes(spec, images.device) // batches.shape[1])):
        stack, statistics = with_start_statistics(spec, stack), {}
        for batch in batches.to(images.device):
            forward(spec, stack, images[batch].unsqueeze(0), training=Training(statistics))
            move_statistics(spec, stack, statistics)
        stacks.append(stack)
    return torch.cat(stacks)


def with_start_statistics(spec: NetSpec, weights: Float[Tensor, "*stack weight"]) -> Float[Tensor, "*stack weight"]:
    """A copy whose running statistics are those of networks before their first step."""
    copy = weights.clone()
    parameters = unflatten(spec, copy)
    for parameter in spec.parameters:
        if not parameter.learned:
            parameters[parameter.name].fill_(parameter.start)
    return copy
