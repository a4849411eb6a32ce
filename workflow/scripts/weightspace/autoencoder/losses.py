"""The losses of an autoencoder over weights: one entry each, whose factor is the setting `<name>_weight`."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from weightspace.autoencoder.batches import Sequences
from weightspace.autoencoder.model import Autoencoder
from weightspace.autoencoder.settings import AutoencoderSettings
from weightspace.behavior import DISTANCES, distillation
from weightspace.ensemble import each_by_its_own
from weightspace.nets.forward import EVALUATION, forward
from weightspace.nets.spec import NetSpec
from weightspace.nets.steps import Training
from weightspace.tokens import Codec

LEAST_DEVIATION = 1e-4  # of what errors are divided by


class Step(NamedTuple):
    """What the losses of one step are computed from: a batch of checkpoints in one or two views, encoded and decoded."""

    config: AutoencoderSettings
    codec: Codec
    model: Autoencoder
    embeddings: Float[Tensor, "view token embedding"]  # of all views, one view of the whole batch after the other
    rebuilt: Sequences  # the views that are reconstructed
    decoded: Float[Tensor, "rebuilt token feature"]
    queries: Float[Tensor, "query channel height width"]
    targets: Float[Tensor, "model query class"]  # logits of the batch's checkpoints; permutations do not move them
    specs: list[NetSpec] | None = None  # of the batch's checkpoints; None: all are of the codec's


def contrast_loss(
    ours: Float[Tensor, "model feature"], theirs: Float[Tensor, "model feature"], temperature: float
) -> Float[Tensor, ""]:
    """NT-Xent (Chen et al. 2020): each projection must find its other view among all other projections of the batch."""
    views = F.normalize(torch.cat([ours, theirs]), dim=1)
    similarity = (views @ views.T / temperature).fill_diagonal_(-torch.inf)
    positives = torch.arange(len(views), device=views.device).roll(len(ours))
    return F.cross_entropy(similarity, positives)


def structure_loss(
    tokens: Float[Tensor, "model token feature"],
    target: Float[Tensor, "model token feature"],
    mask: Bool[Tensor, "*model token feature"],
    mean: str = "weights",
    scale: str = "none",
) -> Float[Tensor, ""]:
    """Mean squared error over the entries that hold weights; padding counts neither above nor below.

    With `mean: entries`, as published, the mean is over all entries: 0 stands in place of what is decoded at padding, and
    counts as an error where the target is not 0 there. Errors may be divided by a deviation of the target's weights.
    """
    mask = mask.expand_as(tokens)
    errors = tokens * mask - target if mean == "entries" else (tokens - target) * mask
    if scale != "none":
        errors = errors / deviations(target, mask, (2,) if scale == "token" else (0, 1, 2))
    return errors.square().mean() if mean == "entries" else errors.square().sum() / mask.sum()


def deviations(
    target: Float[Tensor, "model token feature"], mask: Bool[Tensor, "model token feature"], axes: tuple[int, ...]
) -> Float[Tensor, "..."]:
    """Deviation of the weights along some axes, and a little, as in MultiZoo-SANE (e34cda5, def_loss.py); 1 of a single one."""
    num = mask.sum(axes, keepdim=True)
    mean = (target * mask).sum(axes, keepdim=True) / num
    variance = ((target - mean).square() * mask).sum(axes, keepdim=True) / num
    return torch.where(num > 1, variance.sqrt() + LEAST_DEVIATION, 1.0)


def cycle_loss(
    embeddings: Float[Tensor, "model token embedding"], again: Float[Tensor, "model token embedding"]
) -> Float[Tensor, ""]:
    """Norm over the tokens of the difference between codes and the codes of what is decoded from them, mean over the rest."""
    return torch.linalg.vector_norm(embeddings - again, dim=1).mean()


def behavior_loss(step: Step) -> Float[Tensor, ""]:
    """Distance of the decoded networks' outputs from their originals' on the same queries, whatever the view.

    Batch norms of decoded networks take the statistics of the queries.
    """
    weights, queries = step.codec.to_weights(step.decoded), step.queries.unsqueeze(0)

    def answers(spec: NetSpec, places: slice | Tensor) -> Tensor:
        training = Training({}) if spec.has_statistics else EVALUATION
        return forward(spec, weights[places], queries, training=training)

    views = len(weights) // len(step.targets)
    logits = each_by_its_own(step.codec.spec, step.specs and step.specs * views, answers)
    targets = step.targets.repeat(views, 1, 1)
    if step.config.behavior_distance == "distillation":
        return distillation(logits, targets, step.config.distillation_temperature)
    return DISTANCES[step.config.behavior_distance](logits, targets)


LOSSES: dict[str, Callable[[Step], Float[Tensor, ""]]] = {
    "contrast": lambda step: contrast_loss(*step.model.head(step.embeddings).chunk(2), step.config.temperature),
    "structure": lambda step: structure_loss(
        step.decoded, step.rebuilt.tokens, step.rebuilt.mask, step.config.structure_mean, step.config.structure_scale
    ),
    "behavior": behavior_loss,
    "cycle": lambda step: cycle_loss(
        step.embeddings[: len(step.decoded)], step.model.encode(step.decoded, step.rebuilt.positions)
    ),
}
UNSCALED = ("cycle",)  # whose first value divides nothing, as published


def losses_of(step: Step) -> dict[str, Float[Tensor, ""]]:
    """Every loss by its name, unscaled; one of weight 0 is not computed, and 0."""
    weights, zero = step.config.loss_weights, step.decoded.new_zeros(())
    return {name: loss(step) if weights[name] else zero for name, loss in LOSSES.items()}


def total_loss(
    losses: Mapping[str, Float[Tensor, ""]], config: AutoencoderSettings, scale: Mapping[str, float] | None = None
) -> Float[Tensor, ""]:
    """Weighted sum; each loss divided by its entry in `scale`, if there is one, with the sign of that.

    The published total is gamma C + (1 - gamma) (beta S + (1 - beta) B) + lambda cycle, with C, S and B each divided by its
    first value: weights gamma, (1 - gamma) beta, (1 - gamma) (1 - beta) and lambda, with `loss_scale: first_batch`.
    """
    divisors = {name: value if abs(value) > 1e-12 else 1e-12 for name, value in (scale or {}).items()}
    scaled = {name: loss / divisors[name] if name in divisors else loss for name, loss in losses.items()}
    return sum(weight * scaled[name] for name, weight in config.loss_weights.items())
