"""Codes as bytes: numbers rounded to a grid that the codes of train networks set, then entropy-coded."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from weightspace.autoencoder.metrics import AT_BITS
from weightspace.autoencoder.settings_within import RateConfig
from weightspace.compression.entropy import Logistic, decode, encode
from weightspace.compression.quantize import levels
from weightspace.errors import InputError

FLOAT_BYTES = 4
REACH = 4  # times the largest deviation of a train code: numbers beyond are cut off there
LEAST_DEVIATION = 0.1  # that is expected of a number, in steps


class Grid(NamedTuple):
    """What both ends know of codes in so many bits; a step is the largest deviation of train codes over `levels` of the bits."""

    bits: int
    center: Float[Tensor, " number"]
    deviation: Float[Tensor, " number"]
    step: Float[Tensor, " one_or_number"]

    @property
    def num_bytes(self) -> int:
        """Of itself, in float32."""
        return FLOAT_BYTES * sum(part.numel() for part in (self.center, self.deviation, self.step))

    @property
    def expected(self) -> Logistic:
        """What rounded numbers are expected to be."""
        deviations = (self.deviation / self.step).clamp_min(LEAST_DEVIATION)
        return Logistic(deviations.double().numpy(force=True), REACH * levels(self.bits))


class Sizes(NamedTuple):
    """What networks take, in bytes."""

    bytes_code: Float[Tensor, " model"]  # of each
    bytes_shared: Float[Tensor, " model"]  # of all together


class Codes(NamedTuple):
    """Codes of some networks, and what is known at both ends."""

    networks: Float[Tensor, "model ..."]
    train: Float[Tensor, "checkpoint ..."]  # of the train networks
    decoder_bytes: int


def rate_metrics(
    config: RateConfig, codes: Codes, measure: Callable[[Float[Tensor, "model ..."]], Mapping[str, Tensor]]
) -> dict[int, dict[str, Tensor]]:
    """By the bits of the grid, what `measure` says of networks that come from strings of bytes, and how long these are.

    Shared by all networks are the decoder and the grid.
    """
    found = {}
    for bits in config.bits:
        grid = grid_of(codes.train.flatten(1), bits, config.step)
        strings = to_bytes(grid, codes.networks.flatten(1))
        metrics = measure(from_bytes(grid, strings).view_as(codes.networks))
        lengths = codes.networks.new_tensor([len(string) for string in strings])
        sizes = Sizes(lengths, torch.full_like(lengths, codes.decoder_bytes + grid.num_bytes))
        found[bits] = {name: values for name, values in metrics.items() if name in AT_BITS} | sizes._asdict()
    return found


def grid_of(train: Float[Tensor, "checkpoint number"], bits: int, step: str) -> Grid:
    """The grid of train codes, with one step for the whole code or one for each number; of constant numbers the step is 1.

    Raises InputError where a code is not finite.
    """
    _refuse_not_finite(train)
    center = train.mean(0)
    span = (train - center).abs().amax(0)
    span = span.amax(0, keepdim=True) if step == "code" else span
    steps = span / levels(bits)
    return Grid(bits, center, train.std(0, correction=0), torch.where(steps > 0, steps, 1.0))


def to_bytes(grid: Grid, codes: Float[Tensor, "model number"]) -> list[bytes]:
    """The string of each code; raises InputError where one is not finite."""
    _refuse_not_finite(codes)
    expected = grid.expected
    whole = ((codes - grid.center) / grid.step).round().clamp(-expected.reach, expected.reach)
    return [encode(values, expected) for values in whole.long().numpy(force=True)]


def from_bytes(grid: Grid, strings: list[bytes]) -> Float[Tensor, "model number"]:
    """The rounded codes that strings of `to_bytes` stand for."""
    values = torch.from_numpy(decode(strings, grid.expected)).to(grid.center)
    return grid.center + values * grid.step


def _refuse_not_finite(codes: Tensor) -> None:
    if not codes.isfinite().all():
        raise InputError("rate: a code is not finite, as of what diverged, and cannot be rounded")
