"""A predictor's file into an ordinary state dict: `python decode.py predictor.safetensors weights.safetensors`.

This file runs alone: it needs Python, numpy and torch, nothing else of this project, and it unpickles nothing.

The predictor reads the coordinates (layer, filter, channel) of a kernel p through sin(pi b^i p), cos(pi b^i p) and puts out the
kernel's numbers (NeRN, Ashkenazi et al. 2023). It is evaluated in float64 and rounded to float32 once: the order of summation,
which differs between processors and libraries, then hardly ever changes a bit. (ResNet-20, 140 units: on another code path of
MKL 73 % of the numbers changed in float32, none in float64.) The file tells what the network hashed to that was evaluated.
"""

import json
import math
import os
import sys
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

FORMAT, VERSION = "weightspace predictor", 1
DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "I64": "int64", "I32": "int32", "I8": "int8", "U8": "uint8"}
KERNELS_AT_ONCE = 4096


class DecodeError(Exception):
    """The file cannot be decoded; the message is one sentence that says why."""


class Decoded(NamedTuple):
    """An ordinary network."""

    parameters: dict[str, Tensor]
    text: str  # JSON of the network's description
    digest: str  # sha256 of both
    same: bool  # whether the digest is that of the network that was evaluated


def decode(source: bytes | str | Path) -> dict[str, Tensor]:
    """Parameters by name of the network that a predictor's file (its path or its bytes) holds; raises DecodeError."""
    return decode_whole(source).parameters


def decode_whole(source: bytes | str | Path) -> Decoded:
    """The same with the network's description, and whether it is bit for bit the one that was evaluated."""
    tensors, metadata = read(source)
    try:
        parameters, text, wanted = network_parameters(tensors, metadata), network_text(metadata), metadata["decoded"]
    except (KeyError, ValueError, TypeError, IndexError, RuntimeError) as error:
        raise DecodeError(f"the file's parts do not fit each other ({' '.join(str(error).split())})") from error
    digest = digest_of(parameters, text)
    return Decoded(parameters, text, digest, digest == wanted)


def read(source: bytes | str | Path) -> tuple[dict[str, Tensor], dict]:
    """Tensors and metadata of a predictor's file; raises DecodeError if it is cut, altered, not ours or of another version."""
    try:
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
    except OSError as error:
        raise DecodeError(f"cannot be read ({error.strerror})") from error
    try:
        tensors, entries = parse(data)
        digest, _, text = entries["weightspace"].partition(" ")
        metadata = json.loads(text)
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise DecodeError("not a whole predictor's file") from error
    if digest != digest_of(tensors, text):
        raise DecodeError("its content is not what was written (sha256 differs)")
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise DecodeError("not a predictor's file")
    if metadata.get("version") != VERSION:
        raise DecodeError(f"version {metadata.get('version')} of the format; this decoder reads version {VERSION}")
    return tensors, metadata


