"""Numbers on symmetric grids of integers, and integers in as many bits as they need."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int8, UInt8
from torch import Tensor

SCALE_BITS = 16  # of a scale's mantissa: integer times scale is then exact in float32, and rounding twice changes nothing
CLIPS = [share / 20 for share in range(5, 20)]  # of the largest number, where the grid may end


class Quantized(NamedTuple):
    """Matrices as integers of -levels .. levels, times what a step of the grid is."""

    integers: Int8[Tensor, "*stack out in"]
    scales: Float[Tensor, "*stack #out 1"]  # one a row, or one a matrix


def levels(bits: int) -> int:
    """Largest integer of a symmetric grid: 127 for 8 bits, 1 for 2."""
    return 2 ** (bits - 1) - 1


@torch.no_grad()
def quantize(weights: Float[Tensor, "*stack out in"], bits: int, per: str) -> Quantized:
    """Nearest integers, round(w / s) with s = max |w| / levels of a row (`per` channel) or of a matrix (tensor).

    s is rounded up to a mantissa of 16 bits, so that the largest number still is on the grid. Rows of zeros have s = 1.
    """
    largest = weights.abs().amax(-1 if per == "channel" else (-2, -1), keepdim=True)
    mantissa, exponent = torch.frexp(largest / levels(bits))
    scales = torch.ldexp((mantissa * 2**SCALE_BITS).ceil() / 2**SCALE_BITS, exponent)
    scales = torch.where(scales > 0, scales, 1.0)
    return _nearest(weights, scales, bits)


@torch.no_grad()
def quantize_clipped(weights: Float[Tensor, "*stack out in"], bits: int) -> Quantized:
    """The same per channel with the grid's end, 0.25 to 1 times the largest number, where the squared error is least.

    In 3 or 2 bits large numbers are better clipped: 144 normal weights in 2 bits are off by 0.43 of their norm, not by 0.78.
    """
    best = whole = quantize(weights, bits, "channel")
    for share in CLIPS:
        other = _nearest(weights, share * whole.scales, bits)
        better = _squared_error(weights, other) < _squared_error(weights, best)
        best = Quantized(*(torch.where(better, new, old) for new, old in zip(other, best, strict=True)))
    return best


def _nearest(weights: Tensor, scales: Tensor, bits: int) -> Quantized:
    return Quantized((weights / scales).round().clamp(-levels(bits), levels(bits)).to(torch.int8), scales)


def _squared_error(weights: Tensor, quantized: Quantized) -> Float[Tensor, "*stack out 1"]:
    return (weights - dequantize(quantized)).square().sum(-1, keepdim=True)


def dequantize(quantized: Quantized) -> Float[Tensor, "*stack out in"]:
    """Numbers that the integers stand for."""
    return quantized.integers * quantized.scales


def fake_quantize(weights: Float[Tensor, "*stack out in"], bits: int, per: str) -> Float[Tensor, "*stack out in"]:
    """Numbers on the grid with the gradient of the numbers before (straight-through: Bengio et al. 2013).

    The scale follows the largest number, so that none is out of the range and the gradient is the identity for all.
    """
    return dequantize(quantize(weights, bits, per)) + (weights - weights.detach())


def fake_quantize_weights(parameters: dict[str, Float[Tensor, "..."]], bits: int, per: str) -> dict[str, Float[Tensor, "..."]]:
    """A predictor's (or a stack's) parameters with every matrix `*.weight` on its grid; biases as they are."""
    return {name: fake_quantize(tensor, bits, per) if name.endswith(".weight") else tensor for name, tensor in parameters.items()}


def pack(fields: Sequence[tuple[np.ndarray, int]]) -> UInt8[np.ndarray, " byte"]:
    """One stream of bits for arrays of integers of 0 .. 2^width - 1, each with its width of 0 to 32; the last byte is filled up.

    Inverse of `decode.unpack`. Lowest bit first.
    """
    bits = [
        np.unpackbits(values.astype("<u4").view(np.uint8).reshape(-1, 4), axis=1, count=width, bitorder="little").ravel()
        for values, width in fields
    ]
    return np.packbits(np.concatenate([np.zeros(0, np.uint8), *bits]), bitorder="little")
