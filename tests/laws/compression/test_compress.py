"""A compressed network is its bytes and no more: they give back what was returned, and it is what its kind says."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import save
from weightspace.compression.compress import ZSTD_LEVEL, compress_low_rank, compress_pruned, compress_quantized, decompress
from weightspace.compression.quantize import dequantize, levels, pack, quantize_clipped
from weightspace.errors import InputError

NAMES = ["conv1.weight", "conv2.weight", "linear3.weight"]
COMPRESSIONS = {f"quantized {bits}": (compress_quantized, bits) for bits in (8, 6, 4, 3, 2)} | {
    f"{kind.__name__.removeprefix('compress_')} {share}": (kind, share)
    for kind in (compress_pruned, compress_low_rank)
    for share in (0.05, 0.4, 1.0)
}


def network():
    return {
        "conv1.weight": torch.randn(16, 3, 3, 3),
        "norm1.running_var": torch.rand(16),
        "conv2.weight": torch.randn(32, 16, 3, 3) / 10,
        "conv2.bias": torch.randn(32),
        "linear3.weight": torch.randn(10, 33),
        "linear4.weight": torch.randn(10, 10),
    }


def relative_error(compressed, parameters, name):
    return float((compressed.parameters[name] - parameters[name]).norm() / parameters[name].norm())


@pytest.mark.parametrize(("kind", "setting"), COMPRESSIONS.values(), ids=COMPRESSIONS)
def test_the_bytes_alone_give_the_returned_network_and_other_parameters_stay(kind, setting):
    parameters = network()
    compressed = kind(parameters, NAMES, setting)
    back = decompress(compressed.blob)
    assert back.keys() == parameters.keys()
    for name, tensor in parameters.items():
        assert torch.equal(back[name], compressed.parameters[name])
        assert (back[name].shape, back[name].dtype) == (tensor.shape, tensor.dtype)
        assert name in NAMES or torch.equal(back[name], tensor)


@pytest.mark.parametrize("bits", [8, 6, 4, 3, 2])
def test_quantized_weights_are_those_of_a_scale_per_output(bits):
    parameters = network()
    compressed = compress_quantized(parameters, NAMES, bits)
    for name in NAMES:
        expected = dequantize(quantize_clipped(parameters[name].flatten(1), bits))
        assert torch.equal(compressed.parameters[name].flatten(1), expected)


def test_fewer_bits_weights_or_singular_values_are_fewer_bytes_and_more_error():
    parameters = network()
    for kind, settings in ((compress_quantized, [8, 6, 4, 3, 2]), (compress_pruned, [1.0, 0.5, 0.1])):
        results = [kind(parameters, NAMES, setting) for setting in settings]
        assert all(len(a.blob) > len(b.blob) for a, b in zip(results, results[1:], strict=False))
        errors = [relative_error(result, parameters, "conv2.weight") for result in results]
        assert errors == sorted(errors)


def test_eight_bits_take_about_a_quarter_and_never_more_than_their_bits():
    parameters = {"conv1.weight": torch.randn(64, 64, 3, 3)}
    blob = compress_quantized(parameters, ["conv1.weight"], 8).blob
    assert 0.22 < len(blob) / (4 * parameters["conv1.weight"].numel()) < 0.26


@pytest.mark.parametrize(("bits", "in_bytes"), [(2, False), (6, True)])
def test_integers_lie_in_bits_or_bytes_whichever_is_smaller(bits, in_bytes):
    weights = torch.randn(64, 1024) if in_bytes else torch.rand(64, 1024) - 0.5
    integers = quantize_clipped(weights, bits).integers.numpy().ravel()
    packed = pack([(integers.astype(np.int64) + levels(bits), bits)])
    zstd = pa.Codec("zstd", compression_level=ZSTD_LEVEL)
    sizes = [len(zstd.compress(array.tobytes(), asbytes=True)) for array in (packed, integers)]
    overhead = len(compress_quantized({"linear1.weight": weights}, ["linear1.weight"], bits).blob) - min(sizes)
    assert overhead < 4 * 64 + 250  # scales, names
    assert (sizes[1] < sizes[0]) == in_bytes
    assert max(sizes) > min(sizes) + overhead


def test_pruning_keeps_exactly_the_share_that_is_largest_over_all_layers():
    parameters = network()
    compressed = compress_pruned(parameters, NAMES, 0.3)
    before = torch.cat([parameters[name].flatten() for name in NAMES])
    after = torch.cat([compressed.parameters[name].flatten() for name in NAMES])
    kept = after != 0
    assert int(kept.sum()) == round(0.3 * len(before))
    assert before[kept].abs().min() >= before[~kept].abs().max()
    assert torch.equal(after[kept], before[kept].half().float())


def test_a_matrix_of_low_rank_survives_its_rank():
    weights = torch.randn(24, 2) @ torch.randn(2, 90)
    compressed = compress_low_rank({"linear1.weight": weights}, ["linear1.weight"], 2 / 24)
    assert relative_error(compressed, {"linear1.weight": weights}, "linear1.weight") < 2e-3  # float16
    assert len(compressed.blob) < len(save({"linear1.weight": weights})) / 8


def test_a_rank_has_the_error_of_the_singular_values_left_out():
    parameters = {"conv1.weight": torch.randn(32, 16, 3, 3)}
    values = torch.linalg.svdvals(parameters["conv1.weight"].flatten(1))
    expected = values[8:].norm() / values.norm()
    error = relative_error(compress_low_rank(parameters, ["conv1.weight"], 0.25), parameters, "conv1.weight")
    assert error == pytest.approx(float(expected), rel=1e-4)


def test_weights_that_float16_cannot_hold_are_refused():
    with pytest.raises(InputError, match=r"linear1.weight has weights beyond the range of float16"):
        compress_pruned({"linear1.weight": torch.full((2, 2), 1e6)}, ["linear1.weight"], 1.0)


@pytest.mark.parametrize("cut", [0, 5, 100, -1])
def test_cut_bytes_are_refused(cut):
    blob = compress_quantized(network(), NAMES, 4).blob
    with pytest.raises(InputError, match="not a whole compressed network"):
        decompress(blob[:cut])
