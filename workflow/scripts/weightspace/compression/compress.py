"""Plain compression of a network: fewer bits, fewer weights or fewer singular values, then zstd.

What predictors and codes have to be compared with at equal bytes. All of the file is counted: names, scales, masks, kept tensors.
"""

import json
from collections.abc import Callable, Collection, Iterator
from itertools import groupby
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor

from weightspace.compression.decode import parse, unpack, unparse
from weightspace.compression.quantize import Quantized, dequantize, levels, pack, quantize_clipped
from weightspace.errors import InputError

ZSTD_LEVEL = 19

Parameters = dict[str, Float[Tensor, "..."]]


class Compressed(NamedTuple):
    """A network as one string of bytes, and what it is after decompression."""

    blob: bytes
    parameters: Parameters
    header: int  # bytes of the blob that tell names, shapes and settings, which networks of one architecture could share


def compress_quantized(parameters: Parameters, names: Collection[str], bits: int) -> Compressed:
    """Weights of `names` as integers with a float32 scale per output (`quantize_clipped`); other parameters as they are.

    Integers lie in bits or in bytes, whichever zstd makes smaller: its entropy coding goes by bytes, of 1 bit at least.
    """

    def layer(weight: Tensor, packed: bool) -> dict[str, Tensor]:
        integers, scales = quantize_clipped(weight.flatten(1).float(), bits)
        if packed:
            shifted = integers.numpy().ravel().astype(np.int64) + levels(bits)
            integers = torch.from_numpy(pack([(shifted, bits)]))
        return {"integers": integers, "scales": scales}

    candidates = [
        _compress(parameters, names, lambda _, w, packed=packed: layer(w, packed), {"bits": bits, "packed": packed})
        for packed in (True, False)
    ]
    return min(candidates, key=lambda candidate: len(candidate.blob))


def compress_pruned(parameters: Parameters, names: Collection[str], kept_share: float) -> Compressed:
    """The largest weights in magnitude of all of `names` together, as float16, with a bit per weight that tells which."""
    magnitudes = torch.cat([parameters[name].detach().cpu().abs().flatten() for name in names])
    chosen = torch.zeros(len(magnitudes), dtype=torch.bool)
    chosen[magnitudes.topk(round(kept_share * len(magnitudes))).indices] = True
    masks = dict(zip(names, chosen.split([parameters[name].numel() for name in names]), strict=True))

    def layer(name: str, weight: Tensor) -> dict[str, Tensor]:
        bits = torch.from_numpy(np.packbits(masks[name].numpy(), bitorder="little"))
        return {"mask": bits, "values": _half(name, weight.flatten()[masks[name]])}

    return _compress(parameters, names, layer, {})


def compress_low_rank(parameters: Parameters, names: Collection[str], kept_share: float) -> Compressed:
    """Of each layer, as a matrix F x (C k k), the share of its largest singular values (at least one), as two float16 factors.

    A layer whose factors would be no smaller than its weights is kept whole, as float16.
    """

    def layer(name: str, weight: Tensor) -> dict[str, Tensor]:
        matrix = weight.flatten(1)
        left, values, right = torch.linalg.svd(matrix.double(), full_matrices=False)
        rank = max(1, round(kept_share * len(values)))
        if rank * sum(matrix.shape) >= matrix.numel():
            return {"values": _half(name, matrix.flatten())}
        root = values[:rank].sqrt()
        return {"left": _half(name, left[:, :rank] * root), "right": _half(name, root[:, None] * right[:rank])}

    return _compress(parameters, names, layer, {})


def decompress(blob: bytes) -> Parameters:
    """Parameters by name, from bytes alone; raises InputError for bytes that none of these made."""
    try:
        tensors, entries = parse(pa.CompressedInputStream(pa.BufferReader(blob), "zstd").read())
        settings = json.loads(entries["compressed"])
        kept = {name.removeprefix("kept."): tensor for name, tensor in tensors.items() if name.startswith("kept.")}
        return kept | {name: _restored(name, shape, tensors, settings) for name, shape in settings["shapes"]}
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise InputError(f"not a whole compressed network ({' '.join(str(error).split())})") from error


def _compress(
    parameters: Parameters, names: Collection[str], layer: Callable[[str, Tensor], dict[str, Tensor]], settings: dict
) -> Compressed:
    """The tensors that `layer` makes of the weights of `names`, and all else as it is, as one string of bytes."""
    parameters = {name: tensor.detach().cpu() for name, tensor in parameters.items()}
    tensors = {f"kept.{name}": tensor for name, tensor in parameters.items() if name not in names}
    for name in names:
        tensors |= {f"{kind}.{name}": tensor for kind, tensor in layer(name, parameters[name]).items()}
    settings = settings | {"shapes": [[name, list(parameters[name].shape)] for name in names]}
    header, *sections = _sections(tensors, {"compressed": json.dumps(settings)})
    blob = b"".join([header, *sections])
    return Compressed(blob, decompress(blob), len(header))


def _sections(tensors: dict[str, Tensor], entries: dict[str, str]) -> Iterator[bytes]:
    """The file's header and each kind of its tensors, which lie in the order of their names, as zstd frames.

    Frames that follow each other are read as one; in a single one floats among 3-bit integers of ResNet-20 took 8 % more bytes.
    """
    data, codec = unparse(tensors, entries), pa.Codec("zstd", compression_level=ZSTD_LEVEL)
    end = len(data) - sum(tensor.nbytes for tensor in tensors.values())
    yield codec.compress(data[:end], asbytes=True)
    for _, names in groupby(sorted(tensors), key=lambda name: name.partition(".")[0]):
        begin, end = end, end + sum(tensors[name].nbytes for name in names)
        yield codec.compress(data[begin:end], asbytes=True)


def _half(name: str, values: Tensor) -> Tensor:
    """Float16; weights beyond its range are not made infinite in silence."""
    half = values.half()
    if not half.isfinite().all():
        raise InputError(f"{name} has weights beyond the range of float16")
    return half


def _restored(name: str, shape: list[int], tensors: dict[str, Tensor], settings: dict) -> Tensor:
    """Weights of one layer from what is stored of it."""
    if f"integers.{name}" in tensors:
        integers = tensors[f"integers.{name}"]
        if settings["packed"]:
            (shifted,) = unpack(integers.numpy(), [(int(np.prod(shape)), settings["bits"])])
            integers = torch.from_numpy((shifted - levels(settings["bits"])).astype(np.int8))
        return dequantize(Quantized(integers.view(shape[0], -1), tensors[f"scales.{name}"])).view(shape)
    if f"left.{name}" in tensors:
        return (tensors[f"left.{name}"].double() @ tensors[f"right.{name}"].double()).float().view(shape)
    values = tensors[f"values.{name}"].float()
    if f"mask.{name}" in tensors:
        bits = np.unpackbits(tensors[f"mask.{name}"].numpy(), count=int(np.prod(shape)), bitorder="little")
        values = torch.zeros(len(bits)).masked_scatter(torch.from_numpy(bits).bool(), values)
    return values.view(shape)
