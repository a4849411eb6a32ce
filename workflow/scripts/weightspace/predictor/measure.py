"""Measure: networks that predictors and their controls give, each against its own original."""

from math import ceil
from typing import NamedTuple

import pyarrow as pa
import torch
from jaxtyping import Float, Int
from scipy.special import bdtr  # scipy.stats would take every job of predictors a second
from torch import Tensor

from weightspace.images.tensors import ImageSet, normalize
from weightspace.metrics import KERNELS_SCHEMA, SPECTRA_SCHEMA, Source
from weightspace.nets.forward import forward, unflatten
from weightspace.nets.spec import NetSpec
from weightspace.predictor.kernels import Layout, to_kernels
from weightspace.predictor.originals import Originals, divergence, recalibrated
from weightspace.predictor.spectra import measure_layers, singular_values

PASSES = {"cpu": 512, "cuda": 16384}  # images times networks at once: 4,096 take a CPU and its caches four times as long
SHOWN = 12  # kernels per layer that are kept for figures
LAYERS = 3  # layers of which kernels are kept
TRAIN_IMAGES = 2000  # on which accuracy on train images is measured, at most: it is there for the gap alone
RECALIBRATION_IMAGES = 10_000  # train images whose statistics batch norms get, at most


class Bench(NamedTuple):
    """Originals, and the images that they and others are measured on."""

    spec: NetSpec
    weights: Float[Tensor, "model weight"]
    layout: Layout
    rank: Int[Tensor, "model kernel"]
    images: ImageSet


def bench_of(
    originals: Originals, layout: Layout, rank: Int[Tensor, "model kernel"], images: ImageSet, device: torch.device
) -> Bench:
    """All of it where networks run."""
    return Bench(originals.spec, originals.weights.to(device), layout, rank.to(device), images.to(device))


