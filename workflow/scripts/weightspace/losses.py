"""Losses of classifiers as stacks: each model gets the gradient that it would get alone."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from weightspace.nets.forward import unflatten
from weightspace.nets.spec import NetSpec


def total_loss(
    logits: Float[Tensor, "model batch class"], labels: Int[Tensor, "model batch"], smoothing: float = 0.0
) -> Float[Tensor, ""]:
    """Cross-entropy: mean over a model's batch, sum over models.

    Of each label the share `smoothing` is divided among all classes (Szegedy et al. 2016, section 7).
    """
    each = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum", label_smoothing=smoothing)
    return each / labels.shape[1]


def divergence(target: Float[Tensor, "model batch class"], logits: Float[Tensor, "model batch class"]) -> Float[Tensor, " model"]:
    """KL(softmax(target) || softmax(logits)), mean over a model's images."""
    return F.kl_div(logits.log_softmax(-1), target.log_softmax(-1), reduction="none", log_target=True).sum(-1).mean(-1)


def neighbor_similarity(spec: NetSpec, weights: Float[Tensor, "model weight"]) -> Float[Tensor, " model"]:
    """Cosines of kernels that are neighbors in filter or channel, summed over pairs and convolutions, for NeRN's smoothness.

    Kernels of size 1 have no direction: there -|a - b| / norm of the layer stands for the cosine. NeRN's code (eb95803,
    models/regularization.py) divides a by that norm and not b.
    """
    parameters, total = unflatten(spec, weights), torch.zeros_like(weights[:, 0])
    for layer in spec.layers:
        if len(layer.fan_in) == 3:
            kernels = parameters[f"{layer.name}.weight"].flatten(3)
            scalar = kernels.shape[3] == 1
            if scalar:
                kernels = kernels / kernels.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
            for one, other in ((kernels[:, 1:], kernels[:, :-1]), (kernels[:, :, 1:], kernels[:, :, :-1])):
                alike = -(one - other).abs().squeeze(3) if scalar else F.cosine_similarity(one, other, dim=3)
                total = total + alike.sum((1, 2))
    return total
