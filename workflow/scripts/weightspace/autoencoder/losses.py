"""The three losses of an autoencoder over weights, each a function of its arguments alone."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from weightspace.autoencoder.settings import AutoencoderConfig


class Losses(NamedTuple):
    """Unscaled parts of a step's loss; zero where a part has weight 0."""

    contrast: Float[Tensor, ""]
    structure: Float[Tensor, ""]
    behavior: Float[Tensor, ""]

    def total(self, config: AutoencoderConfig, scale: list[float] | None = None) -> Float[Tensor, ""]:
        """Weighted sum; each part divided by its entry in `scale`, if there is one.

        The published total is gamma C + (1 - gamma) (beta S + (1 - beta) B) with each part divided by its first
        value: weights gamma, (1 - gamma) beta and (1 - gamma) (1 - beta), with `loss_scale: first_batch`.
        """
        weights = (config.contrast_weight, config.structure_weight, config.behavior_weight)
        parts = self if scale is None else [part / max(first, 1e-12) for part, first in zip(self, scale, strict=True)]
        return sum(weight * part for weight, part in zip(weights, parts, strict=True))


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
    mask: Bool[Tensor, "token feature"],
) -> Float[Tensor, ""]:
    """Mean squared error over the entries that hold weights; padding counts neither above nor below."""
    return ((tokens - target) * mask).square().sum() / (mask.sum() * len(tokens))