@torch.no_grad()
def answers(
    spec: NetSpec, weights: Float[Tensor, "model weight"], images: ImageSet, split: str
) -> Float[Tensor, "model image class"]:
    """Logits of all networks on the images of a split, of train images on the first TRAIN_IMAGES."""
    x = images.train_x[:TRAIN_IMAGES] if split == "train" else getattr(images, f"{split}_x")
    parts = x.split(max(1, PASSES[weights.device.type] // len(weights)))
    return torch.cat([forward(spec, weights, normalize(part, images).unsqueeze(0)) for part in parts], dim=1)


def compare_answers(bench: Bench, spec: NetSpec, weights: Float[Tensor, "model weight"]) -> dict[str, Float[Tensor, " model"]]:
    """Accuracy, and what became of the original's answers; `weights` may be of another spec than the originals'.

    Networks with batch norms are measured once more with the statistics of train images.
    """
    images, theirs = bench.images, answers(bench.spec, bench.weights, bench.images, "test")
    measures = compare_logits(answers(spec, weights, images, "test"), theirs, images.test_y)
    measures["accuracy_original"] = accuracy(theirs, images.test_y)
    for which, net, stack in (("predicted", spec, weights), ("original", bench.spec, bench.weights)):
        measures[f"train_accuracy_{which}"] = accuracy(answers(net, stack, images, "train"), images.train_y[:TRAIN_IMAGES])
    has_statistics = spec.num_weights > spec.num_learned
    return measures | compare_recalibrated(bench, spec, weights, theirs) if has_statistics else measures


def compare_recalibrated(
    bench: Bench, spec: NetSpec, weights: Float[Tensor, "model weight"], theirs: Float[Tensor, "model image class"]
) -> dict[str, Float[Tensor, " model"]]:
    """Batch norms recalibrated, against what the originals answer as they are, `theirs`; and the originals, recalibrated too."""
    images, labels = bench.images, bench.images.test_y
    ours, reference = (
        answers(net, with_train_statistics(net, stack, images), images, "test")
        for net, stack in ((spec, weights), (bench.spec, bench.weights))
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


def measure_originals(source: Source, originals: Originals, images: ImageSet) -> list[dict]:
    """Rows of the networks themselves; the images lie where they run."""
    logits = answers(originals.spec, originals.weights.to(images.train_x.device), images, "test")
    return rows_of(source, {"test_accuracy": accuracy(logits, images.test_y)})


def mcnemar(gained: Int[Tensor, " model"], lost: Int[Tensor, " model"]) -> Float[Tensor, " model"]:
    """Probability of counts at least as unequal if an image is gained or lost with probability 1/2 each: McNemar's exact test."""
    fewer, both = (tensor.numpy(force=True) for tensor in (torch.minimum(gained, lost), gained + lost))
    return torch.from_numpy(2 * bdtr(fewer, both, 0.5)).clamp_max(1.0)


def compare_weights(bench: Bench, weights: Float[Tensor, "model weight"]) -> dict[str, Float[Tensor, " model"]]:
    """Errors of the predicted layers and how smooth they are, before and after."""
    ours, theirs = (unflatten(bench.spec, stack) for stack in (weights, bench.weights))
    measures = {"rmse_weights": rmse(bench, weights, bench.weights)}
    errors, norms = [], []
    for n, part in enumerate(bench.layout.parts):
        errors.append((ours[part.name] - theirs[part.name]).double().flatten(1).square().sum(1))
        norms.append(theirs[part.name].double().flatten(1).square().sum(1))
        measures[f"relative_error_layer_{n}"] = (errors[-1] / norms[-1]).sqrt()
    measures["relative_error"] = (sum(errors) / sum(norms)).sqrt()
    for stack, which in ((theirs, "original"), (ours, "predicted")):
        layers = list(measure_layers(bench.layout, stack, bench.rank).values())
        for name in layers[0]:  # a layer of one kernel has no neighbors, and no say in their mean
            measures[f"{name}_{which}"] = torch.stack([layer[name] for layer in layers]).nanmean(0)
    return measures


def rmse(bench: Bench, ours: Float[Tensor, "model weight"], theirs: Float[Tensor, "model weight"]) -> Float[Tensor, " model"]:
    """Root mean squared difference of the predicted weights."""
    kernels = [to_kernels(bench.layout, unflatten(bench.spec, stack)).double() for stack in (ours, theirs)]
    return ((kernels[0] - kernels[1]).square().sum((1, 2)) / bench.layout.num_weights).sqrt()


def rows_of(source: Source, measures: dict[str, Tensor], suffix: str = "") -> list[dict]:
    """A row per measure and original."""
    return [
        source.row(f"{name}{suffix}", float(value), subject=n)
        for name, values in measures.items()
        for n, value in enumerate(values)
    ]


def round_measures(bench: Bench, rounds: list[Float[Tensor, "model weight"]]) -> list[dict[str, Tensor]]:
    """What each round of progressive reconstruction has put out, against the original and against the round before."""
    found, previous, images = [], bench.weights, bench.images
    theirs = answers(bench.spec, bench.weights, images, "test")
    for weights in rounds:
        measures = compare_logits(answers(bench.spec, weights, images, "test"), theirs, images.test_y)
        found.append(measures | compare_weights(bench, weights) | {"rmse_previous": rmse(bench, weights, previous)})
        previous = weights
    return found


def kernels_table(source: Source, bench: Bench, weights: Float[Tensor, "model weight"]) -> pa.Table:
    """Some kernels of the first original, spread over some layers, and what was predicted of them."""
    theirs, ours = (to_kernels(bench.layout, unflatten(bench.spec, stack[:1]))[0] for stack in (bench.weights, weights))
    parts, mask, rows = bench.layout.parts, bench.layout.mask, []
    for n in sorted(set(torch.linspace(0, len(parts) - 1, LAYERS).round().long().tolist())):
        for kernel in range(parts[n].begin, parts[n].begin + min(SHOWN, parts[n].num_kernels)):
            inside, own = mask[kernel], kernel - parts[n].begin
            if not bool(inside.all()) and len(parts[n].shape) == 2:
                continue  # the rest of a row is no square
            rows.append({
                "scenario": source.scenario, "cell": source.cell, "seed": source.seed, "layer": parts[n].name,
                "filter": own // parts[n].channels, "channel": own % parts[n].channels, "side": ceil(int(inside.sum()) ** 0.5),
                "original": theirs[kernel][inside].tolist(), "predicted": ours[kernel][inside].tolist(),
            })  # fmt: skip
    return pa.Table.from_pylist(rows, schema=KERNELS_SCHEMA)


def spectra_table(source: Source, bench: Bench, weights: Float[Tensor, "model weight"]) -> pa.Table:
    """Singular values of every predicted layer of the first original."""
    theirs, ours = (unflatten(bench.spec, stack[:1]) for stack in (bench.weights, weights))
    rows = [
        {
            "scenario": source.scenario, "cell": source.cell, "seed": source.seed, "layer": part.name,
            "original": singular_values(theirs[part.name])[0].tolist(), "predicted": singular_values(ours[part.name])[0].tolist(),
        }
        for part in bench.layout.parts
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=SPECTRA_SCHEMA)
