"""Checkpoints as token sequences: one token per output unit, incoming weights then bias, zero-padded."""

from collections.abc import Callable
from math import prod
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from weightspace.ensemble import with_start_statistics
from weightspace.nets.spec import NetSpec
from weightspace.token_rows import BatchNormTokens, is_token, longest_row


class Rows(NamedTuple):
    """Parameters that stand side by side, one row per unit; a row is cut into tokens."""

    index: Int[Tensor, "unit number"]  # into the flat weights, of which they take one piece
    tokens: bool  # whether they are tokens


def rows_of(spec: NetSpec, batch_norm: BatchNormTokens = "all") -> list[Rows]:
    """All numbers of a network, in the order of the flat weights (SANE section 2).

    Weights with their biases last, scales with their shifts last, and each running statistic by itself.
    """
    rows, offset = [], 0
    for op in spec.ops:
        for parameter in op.made.parameters:
            index = (offset + torch.arange(prod(parameter.shape))).view(parameter.shape[0], -1)
            offset += index.numel()
            if parameter.beside:
                rows[-1] = rows[-1]._replace(index=torch.cat([rows[-1].index, index], dim=1))
            else:
                rows.append(Rows(index, is_token(op, parameter, batch_norm)))
    return rows


class TokenLayout(NamedTuple):
    """Where each weight stands in the tokens (Meynent et al. 2025, section 2; SANE section 2)."""

    index: Int[Tensor, "token feature"]  # into the flat weights; their number where a token is padding
    positions: Int[Tensor, "token 3"]  # sequence, layer, unit
    inverse: Int[Tensor, " weight"]  # into the flattened tokens, behind which the flat weights of a given network stand

    @property
    def mask(self) -> Bool[Tensor, "token feature"]:
        """True where a token holds a weight."""
        return self.index < len(self.inverse)

    def to(self, device: torch.device | str) -> "TokenLayout":
        return TokenLayout(*(tensor.to(device) for tensor in self))


def token_layout(spec: NetSpec, token_size: int | None = None, batch_norm: BatchNormTokens = "all") -> TokenLayout:
    """Layout with tokens of `token_size` entries, or of the longest unit's where it is None.

    A unit longer than a token takes several, one after the other, at the same layer and unit position. Layers are counted by
    their rows: a batch norm has up to three, for scale and shift, mean, and variance.
    """
    rows = [each.index for each in rows_of(spec, batch_norm) if each.tokens]
    size = token_size or longest_row(spec, batch_norm)
    padded = [F.pad(row, (0, -row.shape[1] % size), value=spec.num_weights) for row in rows]
    blocks = [row.view(len(row), -1, size) for row in padded]
    index = torch.cat([block.flatten(0, 1) for block in blocks])
    units = torch.cat([torch.arange(len(block)).repeat_interleave(block.shape[1]) for block in blocks])
    layers = torch.cat([torch.full((block.shape[0] * block.shape[1],), n) for n, block in enumerate(blocks)])
    inverse = index.numel() + torch.arange(spec.num_weights + 1)
    inverse[index.flatten()] = torch.arange(index.numel())
    return TokenLayout(index, torch.stack([torch.arange(len(index)), layers, units], dim=1), inverse[:-1])


def tokenize(weights: Float[Tensor, "*stack weight"], layout: TokenLayout) -> Float[Tensor, "*stack token feature"]:
    """Tokens of flat weights; zero in the padding."""
    return F.pad(weights, (0, 1))[..., layout.index]


def detokenize(
    tokens: Float[Tensor, "*stack token feature"], layout: TokenLayout, given: Float[Tensor, "*#stack weight"] | None = None
) -> Float[Tensor, "*stack weight"]:
    """Flat weights of tokens, whatever stands in the padding; left inverse of `tokenize`.

    What has no token is as in the `given` networks, which a layout that leaves something out needs; raises IndexError.
    """
    entries = tokens.flatten(-2)
    if given is not None:
        entries = torch.cat([entries, given.expand(*entries.shape[:-1], -1)], dim=-1)
    return entries[..., layout.inverse]


