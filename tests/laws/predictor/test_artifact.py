"""A shipped file decodes, anywhere and alone, to the network that was evaluated; damaged files are refused; bytes add up."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ENVIRONMENT, ROOT
from safetensors.torch import load_file, save
from weightspace.compression import decode
from weightspace.compression.quantize import dequantize, fake_quantize_weights, quantize
from weightspace.errors import InputError
from weightspace.nets.forward import flatten, unflatten
from weightspace.nets.spec import build_spec
from weightspace.predictor.artifact import (
    Artifact,
    Embedding,
    Grid,
    byte_account,
    flops_decode,
    flops_inference,
    kept_parameters,
    load_network,
    packed_order,
    save_artifact,
)
from weightspace.predictor.kernels import from_kernels, layout_of
from weightspace.predictor.model import embedding, predict_all, predictor_spec
from weightspace.store import load_tensors, save_tensors

ORDERS = ["none", "in_filter", "cross_filter", "serpentine"]
GRIDS = [None, Grid(8, "tensor"), Grid(6, "channel"), Grid(4, "channel")]
ARCHITECTURE = ["conv 6 3 1", "activation", "conv 5 5", "activation", "conv 4 1", "activation",
                "flatten", "linear 7", "activation", "linear classes"]  # fmt: skip
SPEC = build_spec(ARCHITECTURE, "relu", (2, 8, 8), 10)
LEVELS, HIDDEN = 4, 11
PROGRAM = ROOT / "workflow/scripts/weightspace/compression/decode.py"
ALONE = """
import runpy, sys
for name in ("weightspace", "safetensors", "pydantic", "pyarrow", "jaxtyping", "einops", "scipy"):
    sys.modules[name] = None  # importing it fails
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def random_rank(layout, order):
    """A permutation in each layer that `order` can be."""
    pieces = []
    for part in layout.parts:
        if order == "in_filter":
            channels = torch.stack([torch.randperm(part.channels) for _ in range(part.filters)])
            pieces.append(part.begin + (torch.randperm(part.filters)[:, None] * part.channels + channels).flatten())
        elif order == "none":
            pieces.append(part.begin + torch.arange(part.num_kernels))
        else:
            pieces.append(part.begin + torch.randperm(part.num_kernels))
    return torch.cat(pieces)


def random_artifact(order="cross_filter", grid=None, kernel_sizes=None, linear=True, spec=SPEC):
    layout = layout_of(spec.shapes, kernel_sizes, linear)
    net = predictor_spec(LEVELS, HIDDEN, layout.size)
    predictor = unflatten(net, torch.randn(net.num_weights) / 4)
    kept = kept_parameters(layout, {name: torch.randn(shape) for name, shape in spec.shapes.items()})
    return Artifact(spec, layout, predictor, order, random_rank(layout, order), kept, Embedding(0.76, LEVELS), grid)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "predictor.safetensors"


# what it decodes to


def slow_kernel(artifact, coordinate):
    """Numbers of one kernel by the formula, in float64."""
    features = []
    for number in coordinate:
        for level in range(artifact.embedding.levels):
            angle = math.pi * artifact.embedding.base**level * number
            features += [math.sin(angle), math.cos(angle)]
    hidden = np.array(features, np.float32).astype(np.float64)
    for n in range(1, 6):
        weight = artifact.predictor[f"linear{n}.weight"]
        if artifact.grid:
            weight = dequantize(quantize(weight, *artifact.grid))
        hidden = weight.double().numpy() @ hidden + artifact.predictor[f"linear{n}.bias"].double().numpy()
        hidden = np.maximum(hidden, 0) if n < 5 else hidden
    return hidden


