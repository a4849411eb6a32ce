"""Whole numbers as a string of bytes, as long as they are surprising: arithmetic coding (Rissanen 1976), in exact integers.

Each number narrows an interval, which begins as that from 0 to 1, to the part that is expected of it. The string is the shortest
fraction in what is left: -log2 of the numbers' probability in bits, and at most 9 bits more. Time grows with the square of how
many numbers there are: about a second for ten thousand, there and back.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.special import expit

COUNT_BITS = 24
TOTAL = 2**COUNT_BITS


class Logistic(NamedTuple):
    """What each of some numbers is expected to be: a whole number from -reach to reach, logistic about 0, none impossible.

    Normal numbers take 1 to 2 % more bytes than by a normal distribution, those of longer tails far fewer. Both ends compute it
    in float64, so they need the same arithmetic.
    """

    deviations: Float[np.ndarray, " number"]  # positive
    reach: int

    def below(self, values: Int[np.ndarray, "*stack number"]) -> Int[np.ndarray, "*stack number"]:
        """Counts of all that is smaller than these values, of -reach to reach + 1; each value has one count at least."""
        places, size = values + self.reach, 2 * self.reach + 1
        shares = expit((values - 0.5) * (np.pi / np.sqrt(3)) / self.deviations)
        counts = places + np.floor(shares * (TOTAL - size)).astype(np.int64)
        return np.where(places <= 0, 0, np.where(places >= size, TOTAL, counts))


def encode(values: Int[np.ndarray, " number"], expected: Logistic) -> bytes:
    """The shortest string for whole numbers of -reach to reach."""
    low, width, bits = 0, 1, COUNT_BITS * len(values)  # the interval, times 2^bits in the end
    for start, end in zip(expected.below(values).tolist(), expected.below(values + 1).tolist(), strict=True):
        low, width = (low << COUNT_BITS) + start * width, width * (end - start)
    size = max(0, bits - width.bit_length()) // 8
    while True:
        left = bits - 8 * size
        fraction = -(-low >> left)
        if fraction << left < low + width:
            return fraction.to_bytes(size, "big")
        size += 1


def decode(strings: Sequence[bytes], expected: Logistic) -> Int[np.ndarray, "string number"]:
    """The whole numbers that each string was encoded from, all by the same expectation."""
    all_values, bits = np.arange(-expected.reach, expected.reach + 2), COUNT_BITS * len(expected.deviations)
    lows = [int.from_bytes(string, "big") << bits - 8 * len(string) for string in strings]
    widths = [1 << bits for _ in strings]
    values = np.empty((len(strings), len(expected.deviations)), np.int64)
    for number, deviation in enumerate(expected.deviations):
        limits = Logistic(deviation, expected.reach).below(all_values)
        counts = [width >> COUNT_BITS for width in widths]
        places = np.searchsorted(limits, [low // count for low, count in zip(lows, counts, strict=True)], side="right") - 1
        starts, ends = limits[places].tolist(), limits[places + 1].tolist()
        lows = [low - start * count for low, start, count in zip(lows, starts, counts, strict=True)]
        widths = [(end - start) * count for start, end, count in zip(starts, ends, counts, strict=True)]
        values[:, number] = places - expected.reach
    return values
