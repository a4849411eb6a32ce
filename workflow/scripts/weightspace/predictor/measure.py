"""Measures of the networks that predictors and their controls give, each against its own original."""

from math import ceil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, Int
from scipy.special import bdtr  # scipy.stats would take every job of predictors a second
from torch import Tensor

from weightspace.ensemble import learning_bar, recalibrated
from weightspace.images.tensors import ImageSet, normalize
from weightspace.losses import divergence
from weightspace.nets.forward import forward, unflatten
from weightspace.nets.spec import NetSpec
from weightspace.predictor.artifact import artifact_path, byte_account, flops_decode, flops_inference
from weightspace.predictor.distill import rebuilt
from weightspace.predictor.kernels import Layout, layout_of, to_kernels
from weightspace.predictor.metrics import KERNELS_SCHEMA, SPECTRA_SCHEMA
from weightspace.predictor.model import predict_all
from weightspace.predictor.originals import Originals
from weightspace.predictor.reconstruct import spec_of, target_of
from weightspace.predictor.settings import PredictorSettings
from weightspace.predictor.spectra import measure_layers, singular_values
from weightspace.predictor.train import Predicted
from weightspace.table import Source

PASSES = {"cpu": 512, "cuda": 16384}  # images times networks at once: 4,096 take a CPU and its caches four times as long
SHOWN = 12  # kernels per layer that are kept for figures
LAYERS = 3  # layers of which kernels are kept
TRAIN_IMAGES = 2000  # on which accuracy on train images is measured, at most: it is there for the gap alone
RECALIBRATION_IMAGES = 10_000  # train images whose statistics batch norms get, at most


class EvaluationData(NamedTuple):
    """Originals, and the images that they and others are measured on."""

    spec: NetSpec
    weights: Float[Tensor, "model weight"]
    layout: Layout
    rank: Int[Tensor, "model kernel"]
    models: list[int]  # indices in the zoo
    images: ImageSet


def evaluation_data(
    config: PredictorSettings, originals: Originals, rank: Int[Tensor, "model kernel"], images: ImageSet
) -> EvaluationData:
    """All of it on the device of the images."""
    layout, device = layout_of(originals.spec.shapes, config.kernel_sizes, config.linear), images.train_x.device
    return EvaluationData(originals.spec, originals.weights.to(device), layout, rank.to(device), originals.models, images)