def slow_network(artifact):
    """All parameters, kernel by kernel."""
    parameters, size = dict(artifact.kept), artifact.layout.size
    for layer, part in enumerate(artifact.layout.parts):
        weights = torch.zeros(part.shape, dtype=torch.float64)
        for f in range(part.filters):
            for c in range(part.channels):
                rank = int(artifact.rank[part.begin + f * part.channels + c]) - part.begin
                kernel = torch.from_numpy(slow_kernel(artifact, (layer, rank // part.channels, rank % part.channels)))
                if len(part.shape) == 4:
                    rim = size // 2 - part.shape[-1] // 2
                    center = slice(rim, rim + part.shape[-1])
                    weights[f, c] = kernel.view(size, size)[center, center]
                else:
                    block = weights[f, c * size**2 : (c + 1) * size**2]
                    block[:] = kernel[: len(block)]
        parameters[part.name] = weights.float()
    return parameters


@pytest.mark.slow
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("order", ORDERS)
def test_a_file_decodes_to_what_the_formula_gives_kernel_by_kernel(path, order, grid):
    artifact = random_artifact(order, grid)
    save_artifact(path, artifact)
    decoded, expected = decode.decode(path), slow_network(artifact)
    assert decoded.keys() == expected.keys() == artifact.spec.shapes.keys()
    for name, tensor in expected.items():
        assert torch.allclose(decoded[name], tensor, rtol=1e-6, atol=1e-6)
        assert decoded[name].dtype == torch.float32
        assert name not in artifact.kept or torch.equal(decoded[name], tensor)


@pytest.mark.parametrize("grid", GRIDS)
def test_a_file_decodes_to_what_the_predictor_put_out_when_it_was_trained_on_its_grid(path, grid):
    artifact = random_artifact("serpentine", grid)
    net = predictor_spec(LEVELS, HIDDEN, artifact.layout.size)
    on_grid = fake_quantize_weights(artifact.predictor, *grid) if grid else artifact.predictor
    table = embedding(artifact.layout.coordinates, *artifact.embedding)
    kernels = predict_all(net, flatten(net, on_grid).unsqueeze(0), table, artifact.rank.unsqueeze(0))
    decoded = save_artifact(path, artifact._replace(predictor=on_grid))
    for name, weights in from_kernels(artifact.layout, kernels).items():
        assert torch.allclose(decoded[name], weights[0], rtol=1e-5, atol=1e-5)


def test_layers_that_are_not_predicted_come_back_bit_for_bit(path):
    artifact = random_artifact(kernel_sizes=[1], linear=False, spec=build_spec("resnet8", "relu", (1, 8, 8), 10))
    assert all(part.kernel == 1 for part in artifact.layout.parts)
    assert {"conv1.weight", "norm2.running_var"} <= artifact.kept.keys()
    save_artifact(path, artifact)
    decoded = decode.decode(path)
    assert all(torch.equal(decoded[name], artifact.kept[name]) for name in artifact.kept)


def test_bytes_path_and_what_saving_returned_are_one_network(path):
    written = save_artifact(path, random_artifact())
    for decoded in (decode.decode(path), decode.decode(path.read_bytes()), load_network(path)):
        assert decode.digest_of(decoded, "") == decode.digest_of(written, "")
    assert decode.decode_whole(path).same


def test_another_network_than_the_evaluated_one_is_told(path):
    save_artifact(path, random_artifact())
    tensors, metadata = load_tensors(path)
    tensors["predictor.biases"] += 1e-4
    save_tensors(path, tensors, metadata)
    assert not decode.decode_whole(path).same
    said = decode.main([str(path), str(path.with_name("weights"))])
    assert said.endswith("but not bit for bit the network that was evaluated")


# alone


def run_alone(*arguments):
    """decode.py in a process that can import numpy and torch, not this library nor what else it needs."""
    command = [sys.executable, "-I", "-c", ALONE, str(PROGRAM), *map(str, arguments)]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)


@pytest.mark.slow
def test_the_program_alone_writes_the_very_network_that_the_library_decodes(path, tmp_path):
    save_artifact(path, random_artifact("in_filter", Grid(6, "channel")))
    target = tmp_path / "weights.safetensors"
    result = run_alone(path, target)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.count("\n") == 1
    assert "bit for bit the network that was evaluated" in result.stdout
    expected = decode.decode(path)
    for back in (load_file(target), load_tensors(target)[0]):
        assert decode.digest_of(back, "") == decode.digest_of(expected, "")
    assert build_spec(**load_tensors(target)[1]["spec"]) == SPEC
    assert sorted(tmp_path.iterdir()) == [path, target]


@pytest.mark.slow
def test_the_program_alone_refuses_a_damaged_file_in_one_sentence_and_writes_nothing(path, tmp_path):
    save_artifact(path, random_artifact())
    path.write_bytes(path.read_bytes()[:-1])
    result = run_alone(path, tmp_path / "weights.safetensors")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"{path}: not a whole predictor's file\n"
    assert list(tmp_path.iterdir()) == [path]


# damage


def test_every_cut_and_every_flipped_bit_is_refused(path):
    save_artifact(path, random_artifact(grid=Grid(4, "tensor"), linear=False))
    data = path.read_bytes()
    header = int.from_bytes(data[:8], "little")
    for end in [*range(0, header, 97), *range(header, len(data), 211), len(data) - 1]:
        with pytest.raises(decode.DecodeError):
            decode.read(data[:end])
    with pytest.raises(decode.DecodeError):
        decode.read(data + b"\0")
    for place in [*range(0, header + 8, 13), *range(header + 8, len(data), 211)]:
        altered = bytearray(data)
        altered[place] ^= 1 << place % 8
        try:
            tensors, metadata = decode.read(bytes(altered))
        except decode.DecodeError:
            continue
        assert (metadata, tensors.keys()) == (decode.read(data)[1], decode.read(data)[0].keys())  # a flipped pad byte


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"version": 2}, "version 2 of the format; this decoder reads version 1"),
        ({"format": "other"}, "not a predictor's file"),
        ({"hidden": HIDDEN + 1}, "the file's parts do not fit each other"),
        ({"order": "none"}, "the file's parts do not fit each other"),
        ({"spec": None, "parameters": 3}, "the file's parts do not fit each other"),
    ],
)
def test_whole_files_of_other_content_are_refused(path, change, sentence):
    save_artifact(path, random_artifact())
    tensors, metadata = load_tensors(path)
    save_tensors(path, tensors, metadata | change)
    with pytest.raises(InputError, match=f"{path}: {sentence}"):
        load_network(path)