def parse(data: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata entries of bytes in the safetensors format; raises ValueError, KeyError or TypeError for others."""
    begin = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:begin])
    entries = header.pop("__metadata__", {})
    tensors, end = {}, begin
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        first, end = (begin + offset for offset in entry["data_offsets"])
        array = np.frombuffer(data[first:end], "<" + np.dtype(DTYPES[entry["dtype"]]).str[1:])
        tensors[name] = torch.from_numpy(array.astype(DTYPES[entry["dtype"]])).reshape(entry["shape"])
    if end != len(data):
        raise ValueError("bytes are missing or left over")
    return tensors, entries


def unparse(tensors: dict[str, Tensor], entries: dict[str, str]) -> bytes:
    """Bytes in the safetensors format; inverse of `parse`."""
    names = {name: key for key, name in DTYPES.items()}
    header, parts, end = {"__metadata__": entries}, [], 0
    for name, tensor in sorted(tensors.items()):
        parts.append(tensor.contiguous().numpy().tobytes())
        dtype = names[str(tensor.dtype).removeprefix("torch.")]
        header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [end, end + len(parts[-1])]}
        end += len(parts[-1])
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # numbers begin at a multiple of 8 bytes
    return b"".join([len(text).to_bytes(8, "little"), text, *parts])


def digest_of(tensors: dict[str, Tensor], text: str) -> str:
    """sha256 of a text, and of names, types, shapes and bytes of tensors."""
    digest = sha256(text.encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].contiguous().numpy().tobytes())
    return digest.hexdigest()


def unpack(packed: np.ndarray, fields: list[tuple[int, int]]) -> list[np.ndarray]:
    """Arrays of integers from one stream of bits, of so many numbers of so many bits (0 to 32) each.

    Lowest bit first. Raises ValueError if the stream is not as long as its fields.
    """
    total = sum(count * width for count, width in fields)
    if len(packed) != -(-total // 8):
        raise ValueError(f"{len(packed)} bytes for {total} bits")
    bits, begin, arrays = np.unpackbits(packed, count=total, bitorder="little"), 0, []
    for count, width in fields:
        own = bits[begin : begin + count * width].reshape(count, width)
        whole = np.zeros((count, 4), np.uint8)
        whole[:, : -(-width // 8)] = np.packbits(own, axis=1, bitorder="little")
        arrays.append(whole.view("<u4")[:, 0].astype(np.int64))
        begin += count * width
    return arrays


def grid_shape(shape: tuple[int, ...], size: int) -> tuple[int, int]:
    """Filters, and channels or blocks of size * size inputs, of a layer's weights: (F, C, k, k) or (F, in)."""
    return shape[0], shape[1] if len(shape) == 4 else -(-shape[1] // size**2)


def order_fields(shapes: list[tuple[int, int]], order: str) -> list[tuple[int, int]]:
    """Numbers and bits that an order takes: of each layer n = F C ranks; in_filter C ranks a filter and F a layer; none nothing.

    ceil(log2 n) bits each: 45,476 bytes for the cross_filter order of ResNet-20.
    """
    if order == "none":
        return []
    if order == "in_filter":
        return [field for f, c in shapes for field in ((f * c, bits_for(c)), (f, bits_for(f)))]
    return [(f * c, bits_for(f * c)) for f, c in shapes]


def bits_for(number: int) -> int:
    """Bits that tell so many apart: ceil(log2 number)."""
    return (number - 1).bit_length()


def ranks_in_layers(packed: np.ndarray, shapes: list[tuple[int, int]], order: str) -> list[np.ndarray]:
    """For each layer the rank of each kernel, from 0; raises ValueError if they are no permutation."""
    arrays = unpack(packed, order_fields(shapes, order))
    if order == "none":
        arrays = [np.arange(f * c) for f, c in shapes]
    elif order == "in_filter":
        pairs = zip(shapes, arrays[::2], arrays[1::2], strict=True)
        arrays = [np.repeat(filters, c) * c + channels for (_, c), channels, filters in pairs]
    for rank in arrays:
        if not np.array_equal(np.sort(rank), np.arange(len(rank))):
            raise ValueError("an order that is no permutation")
    return arrays


def embedding(coordinates: Tensor, base: float, levels: int) -> Tensor:
    """Features [kernel, 3 * levels * 2] of coordinates [kernel, 3], as float32 numbers in float64.

    Coordinate by coordinate, level by level: sin(pi b^i p), cos(pi b^i p).
    """
    frequencies = math.pi * base ** torch.arange(levels, dtype=torch.float64)
    angles = coordinates.double().unsqueeze(-1) * frequencies
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1).float().double()


def predictor_layers(tensors: dict[str, Tensor], metadata: dict) -> list[tuple[Tensor, Tensor]]:
    """Weights and biases of the predictor's linear layers in float64; integers are put on their grid."""
    widths = [6 * metadata["embedding_levels"], *4 * [metadata["hidden"]], metadata["size"] ** 2]
    shapes, grid = list(zip(widths[1:], widths, strict=False)), metadata["quantization"]
    flat, rows = tensors["predictor.weights"], [1 for _ in shapes]
    scales = torch.ones(len(shapes))
    if grid is not None:
        (integers,) = unpack(flat.numpy(), [(sum(out * fan_in for out, fan_in in shapes), grid["bits"])])
        flat = torch.from_numpy(integers.astype(np.float32) - (2 ** (grid["bits"] - 1) - 1))
        rows = [out if grid["per"] == "channel" else 1 for out, _ in shapes]
        scales = tensors["scales"]
    weights = flat.split([out * fan_in for out, fan_in in shapes])
    biases = tensors["predictor.biases"].split(widths[1:])
    return [
        ((weight.view(shape) * scale.view(-1, 1)).double(), bias.double())
        for weight, scale, bias, shape in zip(weights, scales.split(rows), biases, shapes, strict=True)
    ]


@torch.no_grad()
def predict(layers: list[tuple[Tensor, Tensor]], coordinates: Tensor, base: float, levels: int) -> Tensor:
    """Kernels [kernel, element] in float32 that the predictor puts out for coordinates [kernel, 3]."""
    parts = []
    for some in coordinates.split(KERNELS_AT_ONCE):
        hidden = embedding(some, base, levels)
        for weight, bias in layers[:-1]:
            hidden = torch.addmm(bias, hidden, weight.T).relu()
        parts.append(torch.addmm(layers[-1][1], hidden, layers[-1][0].T).float())
    return torch.cat(parts)


def layer_weights(kernels: Tensor, shape: tuple[int, ...], size: int) -> Tensor:
    """Weights of one layer from its kernels [kernel, size * size]: the centers of a convolution's, the blocks of a row's."""
    if len(shape) == 2:
        return kernels.reshape(shape[0], -1)[:, : shape[1]].contiguous()
    rim = (size - shape[-1]) // 2
    return kernels.view(*shape[:2], size, size)[..., rim : rim + shape[-1], rim : rim + shape[-1]].contiguous()


def predicted_parameters(tensors: dict[str, Tensor], metadata: dict) -> dict[str, Tensor]:
    """Weights by name of the layers that the predictor holds."""
    size, layers = metadata["size"], predictor_layers(tensors, metadata)
    names = [name for name, _, predicted in metadata["parameters"] if predicted]
    shapes = [tuple(shape) for _, shape, predicted in metadata["parameters"] if predicted]
    grids = [grid_shape(shape, size) for shape in shapes]
    ranks = ranks_in_layers(tensors.get("order", torch.zeros(0, dtype=torch.uint8)).numpy(), grids, metadata["order"])
    parameters = {}
    for n, (name, shape, (_, channels), rank) in enumerate(zip(names, shapes, grids, ranks, strict=True)):
        own = torch.from_numpy(rank)
        coordinates = torch.stack([torch.full_like(own, n), own // channels, own % channels], 1)
        kernels = predict(layers, coordinates, metadata["embedding_base"], metadata["embedding_levels"])
        parameters[name] = layer_weights(kernels, shape, size)
    return parameters


def network_parameters(tensors: dict[str, Tensor], metadata: dict) -> dict[str, Tensor]:
    """All parameters by name, in the network's order: predicted ones and kept ones."""
    kept = {name: shape for name, shape, predicted in metadata["parameters"] if not predicted}
    pieces = tensors["kept"].split([math.prod(shape) for shape in kept.values()])
    whole = predicted_parameters(tensors, metadata)
    whole |= {name: piece.clone().view(shape) for (name, shape), piece in zip(kept.items(), pieces, strict=True)}
    return {name: whole[name] for name, _, _ in metadata["parameters"]}


def network_text(metadata: dict) -> str:
    """The network's description, from which the library builds it."""
    return json.dumps({"spec": metadata["spec"]}, sort_keys=True)


def main(arguments: list[str]) -> str:
    """Decode one file into another, whole or not at all; returns what was done, in one line."""
    if len(arguments) != 2:
        raise DecodeError("usage: python decode.py predictor.safetensors weights.safetensors")
    source, target = Path(arguments[0]), Path(arguments[1])
    try:
        decoded = decode_whole(source)
    except DecodeError as error:
        raise DecodeError(f"{source}: {error}") from error
    data = unparse(decoded.parameters, {"format": "pt", "weightspace": f"{decoded.digest} {decoded.text}"})
    partial = target.with_name(f"{target.name}.partial")
    try:
        partial.write_bytes(data)
        os.replace(partial, target)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise DecodeError(f"{target}: cannot be written ({error.strerror})") from error
    likeness = "bit for bit" if decoded.same else "but not bit for bit"
    return f"{target}: {len(decoded.parameters)} tensors, {len(data):,} bytes, {likeness} the network that was evaluated"


if __name__ == "__main__":
    try:
        print(main(sys.argv[1:]))
    except DecodeError as error:
        sys.exit(str(error))