class Scale(NamedTuple):
    """Affine map of the flat weights; the same numbers for all weights of a layer's rows, so permutations commute with it."""

    mean: Float[Tensor, " weight"]
    std: Float[Tensor, " weight"]

    def apply(self, weights: Float[Tensor, "*stack weight"]) -> Float[Tensor, "*stack weight"]:
        return (weights - self.mean) / self.std

    def undo(self, weights: Float[Tensor, "*stack weight"]) -> Float[Tensor, "*stack weight"]:
        return weights * self.std + self.mean


def within_checkpoints(weights: Float[Tensor, "checkpoint weight"]) -> Float[Tensor, ""]:
    """Root of the mean variance within a checkpoint (SANE, 888543c, dataset_tokens.py:295-357): means may differ at will."""
    return weights.var(dim=1).mean().sqrt()


DEVIATIONS: dict[str, Callable[[Tensor], Tensor]] = {"total": torch.std, "within": within_checkpoints}


def layer_scale(
    spec: NetSpec, weights: Float[Tensor, "checkpoint weight"], batch_norm: BatchNormTokens = "all", deviation: str = "total"
) -> Scale:
    """Mean and deviation of each layer's rows over all checkpoints; 0 and 1 where there are no tokens, 1 where all are equal."""
    rows = rows_of(spec, batch_norm)
    sizes = torch.tensor([each.index.numel() for each in rows], device=weights.device)
    tokens = torch.tensor([each.tokens for each in rows], device=weights.device)
    pieces = weights.split([each.index.numel() for each in rows], dim=1)
    mean, std = (torch.stack([measure(piece) for piece in pieces]) for measure in (torch.mean, DEVIATIONS[deviation]))
    mean, std = mean.where(tokens, 0), std.where(tokens & (std > 0), 1)
    return Scale(mean.repeat_interleave(sizes), std.repeat_interleave(sizes))


def identity_scale(spec: NetSpec) -> Scale:
    """The scale that changes nothing."""
    return Scale(torch.zeros(spec.num_weights), torch.ones(spec.num_weights))


class Codec(NamedTuple):
    """Flat weights of one spec to scaled tokens and back."""

    spec: NetSpec
    layout: TokenLayout
    scale: Scale
    given: Float[Tensor, " weight"] | None = None  # networks that come back have these numbers where there is no token

    def to_tokens(self, weights: Float[Tensor, "*stack weight"]) -> Float[Tensor, "*stack token feature"]:
        return tokenize(self.scale.apply(weights), self.layout)

    def to_weights(self, tokens: Float[Tensor, "*stack token feature"]) -> Float[Tensor, "*stack weight"]:
        """Inverse of `to_tokens`, but for what has no token."""
        return self.scale.undo(detokenize(tokens, self.layout, self.given))

    def to(self, device: torch.device | str) -> "Codec":
        given = None if self.given is None else self.given.to(device)
        return Codec(self.spec, self.layout.to(device), Scale(*(tensor.to(device) for tensor in self.scale)), given)


def make_codec(
    spec: NetSpec,
    weights: Float[Tensor, "checkpoint weight"],
    token_size: int | None,
    standardize: bool,
    batch_norm: BatchNormTokens = "all",
    deviation: str = "total",
) -> Codec:
    """Codec for a spec, its scale measured on `weights` (training checkpoints) or left out.

    What has no token comes back as the mean of these, but running statistics as they start.
    """
    scale = layer_scale(spec, weights, batch_norm, deviation) if standardize else identity_scale(spec)
    given = with_start_statistics(spec, weights.mean(0)) if spec.has_statistics else None
    return Codec(spec, token_layout(spec, token_size, batch_norm), scale, given)