def test_an_order_that_is_no_permutation_is_refused(path):
    artifact = random_artifact()
    save_artifact(path, artifact)
    tensors, metadata = load_tensors(path)
    save_tensors(path, tensors | {"order": torch.zeros_like(tensors["order"])}, metadata)
    with pytest.raises(decode.DecodeError, match="an order that is no permutation"):
        decode.decode(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04" + bytes(100), save({"a": torch.zeros(3)})])
def test_files_of_others_are_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"{path}: not a whole predictor's file"):
        load_network(path)
    with pytest.raises(InputError, match="not a predictor's file"):
        byte_account(path)


def test_missing_files_and_folders_are_said_to_be(path, tmp_path):
    with pytest.raises(decode.DecodeError, match=r"predictor.safetensors: cannot be read \(No such file"):
        decode.main([str(path), str(tmp_path / "weights")])
    save_artifact(path, random_artifact())
    with pytest.raises(decode.DecodeError, match=r"weights: cannot be written \(No such file"):
        decode.main([str(path), str(tmp_path / "missing" / "weights")])
    with pytest.raises(decode.DecodeError, match=r"weights: cannot be written \(Not a directory"):
        decode.main([str(path), str(path / "weights")])
    with pytest.raises(decode.DecodeError, match="usage"):
        decode.main([str(path)])


def test_what_is_not_the_whole_network_is_not_written(path):
    artifact = random_artifact()
    with pytest.raises(InputError, match="not together the parameters"):
        save_artifact(path, artifact._replace(kept={}))
    assert not path.exists()


def test_ranks_that_the_file_would_not_hold_are_refused(path):
    with pytest.raises(InputError, match="the order none has no ranks but the kernels' own"):
        save_artifact(path, random_artifact("cross_filter")._replace(order="none"))
    assert not path.exists()


def test_ranks_across_filters_are_no_order_in_filters():
    artifact = random_artifact("cross_filter")
    with pytest.raises(InputError, match="kernels of one filter are in several"):
        packed_order(artifact.layout, artifact.rank, "in_filter")