@torch.no_grad()
def answers(
    spec: NetSpec, weights: Float[Tensor, "model weight"], images: ImageSet, split: str
) -> Float[Tensor, "model image class"]:
    """Logits of all networks on the images of a split, of train images on the first TRAIN_IMAGES."""
    x = images.train_x[:TRAIN_IMAGES] if split == "train" else getattr(images, f"{split}_x")
    parts = x.split(max(1, PASSES[weights.device.type] // len(weights)))
    return torch.cat([forward(spec, weights, normalize(part, images).unsqueeze(0)) for part in parts], dim=1)


def compare_answers(
    data: EvaluationData, spec: NetSpec, weights: Float[Tensor, "model weight"]
) -> dict[str, Float[Tensor, " model"]]:
    """Accuracy, and what became of the original's answers; `weights` may be of another spec than the originals'.

    Networks with batch norms are measured once more with the statistics of train images.
    """
    images, theirs = data.images, answers(data.spec, data.weights, data.images, "test")
    measures = compare_logits(answers(spec, weights, images, "test"), theirs, images.test_y)
    measures["accuracy_original"] = accuracy(theirs, images.test_y)
    measures["learned"] = learned(measures["accuracy_original"], images.test_y)
    for which, net, stack in (("predicted", spec, weights), ("original", data.spec, data.weights)):
        measures[f"train_accuracy_{which}"] = accuracy(answers(net, stack, images, "train"), images.train_y[:TRAIN_IMAGES])
    has_statistics = spec.num_weights > spec.num_learned
    return measures | compare_recalibrated(data, spec, weights, theirs) if has_statistics else measures


def compare_recalibrated(
    data: EvaluationData, spec: NetSpec, weights: Float[Tensor, "model weight"], theirs: Float[Tensor, "model image class"]
) -> dict[str, Float[Tensor, " model"]]:
    """Batch norms recalibrated, against what the originals answer as they are, `theirs`; and the originals, recalibrated too."""
    images, labels = data.images, data.images.test_y
    ours, reference = (
        answers(net, with_train_statistics(net, stack, images), images, "test")
        for net, stack in ((spec, weights), (data.spec, data.weights))
    )
    measures = compare_logits(ours, theirs, labels)
    return {
        "accuracy_recalibrated": measures["accuracy_predicted"],
        "accuracy_gain_recalibrated": measures["accuracy_gain"],
        "agreement_recalibrated": measures["agreement"],
        "accuracy_original_recalibrated": accuracy(reference, labels),
    }


def with_train_statistics(
    spec: NetSpec, weights: Float[Tensor, "model weight"], images: ImageSet
) -> Float[Tensor, "model weight"]:
    """Batch norms with the statistics of train images, the first RECALIBRATION_IMAGES at most."""
    return recalibrated(spec, weights, normalize(images.train_x[:RECALIBRATION_IMAGES], images))


def compare_logits(
    ours: Float[Tensor, "model image class"], theirs: Float[Tensor, "model image class"], labels: Int[Tensor, " image"]
) -> dict[str, Float[Tensor, " model"]]:
    """Accuracy of one network's answers, and what became of those of another, model by model."""
    right, before = (logits.argmax(-1) == labels for logits in (ours, theirs))
    return {
        "accuracy_predicted": right.double().mean(1),
        "accuracy_gain": right.double().mean(1) - before.double().mean(1),
        "gained": (right & ~before).double().mean(1),
        "lost": (before & ~right).double().mean(1),
        "mcnemar_p": mcnemar((right & ~before).sum(1), (before & ~right).sum(1)),
        "agreement": (ours.argmax(-1) == theirs.argmax(-1)).double().mean(1),
        "kl": divergence(theirs.double(), ours.double()),
    }


def accuracy(logits: Float[Tensor, "model image class"], labels: Int[Tensor, " image"]) -> Float[Tensor, " model"]:
    """Share of right answers."""
    return (logits.argmax(-1) == labels).double().mean(1)


def learned(accuracies: Float[Tensor, " model"], labels: Int[Tensor, " image"]) -> Float[Tensor, " model"]:
    """1 for a network whose accuracy is above that of the best constant answer by three standard errors, else 0."""
    return (accuracies > learning_bar(labels)).double()


def which_learned(rows: list[dict]) -> str:
    """One sentence for a log: the originals that learned nothing, by the rows `learned`."""
    lost = [row["subject"] for row in rows if row["metric"] == "learned" and not row["value"]]
    if not lost:
        return "every original learned more than a constant answer"
    why = "they are no more accurate than a constant answer; change the learning_rates or epochs of their zoo"
    return f"originals {', '.join(lost)} learned nothing: {why}"


def mcnemar(gained: Int[Tensor, " model"], lost: Int[Tensor, " model"]) -> Float[Tensor, " model"]:
    """Probability of counts at least as unequal if an image is gained or lost with probability 1/2 each: McNemar's exact test."""
    fewer, both = (tensor.numpy(force=True) for tensor in (torch.minimum(gained, lost), gained + lost))
    return torch.from_numpy(2 * bdtr(fewer, both, 0.5)).clamp_max(1.0)


def compare_weights(data: EvaluationData, weights: Float[Tensor, "model weight"]) -> dict[str, Float[Tensor, " model"]]:
    """Errors of the predicted layers and how smooth they are, before and after."""
    ours, theirs = (unflatten(data.spec, stack) for stack in (weights, data.weights))
    measures = {"rmse_weights": rmse(data, weights, data.weights)}
    errors, norms = [], []
    for part in data.layout.parts:
        errors.append((ours[part.name] - theirs[part.name]).double().flatten(1).square().sum(1))
        norms.append(theirs[part.name].double().flatten(1).square().sum(1))
    measures["relative_error_layer"] = (torch.stack(errors, 1) / torch.stack(norms, 1)).sqrt()
    measures["relative_error"] = (sum(errors) / sum(norms)).sqrt()
    for stack, which in ((theirs, "original"), (ours, "predicted")):
        layers = list(measure_layers(data.layout, stack, data.rank).values())
        for name in layers[0]:  # a layer of one kernel has no neighbors: it is left out of their mean
            measures[f"{name}_{which}"] = torch.stack([layer[name] for layer in layers]).nanmean(0)
    return measures


def rmse(
    data: EvaluationData, ours: Float[Tensor, "model weight"], theirs: Float[Tensor, "model weight"]
) -> Float[Tensor, " model"]:
    """Root mean squared difference of the predicted weights."""
    kernels = [to_kernels(data.layout, unflatten(data.spec, stack)).double() for stack in (ours, theirs)]
    return ((kernels[0] - kernels[1]).square().sum((1, 2)) / data.layout.num_weights).sqrt()


def rows_of(source: Source, measures: dict[str, Tensor], models: list[int], round_: int | None = None) -> list[dict]:
    """A row per measure and original, by its index; of measures [model, layer] a row per layer too, but for single rounds."""
    rows = []
    for name, values in measures.items():
        if values.ndim == 1:
            rows += [source.row(name, value, subject=m, at=round_) for m, value in zip(models, values.tolist(), strict=True)]
        elif round_ is None:
            rows += [source.row(name, values[n, at].item(), subject=models[n], at=at) for n, at in np.ndindex(*values.shape)]
    return rows


def round_measures(data: EvaluationData, rounds: list[Float[Tensor, "model weight"]]) -> list[dict[str, Tensor]]:
    """What each round of progressive reconstruction has put out, against the original and against the round before."""
    found, previous, images = [], data.weights, data.images
    theirs = answers(data.spec, data.weights, images, "test")
    for weights in rounds:
        measures = compare_logits(answers(data.spec, weights, images, "test"), theirs, images.test_y)
        found.append(measures | compare_weights(data, weights) | {"rmse_previous": rmse(data, weights, previous)})
        previous = weights
    return found


def measure_predictors(
    source: Source,
    config: PredictorSettings,
    predicted: Predicted,
    data: EvaluationData,
    networks: Float[Tensor, "model weight"],
    folder: str | Path,
) -> list[dict]:
    """Rows of the decoded networks, of the bytes of their files in the folder, and of each round where there are several."""
    measures = compare_answers(data, data.spec, networks) | compare_weights(data, networks) | file_measures(data, folder)
    ones = torch.ones(len(networks))
    measures["num_predictor"] = predicted.weights.shape[1] * ones
    measures["flops_decode"] = flops_decode(data.layout, config.hidden, config.embedding_levels) * ones
    measures["flops_inference"] = flops_inference(data.spec) * ones
    rows = rows_of(source, measures, data.models)
    if len(predicted.rounds) > 1:
        for n, measures in enumerate(round_measures(data, round_networks(config, data, predicted)), start=1):
            rows += rows_of(source, measures, data.models, n)
    print(which_learned(rows))
    return rows


def file_measures(data: EvaluationData, folder: str | Path) -> dict[str, Tensor]:
    """Bytes of each original's file, part by part, against those of the original in float32; and of the file under zstd."""
    files = [artifact_path(folder, model) for model in data.models]
    accounts = [byte_account(file) for file in files]
    parts = {f"bytes_{part}": torch.tensor([float(account[part]) for account in accounts]) for part in accounts[0]}
    total = sum(parts.values())
    zipped = [len(pa.compress(file.read_bytes(), "zstd", asbytes=True)) for file in files]
    return parts | bytes_measures(data, total) | {"bytes_zstd": torch.tensor([float(size) for size in zipped])}


def bytes_measures(data: EvaluationData, total: Float[Tensor, " model"]) -> dict[str, Tensor]:
    """Bytes, and how much smaller they are than the original's parameters in float32."""
    original = torch.full_like(total, 4 * data.weights.shape[1])
    return {"bytes": total, "bytes_original": original, "compression": original / total}


def round_networks(config: PredictorSettings, data: EvaluationData, predicted: Predicted) -> list[Float[Tensor, "model weight"]]:
    """The networks that the predictors of each round put out."""
    kernels = to_kernels(data.layout, unflatten(data.spec, data.weights))
    target = target_of(data.layout, kernels, data.rank, config)
    spec = spec_of(config, target)
    return [
        rebuilt(data.spec, data.weights, data.layout, predict_all(spec, weights.to(kernels), target.table, target.rank))
        for weights in predicted.rounds
    ]


def kernels_table(source: Source, data: EvaluationData, weights: Float[Tensor, "model weight"]) -> pa.Table:
    """Some kernels of the first original, spread over some layers, and what was predicted of them."""
    theirs, ours = (to_kernels(data.layout, unflatten(data.spec, stack[:1]))[0] for stack in (data.weights, weights))
    parts, mask, rows = data.layout.parts, data.layout.mask, []
    for n in sorted(set(torch.linspace(0, len(parts) - 1, LAYERS).round().long().tolist())):
        for kernel in range(parts[n].begin, parts[n].begin + min(SHOWN, parts[n].num_kernels)):
            inside, own = mask[kernel], kernel - parts[n].begin
            if not bool(inside.all()) and len(parts[n].shape) == 2:
                continue  # the rest of a row is no square
            rows.append({
                **source._asdict(), "layer": parts[n].name,
                "filter": own // parts[n].channels, "channel": own % parts[n].channels, "side": ceil(int(inside.sum()) ** 0.5),
                "original": theirs[kernel][inside].tolist(), "predicted": ours[kernel][inside].tolist(),
            })  # fmt: skip
    return pa.Table.from_pylist(rows, schema=KERNELS_SCHEMA)


def spectra_table(source: Source, data: EvaluationData, weights: Float[Tensor, "model weight"]) -> pa.Table:
    """Singular values of every predicted layer of the first original."""
    theirs, ours = (unflatten(data.spec, stack[:1]) for stack in (data.weights, weights))
    rows = [
        {
            **source._asdict(), "layer": part.name,
            "original": singular_values(theirs[part.name])[0].tolist(), "predicted": singular_values(ours[part.name])[0].tolist(),
        }
        for part in data.layout.parts
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=SPECTRA_SCHEMA)
