"""What an autoencoder keeps of a network: reconstruction, agreement, and the collapse controls."""

from collections.abc import Mapping
from math import isfinite
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from weightspace.autoencoder.data import Checkpoints, Population, checkpoints_by_split
from weightspace.autoencoder.features import Probed
from weightspace.autoencoder.model import Autoencoder
from weightspace.autoencoder.probe import probe_metrics
from weightspace.autoencoder.probed import DEFAULT_PROBES, ProbesConfig
from weightspace.autoencoder.refine import Refining, refined, refining_of
from weightspace.autoencoder.settings import cells_of
from weightspace.autoencoder.settings_within import Conditioning
from weightspace.autoencoder.store import Stored
from weightspace.autoencoder.windows import Window, joined, windows, windows_of
from weightspace.behavior import agreement, distance, mixed_queries, noise_queries, output_distance
from weightspace.ensemble import conditioned, outputs
from weightspace.errors import InputError
from weightspace.images.tensors import ImageSet, normalize
from weightspace.nets.forward import learned
from weightspace.nets.spec import NetSpec
from weightspace.rng import generator_for
from weightspace.table import Source
from weightspace.tokens import Codec, layer_scale


class HeldOutNetworks(NamedTuple):
    """Test networks at one epoch, and what the training networks say about them."""

    models: list[int]
    weights: Float[Tensor, "model weight"]
    train_mean: Float[Tensor, " weight"]  # of all training checkpoints
    same_init: Bool[Tensor, "model model"]  # True for two that started from the same tensor; True on the diagonal
    init_mean: Float[Tensor, "model weight"] | None  # of the training networks of the same init; None where there are none


def held_out_networks(splits: dict[str, Checkpoints], epoch: int) -> HeldOutNetworks:
    """Test networks at an epoch, with the means of the training checkpoints."""
    test, train = splits["test"].at_epoch(epoch), splits["train"].at_epoch(epoch)
    ours, theirs = (part.properties["init_tensor"].to_numpy() for part in (test, train))
    shares = torch.from_numpy(ours[:, None] == theirs[None, :]).to(test.weights)  # [test model, train model]
    init_mean = shares @ train.weights / shares.sum(1, keepdim=True) if shares.any(1).all() else None
    same = torch.from_numpy(ours[:, None] == ours[None, :]).to(test.weights.device)
    return HeldOutNetworks(test.models, test.weights, splits["train"].weights.mean(0), same, init_mean)


class Rebuilt(NamedTuple):
    """What came back of the originals."""

    weights: Float[Tensor, "model weight"]
    padding: Float[Tensor, " model"]  # squared norm of what the decoder puts where tokens hold no weight
    numbers: Float[Tensor, " model"] | None = None  # of the code; None where there is none


Networks = TypeVar("Networks", HeldOutNetworks, Rebuilt)


@torch.no_grad()
def reconstruct(
    codec: Codec,
    model: Autoencoder,
    weights: Float[Tensor, "model weight"],
    batch_size: int,
    parts: list[Window] | None = None,
    refining: Refining | None = None,
) -> Rebuilt:
    """Encode and decode networks as they are, without permutation, in these windows or whole; codes may be refined in between."""
    positions, mask = codec.layout.positions, codec.layout.mask
    parts, rebuilt = parts or windows(len(positions)), []

    def decode(codes: Tensor) -> Tensor:
        return joined(model.decode, codes, positions, parts)

    for batch in weights.split(batch_size):
        codes = joined(model.encode, codec.to_tokens(batch), positions, parts)
        if refining:
            codes = refined(refining, lambda codes: codec.to_weights(decode(codes)), codes, batch)
        tokens = decode(codes)
        padding = (tokens * ~mask).square().sum((1, 2))
        rebuilt.append(Rebuilt(codec.to_weights(tokens), padding, torch.full_like(padding, codes[0].numel())))
    return Rebuilt(*(torch.cat(pieces) for pieces in zip(*rebuilt, strict=True)))


def with_statistics(spec: NetSpec, rebuilt: Rebuilt, images: ImageSet | None, config: Conditioning | None) -> Rebuilt:
    """Rebuilt networks whose batch norms, if there are any, are conditioned on val images, if there are any."""
    if not spec.has_statistics or images is None or config is None:
        return rebuilt
    size = (config.batches, config.batch_size)
    batches = torch.randint(len(images.val_x), size, generator=generator_for("conditioning", *size))
    return rebuilt._replace(weights=conditioned(spec, rebuilt.weights, normalize(images.val_x, images), batches))


