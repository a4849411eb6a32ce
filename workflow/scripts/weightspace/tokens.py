"""Checkpoints as token sequences: one token per output unit, incoming weights then bias, zero-padded."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from weightspace.nets.spec import NetSpec
from weightspace.nets.steps import Weights


class TokenLayout(NamedTuple):
    """Where each weight stands in the tokens (Meynent et al. 2025, section 2; SANE section 2)."""

    index: Int[Tensor, "token feature"]  # into the flat weights; their number where a token is padding
    positions: Int[Tensor, "token 3"]  # sequence, layer, unit
    inverse: Int[Tensor, " weight"]  # into the flattened tokens

    @property
    def mask(self) -> Bool[Tensor, "token feature"]:
        """True where a token holds a weight."""
        return self.index < len(self.inverse)

    def to(self, device: torch.device | str) -> "TokenLayout":
        return TokenLayout(*(tensor.to(device) for tensor in self))


def token_layout(spec: NetSpec, token_size: int | None = None) -> TokenLayout:
    """Layout with tokens of `token_size` entries, or of the longest unit's where it is None.

    A unit longer than a token takes several, one after the other, at the same layer and unit position.
    """
    size = token_size or max(layer.row for layer in spec.layers)
    blocks = [_layer_index(layer, size, spec.num_weights) for layer in spec.layers]
    index = torch.cat([block.flatten(0, 1) for block in blocks])
    units = torch.cat([torch.arange(len(block)).repeat_interleave(block.shape[1]) for block in blocks])
    layers = torch.cat([torch.full((block.shape[0] * block.shape[1],), n) for n, block in enumerate(blocks)])
    inverse = torch.empty(spec.num_weights + 1, dtype=torch.long)
    inverse[index.flatten()] = torch.arange(index.numel())
    return TokenLayout(index, torch.stack([torch.arange(len(index)), layers, units], dim=1), inverse[:-1])


def _layer_index(layer: Weights, size: int, padding: int) -> Int[Tensor, "unit piece feature"]:
    fan_in = layer.row - 1
    weights = layer.offset + torch.arange(layer.out * fan_in).view(layer.out, fan_in)
    biases = layer.offset + layer.out * fan_in + torch.arange(layer.out).unsqueeze(1)
    row = torch.cat([weights, biases], dim=1)
    return F.pad(row, (0, -layer.row % size), value=padding).view(layer.out, -1, size)


def tokenize(weights: Float[Tensor, "*stack weight"], layout: TokenLayout) -> Float[Tensor, "*stack token feature"]:
    """Tokens of flat weights; zero in the padding."""
    return F.pad(weights, (0, 1))[..., layout.index]


def detokenize(tokens: Float[Tensor, "*stack token feature"], layout: TokenLayout) -> Float[Tensor, "*stack weight"]:
    """Flat weights of tokens, whatever stands in the padding; left inverse of `tokenize`."""
    return tokens.flatten(-2)[..., layout.inverse]


class Scale(NamedTuple):
    """Affine map of the flat weights; the same numbers for all weights of a layer, so permutations commute with it."""

    mean: Float[Tensor, " weight"]
    std: Float[Tensor, " weight"]

    def apply(self, weights: Float[Tensor, "*stack weight"]) -> Float[Tensor, "*stack weight"]:
        return (weights - self.mean) / self.std

    def undo(self, weights: Float[Tensor, "*stack weight"]) -> Float[Tensor, "*stack weight"]:
        return weights * self.std + self.mean


def layer_scale(spec: NetSpec, weights: Float[Tensor, "checkpoint weight"]) -> Scale:
    """Mean and deviation of each layer's weights and biases over all checkpoints."""
    pieces = weights.split([layer.size for layer in spec.layers], dim=1)
    sizes = torch.tensor([layer.size for layer in spec.layers], device=weights.device)
    mean, std = (torch.stack([measure(piece) for piece in pieces]) for measure in (torch.mean, torch.std))
    return Scale(mean.repeat_interleave(sizes), std.repeat_interleave(sizes))


def identity_scale(spec: NetSpec) -> Scale:
    """The scale that changes nothing."""
    return Scale(torch.zeros(spec.num_weights), torch.ones(spec.num_weights))


class Codec(NamedTuple):
    """Flat weights of one spec to scaled tokens and back."""

    spec: NetSpec
    layout: TokenLayout
    scale: Scale

    def to_tokens(self, weights: Float[Tensor, "*stack weight"]) -> Float[Tensor, "*stack token feature"]:
        return tokenize(self.scale.apply(weights), self.layout)

    def to_weights(self, tokens: Float[Tensor, "*stack token feature"]) -> Float[Tensor, "*stack weight"]:
        return self.scale.undo(detokenize(tokens, self.layout))

    def to(self, device: torch.device | str) -> "Codec":
        return Codec(self.spec, self.layout.to(device), Scale(*(tensor.to(device) for tensor in self.scale)))


def make_codec(spec: NetSpec, weights: Float[Tensor, "checkpoint weight"], token_size: int | None, standardize: bool) -> Codec:
    """Codec for a spec, its scale measured on `weights` (training checkpoints) or left out."""
    scale = layer_scale(spec, weights) if standardize else identity_scale(spec)
    return Codec(spec, token_layout(spec, token_size), scale)
