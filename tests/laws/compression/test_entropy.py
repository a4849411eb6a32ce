"""A string of bytes gives back its whole numbers, and is as long as these are surprising."""

from fractions import Fraction
from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from weightspace.compression.entropy import TOTAL, Logistic, decode, encode

REACHES = [1, 4, 28, 508, 8188]


def widths(expected):
    """Counts of each value -reach .. reach [value, number], by their definition: from the end of one to the end of the next."""
    values = np.arange(-expected.reach, expected.reach + 2)[:, None] + np.zeros(len(expected.deviations), np.int64)
    return np.diff(expected.below(values), axis=0)


def shortest_string(values, expected):
    """A slow reference: the first of all strings, by length, whose fraction is in the numbers' interval."""
    low, width = Fraction(0), Fraction(1)
    for value, column in zip(values, widths(expected).T.tolist(), strict=True):
        low += width * Fraction(sum(column[: value + expected.reach]), TOTAL)
        width *= Fraction(column[value + expected.reach], TOTAL)
    size = 0
    while (fraction := ceil(low * 256**size)) >= (low + width) * 256**size:
        size += 1
    return fraction.to_bytes(size, "big")


@settings(max_examples=40)
@given(st.data(), st.sampled_from(REACHES), st.integers(0, 12))
def test_decoding_gives_back_what_was_encoded(data, reach, num):
    deviations = np.array(data.draw(st.lists(st.floats(0.1, 3000), min_size=num, max_size=num)))
    rows = st.lists(st.integers(-reach, reach), min_size=num, max_size=num)
    values = np.array(data.draw(st.lists(rows, min_size=1, max_size=2)), np.int64)
    expected = Logistic(deviations, reach)
    assert np.array_equal(decode([encode(row, expected) for row in values], expected), values)


@pytest.mark.parametrize("reach", REACHES)
def test_every_value_is_possible_and_all_together_are_certain(reach):
    counts = widths(Logistic(np.array([0.1, 1.0, 77.7, 1e6]), reach))
    assert counts.min() >= 1
    assert (counts.sum(0) == TOTAL).all()


def test_the_string_is_that_of_a_slow_reference():
    rng = np.random.default_rng(0)
    expected = Logistic(rng.uniform(0.1, 9, 12), 28)
    for _ in range(5):
        values = np.clip(np.rint(rng.normal(0, expected.deviations)), -28, 28).astype(np.int64)
        assert encode(values, expected) == shortest_string(values.tolist(), expected)


@pytest.mark.parametrize("times", [0.2, 1.0, 3.0])
def test_the_string_is_as_long_as_its_numbers_are_surprising(times):
    """-log2 of their probability in bits and at most 9 more: of normal ones, by their deviation, 3 % above the least possible."""
    rng = np.random.default_rng(1)
    expected, size = Logistic(np.full(400, 20.0), 500), 400
    values = np.clip(np.rint(rng.normal(0, 20 * times, size)), -500, 500).astype(np.int64)
    counts = widths(expected)[values + 500, np.arange(size)]
    information = -np.log2(counts / TOTAL).sum()
    assert information <= 8 * len(encode(values, expected)) + 8
    assert 8 * len(encode(values, expected)) <= information + 9
    entropy = size * np.log2(20 * np.sqrt(2 * np.pi * np.e))
    assert times != 1.0 or information < 1.03 * entropy


def test_numbers_that_are_all_as_expected_take_next_to_nothing():
    expected = Logistic(np.full(50, 0.1), 4)
    assert len(encode(np.zeros(50, np.int64), expected)) <= 1
    assert len(encode(np.full(50, 4), expected)) > 50


def test_no_numbers_are_no_bytes():
    expected = Logistic(np.empty(0), 4)
    assert encode(np.empty(0, np.int64), expected) == b""
    assert decode([b""], expected).shape == (1, 0)
