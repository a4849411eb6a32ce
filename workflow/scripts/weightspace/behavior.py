"""What networks do: outputs on queries, agreement, and the distances that a behavioral loss is made of."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor


def softmax_mse(logits: Float[Tensor, "*stack query class"], target: Float[Tensor, "*stack query class"]) -> Float[Tensor, ""]:
    """Mean squared difference of softmax outputs (Meynent et al. 2025, the published behavioral loss)."""
    return F.mse_loss(logits.softmax(-1), target.softmax(-1))


def logit_mse(logits: Float[Tensor, "*stack query class"], target: Float[Tensor, "*stack query class"]) -> Float[Tensor, ""]:
    """Mean squared difference of logits, each query's own mean taken off, which the softmax does not see."""
    difference = logits - target
    return (difference - difference.mean(-1, keepdim=True)).square().mean()


def distillation(
    logits: Float[Tensor, "*stack query class"], target: Float[Tensor, "*stack query class"], temperature: float = 2.0
) -> Float[Tensor, ""]:
    """T^2 KL(softmax(target / T) || softmax(logits / T)), mean over queries."""
    ours, theirs = ((outputs / temperature).log_softmax(-1) for outputs in (logits, target))
    return temperature**2 * F.kl_div(ours, theirs, reduction="none", log_target=True).sum(-1).mean()


def soft_cross_entropy(
    logits: Float[Tensor, "*stack query class"], target: Float[Tensor, "*stack query class"]
) -> Float[Tensor, ""]:
    """Cross-entropy of the softmax outputs with the target's, mean over queries: least at the target, where it is its entropy."""
    return raw_cross_entropy(logits, target.softmax(-1))


def raw_cross_entropy(
    logits: Float[Tensor, "*stack query class"], target: Float[Tensor, "*stack query class"]
) -> Float[Tensor, ""]:
    """The same with the logits themselves in the place of the target's probabilities: unbounded below.

    So the published code has it (Structure Is Not Enough, 727c3a9, def_loss.py:206-212).
    """
    return -(target * logits.log_softmax(-1)).sum(-1).mean()


DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "softmax_mse": softmax_mse,
    "logit_mse": logit_mse,
    "distillation": distillation,
    "soft_cross_entropy": soft_cross_entropy,
    "raw_cross_entropy": raw_cross_entropy,
}


def agreement(ours: Int[Tensor, "model query"], theirs: Int[Tensor, "other query"]) -> Float[Tensor, "model other"]:
    """Share of queries that two models answer alike, for each pair."""
    return torch.stack([(answers == theirs).float().mean(-1) for answers in ours])


def output_distance(
    ours: Float[Tensor, "model query class"], theirs: Float[Tensor, "other query class"]
) -> Float[Tensor, "model other"]:
    """Euclidean distance of the softmax outputs of each pair of models."""
    return distance(ours.softmax(-1).flatten(1), theirs.softmax(-1).flatten(1))


def distance(ours: Float[Tensor, "model feature"], theirs: Float[Tensor, "other feature"]) -> Float[Tensor, "model other"]:
    """Euclidean distances by differences; matrix products would lose near pairs in float32."""
    return torch.cdist(ours, theirs, compute_mode="donot_use_mm_for_euclid_dist")


def mixed_queries(
    images: Float[Tensor, "batch channel height width"], labels: Int[Tensor, " batch"], generator: Generator
) -> Float[Tensor, "query channel height width"]:
    """Means of two images of different classes: inputs on which good models differ."""
    order = torch.randperm(len(images), generator=generator)
    pairs: Bool[Tensor, " batch"] = labels.cpu() != labels.cpu()[order]
    return (images[pairs.to(images.device)] + images[order[pairs]]) / 2


def noise_queries(
    images: Float[Tensor, "batch channel height width"], generator: Generator, deviation: float = 1.5
) -> Float[Tensor, "query channel height width"]:
    """Images under Gaussian noise of `deviation` times the training pixels' own deviation (images are normalized)."""
    return images + deviation * torch.randn(images.shape, generator=generator).to(images.device)
