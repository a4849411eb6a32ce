"""The file one can ship: a predictor, and all else that makes the network of it.

One safetensors file of `store.save_tensors` with tensors `predictor.weights` and `predictor.biases`, `scales` (of integers),
`order` (bits) and `kept`, each flat, since names and shapes of many small tensors would take more bytes than their numbers;
the rest is in its metadata. `decode` reads it without this library.
"""

from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from weightspace.compression import decode
from weightspace.compression.quantize import levels, pack, quantize
from weightspace.errors import InputError
from weightspace.jobs import MANIFEST, Job, read_header
from weightspace.nets.forward import flatten, unflatten
from weightspace.nets.spec import NetSpec
from weightspace.predictor.kernels import Layout
from weightspace.predictor.model import NUM_HIDDEN
from weightspace.predictor.originals import Originals
from weightspace.predictor.reconstruct import spec_of
from weightspace.predictor.settings import PredictorSettings
from weightspace.predictor.train import Predicted, Task
from weightspace.store import load_tensors, save_tensors

PARTS = ("predictor", "scales", "order", "kept")


class Embedding(NamedTuple):
    """How coordinates become features."""

    base: float  # ratio of the frequencies of successive levels
    levels: int


class Grid(NamedTuple):
    """The integers that a predictor's matrices are rounded to."""

    bits: int
    per: str  # tensor or channel


class Artifact(NamedTuple):
    """One original's predictor, and what it does not predict."""

    spec: NetSpec
    layout: Layout
    predictor: dict[str, Float[Tensor, "..."]]  # linear1.weight, linear1.bias, .. linear5.bias
    order: str
    rank: Int[Tensor, " kernel"]
    kept: dict[str, Float[Tensor, "..."]]  # parameters that are not predicted, running statistics too
    embedding: Embedding
    grid: Grid | None  # null: float32


def kept_parameters(layout: Layout, parameters: dict[str, Float[Tensor, "..."]]) -> dict[str, Float[Tensor, "..."]]:
    """What a predictor of `layout` leaves as it is."""
    predicted = {part.name for part in layout.parts}
    return {name: tensor for name, tensor in parameters.items() if name not in predicted}


def save_artifact(path: str | Path, artifact: Artifact) -> dict[str, Float[Tensor, "..."]]:
    """Write the file, whole or not at all; returns the parameters that it decodes to.

    Raises InputError if the order cannot be written as such, or predicted and kept are not the parameters of the spec.
    """
    predicted = {part.name: part.shape for part in artifact.layout.parts}
    shapes = predicted | {name: tuple(tensor.shape) for name, tensor in artifact.kept.items()}
    if shapes != artifact.spec.shapes:
        raise InputError("what is predicted and what is kept are not together the parameters of the network")
    tensors = _predictor_tensors(artifact.predictor, artifact.grid)
    kept = [name for name in artifact.spec.shapes if name not in predicted]
    tensors["kept"] = torch.cat([torch.zeros(0), *(artifact.kept[name].flatten().cpu() for name in kept)])
    if artifact.order == "none":
        if not torch.equal(artifact.rank.cpu(), torch.arange(artifact.layout.num_kernels)):
            raise InputError("the order none has no ranks but the kernels' own")
    else:
        tensors["order"] = torch.from_numpy(packed_order(artifact.layout, artifact.rank, artifact.order))
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {
        "format": decode.FORMAT,
        "version": decode.VERSION,
        "spec": artifact.spec.description,
        "parameters": [[name, list(shape), name in predicted] for name, shape in artifact.spec.shapes.items()],
        "size": artifact.layout.size,
        "order": artifact.order,
        "embedding_base": artifact.embedding.base,
        "embedding_levels": artifact.embedding.levels,
        "hidden": artifact.predictor["linear1.bias"].numel(),
        "quantization": artifact.grid and artifact.grid._asdict(),
    }
    parameters = decode.network_parameters(tensors, metadata)
    decoded = decode.digest_of(parameters, decode.network_text(metadata))
    save_tensors(path, tensors, metadata | {"decoded": decoded})
    return parameters


def save_artifacts(
    config: PredictorSettings, task: Task, predicted: Predicted, folder: str | Path, job: Job | None = None
) -> Float[Tensor, "model weight"]:
    """Write one file per original, and a manifest that says who they are; returns the networks that they decode to."""
    spec, networks, folder = spec_of(config, task.target), [], Path(folder)
    parameters, predictors = unflatten(task.originals.spec, task.originals.weights), unflatten(spec, predicted.weights)
    embedding = Embedding(config.embedding_base, config.embedding_levels)
    grid = config.quantization and Grid(config.quantization.bits, config.quantization.per)
    folder.mkdir(parents=True, exist_ok=True)
    files = [artifact_path(folder, model) for model in task.originals.models]
    for n, rank in enumerate(task.target.rank):
        own, predictor = ({name: tensor[n] for name, tensor in stack.items()} for stack in (parameters, predictors))
        kept = kept_parameters(task.layout, own)
        artifact = Artifact(task.originals.spec, task.layout, predictor, config.order, rank, kept, embedding, grid)
        decoded = save_artifact(files[n], artifact)
        networks.append(flatten(task.originals.spec, decoded))
    digests = {file.name: read_header(file).digest for file in files}
    save_tensors(folder / MANIFEST, {}, digests, job)
    return torch.stack(networks)