def reconstruction_metrics(
    spec: NetSpec, originals: HeldOutNetworks, rebuilt: Rebuilt, images: ImageSet | None
) -> dict[str, Float[Tensor, " model"]]:
    """Each metric as one value per network, whose mean over networks is the metric.

    Structure: R2 and distances of weights, retrieval of the own original among the originals, diversity.
    Behavior, on test images, on blends of two of them, and under noise: agreement with the own original, with the
    others, with the others of the same init, and of the originals with each other; retrieval by outputs. Without images
    there is structure alone.
    """
    metrics = structure_metrics(*(of_learned(spec, networks) for networks in (originals, rebuilt)))
    if images is None:
        print("the zoo has no images: agreement, accuracies and outputs are not measured")
        return metrics
    test = normalize(images.test_x, images)
    generator = generator_for("evaluation_queries")
    mixed, noise = mixed_queries(test, images.test_y, generator), noise_queries(test, generator)
    for suffix, queries in {"": test, "_mixed": mixed, "_noise": noise}.items():
        original, weights = outputs(spec, originals.weights, queries), outputs(spec, rebuilt.weights, queries)
        measured = behavior_metrics(original, weights, originals.same_init)
        metrics |= {name + suffix: values for name, values in measured.items()}
        if not suffix:
            metrics |= accuracy_metrics(original.argmax(-1), weights.argmax(-1), images.test_y)
    return metrics


def of_learned(spec: NetSpec, networks: Networks) -> Networks:
    """The same without running statistics, which are measured and not learned."""
    if not spec.has_statistics:
        return networks
    kept = learned(spec)
    vectors = ("weights", "train_mean", "init_mean")
    values = {name: value for name, value in networks._asdict().items() if name in vectors and value is not None}
    return networks._replace(**{name: value[..., kept.to(value.device)] for name, value in values.items()})


def structure_metrics(originals: HeldOutNetworks, rebuilt: Rebuilt) -> dict[str, Float[Tensor, " model"]]:
    """Metrics of learned weights alone, in the weights' own units.

    Deviations are squared distances of the networks from the mean of the *training* checkpoints; within init, from the
    mean of the training networks that started from the same tensor. R2 is derived: 1 - mean squared error / mean
    deviation. The unmasked distance also counts what the decoder puts into padding, as the published tables did.
    """
    original, weights = originals.weights, rebuilt.weights
    error = (weights - original).square().sum(1)
    metrics = {
        "weights_squared_error": error,
        "weights_deviation": (original - originals.train_mean).square().sum(1),
        "weights_l2": error.sqrt(),
        "weights_l2_unmasked": (error + rebuilt.padding).sqrt(),
        "retrieval_weights": own_is_nearest(distance(weights, original)),
        "retrieval_chance": 1 / originals.same_init.sum(1),
        "diversity_original": mean_over_others(distance(original, original)),
        "diversity_reconstruction": mean_over_others(distance(weights, weights)),
    }
    if rebuilt.numbers is not None:
        metrics["code_numbers"] = rebuilt.numbers
    if originals.init_mean is not None:
        metrics["weights_deviation_within_init"] = (original - originals.init_mean).square().sum(1)
    return metrics


def behavior_metrics(
    original: Float[Tensor, "model query class"],
    reconstruction: Float[Tensor, "model query class"],
    same_init: Bool[Tensor, "model model"],
) -> dict[str, Float[Tensor, " model"]]:
    """Agreement with the own original and with others, between originals, and retrieval by softmax outputs.

    Agreement with others of the same init is there only where every network has such others.
    """
    pairs = agreement(reconstruction.argmax(-1), original.argmax(-1))
    metrics = {
        "agreement_own": pairs.diagonal(),
        "agreement_other": mean_over_others(pairs),
        "agreement_originals": mean_over_others(agreement(original.argmax(-1), original.argmax(-1))),
        "retrieval_outputs": own_is_nearest(output_distance(reconstruction, original)),
    }
    others = same_init.float().fill_diagonal_(0)
    if others.any(1).all():
        metrics["agreement_same_init"] = (pairs * others).sum(1) / others.sum(1)
    return metrics


