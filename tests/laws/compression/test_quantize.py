"""Numbers on a grid are as near as the grid allows, bits give back what was packed, and gradients pass through."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from weightspace.compression.decode import unpack
from weightspace.compression.quantize import (
    dequantize,
    fake_quantize,
    fake_quantize_weights,
    levels,
    pack,
    quantize,
    quantize_clipped,
)

BITS = [8, 6, 4, 3, 2]
PER = ["tensor", "channel"]


def matrices():
    return torch.randn(3, 7, 50) * torch.logspace(-6, 2, 7).unsqueeze(1)


@pytest.mark.parametrize("per", PER)
@pytest.mark.parametrize("bits", BITS)
def test_the_error_is_at_most_half_a_step_and_the_largest_number_takes_the_last_step(bits, per):
    weights = matrices()
    quantized = quantize(weights, bits, per)
    assert quantized.scales.shape == ((3, 7, 1) if per == "channel" else (3, 1, 1))
    assert ((dequantize(quantized) - weights).abs() <= quantized.scales * 0.50002).all()
    assert (weights.abs() <= quantized.scales * levels(bits)).all()
    assert (quantized.integers.abs().amax(-1 if per == "channel" else (1, 2)) == levels(bits)).all()


@pytest.mark.parametrize("per", PER)
@pytest.mark.parametrize("bits", BITS)
def test_rounding_twice_is_rounding_once_bit_for_bit(bits, per):
    once = quantize(matrices(), bits, per)
    twice = quantize(dequantize(once), bits, per)
    assert torch.equal(once.integers, twice.integers)
    assert torch.equal(once.scales, twice.scales)


def test_rows_of_zeros_stay_zero():
    weights = torch.stack([torch.zeros(5), torch.full((5,), 7.0)])
    assert torch.equal(dequantize(quantize(weights, 4, "channel")), weights)
    assert torch.equal(dequantize(quantize(torch.zeros(2, 5), 4, "tensor")), torch.zeros(2, 5))


def test_a_scale_per_channel_is_never_coarser_than_one_per_matrix():
    weights = matrices()
    assert (quantize(weights, 8, "channel").scales <= quantize(weights, 8, "tensor").scales).all()


@pytest.mark.parametrize("bits", BITS)
def test_a_clipped_grid_has_the_least_error_of_a_fine_search_and_never_more_than_the_whole_one(bits):
    weights = torch.randn(20, 150)
    clipped, whole = (
        (dequantize(q) - weights).square().sum(1) for q in (quantize_clipped(weights, bits), quantize(weights, bits, "channel"))
    )
    assert (clipped <= whole).all()
    ends = weights.abs().amax(1, keepdim=True) * torch.linspace(0.2, 1, 400).view(-1, 1, 1)
    steps = ends / levels(bits)
    searched = ((weights / steps).round().clamp(-levels(bits), levels(bits)) * steps - weights).square().sum(2).amin(0)
    assert (clipped <= 1.25 * searched).all()
    assert bits > 2 or (clipped < 0.6 * whole).all()


def test_a_stack_is_rounded_as_each_of_its_matrices():
    weights = matrices()
    whole = quantize(weights, 4, "tensor")
    for n, weight in enumerate(weights):
        alone = quantize(weight, 4, "tensor")
        assert torch.equal(whole.integers[n], alone.integers)
        assert torch.equal(whole.scales[n], alone.scales)


@pytest.mark.parametrize("per", PER)
def test_the_gradient_passes_rounding_unchanged_and_the_numbers_are_on_the_grid(per):
    weights = matrices().requires_grad_()
    direction = torch.randn_like(weights)
    rounded = fake_quantize(weights, 4, per)
    (gradient,) = torch.autograd.grad((rounded * direction).sum(), weights)
    assert torch.equal(gradient, direction)
    assert torch.equal(rounded, dequantize(quantize(weights, 4, per)))


def test_biases_of_a_predictor_are_not_rounded():
    parameters = {"linear1.weight": matrices(), "linear1.bias": torch.randn(3, 7)}
    rounded = fake_quantize_weights(parameters, 4, "channel")
    assert torch.equal(rounded["linear1.bias"], parameters["linear1.bias"])
    assert torch.equal(rounded["linear1.weight"], dequantize(quantize(parameters["linear1.weight"], 4, "channel")))


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 32)), max_size=6), st.integers(0, 2**32 - 1))
def test_bits_give_back_what_was_packed_in_as_few_bytes_as_there_are_bits_for(fields, seed):
    random = np.random.default_rng(seed)
    arrays = [random.integers(0, 2**width, count) for count, width in fields]
    packed = pack([(values, width) for values, (_, width) in zip(arrays, fields, strict=True)])
    assert len(packed) == -(-sum(count * width for count, width in fields) // 8)
    for values, back in zip(arrays, unpack(packed, fields), strict=True):
        assert np.array_equal(values, back)


def test_bits_lie_lowest_first_without_gaps():
    assert pack([(np.array([0b101, 0b011]), 3), (np.array([0b1]), 1)]).tolist() == [0b1011101]


def test_a_stream_of_another_length_is_refused():
    with pytest.raises(ValueError, match="2 bytes for 24 bits"):
        unpack(np.zeros(2, np.uint8), [(3, 8)])
