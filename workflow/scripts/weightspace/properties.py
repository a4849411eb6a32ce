"""Properties of networks that probes read or predict: statistics and norms of weights, calibration."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightspace.nets.spec import NetSpec
from weightspace.tokens import Codec

BINS = 15  # of confidence, of equal width (Guo et al. 2017, "On calibration of modern neural networks", section 2)


def weight_statistics(spec: NetSpec, weights: Float[Tensor, "model weight"]) -> Float[Tensor, "model feature"]:
    """14 numbers per layer (Unterthiner et al. 2020): mean, variance, percentiles 1, 25, 50, 75, 99 of weights and of biases.

    A layer without biases has 7.
    """
    pieces = []
    for layer in spec.layers:
        own, biases = weights[:, layer.offset : layer.offset + layer.size], layer.out * layer.has_bias
        pieces += [_statistics(values) for values in own.split([layer.size - biases, biases], dim=1) if values.shape[1]]
    return torch.cat(pieces, dim=1)


def token_statistics(codec: Codec, weights: Float[Tensor, "model weight"]) -> Float[Tensor, "model feature"]:
    """The same 7 numbers of each layer's tokens, with their scale and their padding, whose zeros count as weights do.

    Without a scale these are the statistics of SANE's code (downstream_baselines.py:27-80, 888543c), which it publishes.
    """
    tokens, layers = codec.to_tokens(weights), codec.layout.positions[:, 1]
    return torch.cat([_statistics(tokens[:, layers == layer].flatten(1)) for layer in layers.unique()], dim=1)


def _statistics(values: Float[Tensor, "model value"]) -> Float[Tensor, "model 7"]:
    """Mean, variance, percentiles 1, 25, 50, 75, 99."""
    percentiles = values.quantile(values.new_tensor([0.01, 0.25, 0.5, 0.75, 0.99]), dim=1).T
    return torch.cat([values.mean(1, keepdim=True), values.var(1, correction=0, keepdim=True), percentiles], dim=1)


def weight_norms(spec: NetSpec, weights: Float[Tensor, "model weight"]) -> Float[Tensor, "model layer"]:
    """Euclidean norm of each layer's weights and biases; layers are those of `spec.layers`."""
    return torch.stack([weights[:, layer.offset : layer.offset + layer.size].norm(dim=1) for layer in spec.layers], dim=1)


def calibration_error(
    logits: Float[Tensor, "model image class"], labels: Int[Tensor, " image"], bins: int = BINS
) -> Float[Tensor, " model"]:
    """Expected calibration error: mean over images of |accuracy - confidence| of all images of a like confidence.

    Confidence is the largest probability; a bin holds those in (k / bins, (k + 1) / bins]. A fraction; not finite where logits
    are not.
    """
    confidence, answers = logits.softmax(-1).max(-1)
    place = ((confidence * bins).ceil().long() - 1).clamp(0, bins - 1)
    gaps = torch.zeros(len(logits), bins, dtype=logits.dtype, device=logits.device)
    return gaps.scatter_add(1, place, (answers == labels).to(logits) - confidence).abs().sum(1) / len(labels)