# bytes and operations


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("order", ORDERS)
def test_the_account_adds_up_to_the_file(path, order, grid):
    artifact = random_artifact(order, grid)
    save_artifact(path, artifact)
    account = byte_account(path)
    assert account == byte_account(path.read_bytes())
    assert sum(account.values()) == path.stat().st_size
    assert account["kept"] == 4 * sum(tensor.numel() for tensor in artifact.kept.values())
    counts = [artifact.predictor[f"linear{n}.weight"].numel() for n in range(1, 6)]
    rows = [len(artifact.predictor[f"linear{n}.bias"]) for n in range(1, 6)]
    weights = -(-sum(counts) * grid.bits // 8) if grid else 4 * sum(counts)
    assert account["predictor"] == weights + 4 * sum(rows)
    assert account["scales"] == (4 * (5 if grid.per == "tensor" else sum(rows)) if grid else 0)


@pytest.mark.parametrize(
    ("name", "order", "size"),
    [
        ("resnet20", "none", 0),
        ("resnet20", "in_filter", 22_944),
        ("resnet20", "cross_filter", 45_476),
        ("resnet56", "in_filter", 69_936),
        ("resnet56", "serpentine", 137_636),
    ],
)
def test_orders_of_residual_networks_take_the_published_bytes(name, order, size):
    layout = layout_of(build_spec(name, "relu", (3, 32, 32), 10).shapes, None, False)
    fields = decode.order_fields([(part.filters, part.channels) for part in layout.parts], order)
    assert sum(count * width for count, width in fields) == 8 * size
    packed = packed_order(layout, torch.arange(layout.num_kernels), order) if order != "none" else b""
    assert len(packed) == size


@pytest.mark.parametrize("order", ORDERS[1:])
def test_an_order_comes_back_from_its_bits(order):
    artifact = random_artifact(order)
    packed = packed_order(artifact.layout, artifact.rank, order)
    shapes = [(part.filters, part.channels) for part in artifact.layout.parts]
    ranks = decode.ranks_in_layers(packed, shapes, order)
    begins = [part.begin for part in artifact.layout.parts]
    assert np.concatenate([own + begin for own, begin in zip(ranks, begins, strict=True)]).tolist() == artifact.rank.tolist()


def test_operations_are_those_counted_by_hand():
    pixels = 2 * 9 * 6 * 64 + 6 * 25 * 5 * 16 + 5 * 4 * 16
    assert flops_inference(SPEC) == 2 * (pixels + 64 * 7 + 7 * 10)
    layout = layout_of(SPEC.shapes, [3], False)
    assert flops_decode(layout, 140) == 2 * 12 * (240 * 140 + 3 * 140**2 + 9 * 140)


def test_operations_of_a_residual_network_are_those_of_its_paper():
    # 16 x 3 x 9 x 32^2, then three stages of six convolutions (the first with half the channels), 1 x 1 shortcuts, 640
    stages = sum(w * w * 9 * p * p * 6 - (w * w // 2 * 9 * p * p if w > 16 else 0) for w, p in ((16, 32), (32, 16), (64, 8)))
    shortcuts = 16 * 32 * 16 * 16 + 32 * 64 * 8 * 8
    assert flops_inference(build_spec("resnet20", "relu", (3, 32, 32), 10)) == 2 * (432 * 1024 + stages + shortcuts + 640)


# the format


def test_bytes_of_the_format_are_read_as_the_safetensors_library_reads_them(tmp_path):
    tensors = {"b": torch.randn(3, 2), "a": torch.arange(5, dtype=torch.uint8), "c": torch.randn(()).half(), "d": torch.zeros(0)}
    data = decode.unparse(tensors, {"format": "pt", "other": json.dumps({"ü": 1})})
    (tmp_path / "file").write_bytes(data)
    for back in (load_file(tmp_path / "file"), decode.parse(data)[0], decode.parse(save(tensors))[0]):
        assert decode.digest_of(back, "") == decode.digest_of(tensors, "")
    assert decode.parse(data)[1] == {"format": "pt", "other": json.dumps({"ü": 1})}