def load_artifacts(originals: Originals, folder: str | Path) -> Float[Tensor, "model weight"]:
    """The networks that the files of `save_artifacts` decode to, one per original.

    Raises InputError naming a file that is not the one of its manifest.
    """
    _, digests = load_tensors(Path(folder) / MANIFEST)
    paths = [artifact_path(folder, model) for model in originals.models]
    for path in paths:
        if digests.get(path.name) != read_header(path).digest:
            raise InputError(f"{path}: is not the file that the manifest beside it says: remove the folder, to make it again")
    return torch.stack([flatten(originals.spec, load_network(path)) for path in paths])


def artifact_path(folder: str | Path, original: int) -> Path:
    """Where the file of an original lies, by its index in the zoo."""
    return Path(folder) / f"original-{original}.safetensors"


def load_network(path: str | Path) -> dict[str, Float[Tensor, "..."]]:
    """Parameters by name that a file of `save_artifact` decodes to; raises InputError naming the file if it does not."""
    try:
        return decode.decode(path)
    except decode.DecodeError as error:
        raise InputError(f"{path}: {error}") from error


def _predictor_tensors(predictor: dict[str, Tensor], grid: Grid | None) -> dict[str, Tensor]:
    """Layer after layer: biases, and weights as float32 or as the bits of integers with their scales."""
    weights = [predictor[f"linear{n}.weight"].float() for n in range(1, NUM_HIDDEN + 2)]
    biases = torch.cat([predictor[f"linear{n}.bias"].float() for n in range(1, NUM_HIDDEN + 2)])
    if grid is None:
        return {"predictor.weights": torch.cat([weight.flatten() for weight in weights]), "predictor.biases": biases}
    quantized = [quantize(weight, *grid) for weight in weights]
    integers = torch.cat([each.integers.flatten() for each in quantized]).numpy(force=True)
    shifted = integers.astype(np.int64) + levels(grid.bits)  # from 0 on
    scales = torch.cat([each.scales.flatten() for each in quantized])
    bits = torch.from_numpy(pack([(shifted, grid.bits)]))
    return {"predictor.weights": bits, "predictor.biases": biases, "scales": scales}


def packed_order(layout: Layout, rank: Int[Tensor, " kernel"], order: str) -> UInt8[np.ndarray, " byte"]:
    """The bits of an order, as many as `decode.order_fields` counts; raises InputError if in_filter ranks leave their filters."""
    arrays = []
    for part in layout.parts:
        own = rank[part.rows].numpy(force=True) - part.begin
        if order == "in_filter":
            filters, channels = own.reshape(part.filters, -1) // part.channels, own % part.channels
            if (filters != filters[:, :1]).any():
                raise InputError(f"the ranks of {part.name} are no order in filters: kernels of one filter are in several")
            arrays += [channels, filters[:, 0]]
        else:
            arrays.append(own)
    fields = decode.order_fields([(part.filters, part.channels) for part in layout.parts], order)
    return pack([(values, width) for values, (_, width) in zip(arrays, fields, strict=True)])


def byte_account(source: bytes | str | Path) -> dict[str, int]:
    """Bytes of a file by part: predictor, scales, order, kept and header, whose sum is the file's size.

    The header holds names, shapes, spec and hashes. Raises InputError if the file is not a predictor's.
    """
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    try:
        tensors, _ = decode.read(data)
    except decode.DecodeError as error:
        raise InputError(f"not a predictor's file: {error}") from error
    account = dict.fromkeys(PARTS, 0)
    for name, tensor in tensors.items():
        account[name.partition(".")[0]] += tensor.nbytes
    return account | {"header": len(data) - sum(account.values())}


def flops_decode(layout: Layout, hidden: int, embedding_levels: int = 40) -> int:
    """Operations of one decoding, a multiply-add counted as 2: 2 n (6 L h + 3 h^2 + h size^2) for n kernels.

    Left out: sines and cosines of the embedding (6 L per kernel), biases, ReLU, unpacking.
    """
    return 2 * layout.num_kernels * (6 * embedding_levels * hidden + 3 * hidden**2 + hidden * layout.size**2)


def flops_inference(spec: NetSpec) -> int:
    """Operations of one image through the network, a multiply-add counted as 2: of convolutions and linear layers.

    Left out: biases, norms, activations, pooling, additions, products within attention.
    """
    return sum(2 * prod((*op.weights.weight_shape, *op.made.shape[1:])) for op in spec.ops if op.weights is not None)