def accuracy_metrics(
    original: Int[Tensor, "model query"], reconstruction: Int[Tensor, "model query"], labels: Int[Tensor, " query"]
) -> dict[str, Float[Tensor, " model"]]:
    """Test accuracy, and how much answers differ within the originals and within the reconstructions."""
    return {
        "accuracy_original": (original == labels).float().mean(1),
        "accuracy_reconstruction": (reconstruction == labels).float().mean(1),
        "diversity_outputs_original": mean_over_others(1 - agreement(original, original)),
        "diversity_outputs_reconstruction": mean_over_others(1 - agreement(reconstruction, reconstruction)),
    }


def own_is_nearest(distances: Float[Tensor, "model model"]) -> Float[Tensor, " model"]:
    """1 where the smallest distance of a row is on the diagonal, 0 elsewhere; a tie is not a hit."""
    own = distances.diagonal().unsqueeze(1)
    nearer = (distances <= own).sum(1)
    return (nearer == 1).float()


def mean_over_others(pairs: Float[Tensor, "model model"]) -> Float[Tensor, " model"]:
    """Mean of each row without its diagonal entry."""
    return (pairs.sum(1) - pairs.diagonal()) / (len(pairs) - 1)


def evaluate_autoencoders(
    autoencoders: dict[str, Stored],
    zoos: list[Population],
    source: Source,
    device: torch.device,
    probes: ProbesConfig = DEFAULT_PROBES,
) -> list[dict]:
    """Rows of an autoencoder on each of its zoos, which each have a cell of their own where there are several."""
    cells, rows = cells_of(source.cell, list(autoencoders)), []
    for each in zoos:
        stored = autoencoders[each.name]
        splits = checkpoints_by_split(stored.config, each, device)
        rows += evaluate_autoencoder(stored, splits, each.images, source._replace(cell=cells[each.name]), probes)
    return rows


def evaluate_autoencoder(
    stored: Stored,
    splits: dict[str, Checkpoints],
    images: ImageSet | None,
    source: Source,
    probes: ProbesConfig = DEFAULT_PROBES,
) -> list[dict]:
    """Rows of all metrics, one per test model: reconstruction at the last epoch of the settings, probes over all of them."""
    codecs, config = {split: codec_of(stored, part.weights) for split, part in splits.items()}, stored.config
    originals = held_out_networks(splits, splits["test"].last_epoch)
    refining = refining_of(config.refine, stored.codec.spec, codecs["test"].scale, images)
    rebuilt = rebuild_test(stored, codecs["test"], splits["test"], refining)
    rebuilt = with_statistics(stored.codec.spec, rebuilt, images, config.conditioning)
    rows = metric_rows(source, originals.models, reconstruction_metrics(stored.codec.spec, originals, rebuilt, images))
    return rows + metric_rows(source, splits["test"].models, probe_metrics(Probed(stored, codecs, splits, images, probes)))


def codec_of(stored: Stored, weights: Float[Tensor, "checkpoint weight"]) -> Codec:
    """What turns a split into tokens and back: with the scale of the train models, or, as SANE's code, with its own."""
    config, codec = stored.config, stored.codec
    if config.scale_from == "train" or not config.standardize:
        return codec
    return codec._replace(scale=layer_scale(codec.spec, weights, config.batch_norm_tokens, config.scale_deviation))


def rebuild_test(stored: Stored, codec: Codec, test: Checkpoints, refining: Refining | None = None) -> Rebuilt:
    """Reconstructions of the test networks at the last epoch, encoded beside each other or beside all epochs, as published."""
    config, epoch = stored.config, test.last_epoch
    parts = windows_of(config, len(codec.layout.index))
    if config.evaluation_mates == "last_epoch":
        return reconstruct(codec, stored.trained, test.at_epoch(epoch).weights, config.evaluation_batch, parts, refining)
    last = torch.tensor((test.properties["epoch"] == epoch).to_numpy())
    whole = reconstruct(codec, stored.trained, test.weights, config.evaluation_batch, parts, refining)
    return Rebuilt(*(values[last] for values in whole))


def metric_rows(source: Source, models: list[int], metrics: Mapping[str, Tensor | np.ndarray]) -> list[dict]:
    """One row per metric and model; raises InputError that names `source` and the first that is not finite."""
    rows = [
        source.row(name, value, subject=model)
        for name, values in metrics.items()
        for model, value in zip(models, values.tolist(), strict=True)
    ]
    if broken := [row for row in rows if not isfinite(row["value"])]:
        told = f"{broken[0]['metric']} of model {broken[0]['subject']}"
        raise InputError(f"{source.stage} {source.cell!r}, seed {source.seed}: {told} is not finite, as of what diverged")
    return rows
