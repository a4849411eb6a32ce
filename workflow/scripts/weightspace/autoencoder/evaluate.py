"""What an autoencoder keeps of a network: reconstruction, agreement, and the collapse controls."""

from collections.abc import Callable, Mapping
from functools import partial
from math import isfinite
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from weightspace.autoencoder.data import Checkpoints, Population, checkpoints_by_split
from weightspace.autoencoder.model import Autoencoder
from weightspace.autoencoder.probe import probe_metrics
from weightspace.autoencoder.rate import Codes, Sizes, rate_metrics
from weightspace.autoencoder.refine import Refining, refined, refining_of
from weightspace.autoencoder.settings import cells_of
from weightspace.autoencoder.settings_within import Conditioning
from weightspace.autoencoder.store import Stored
from weightspace.autoencoder.windows import Window, joined, windows, windows_of
from weightspace.behavior import agreement, distance, mixed_queries, noise_queries, output_distance
from weightspace.ensemble import conditioned, each_by_its_own, outputs
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
    specs: list[NetSpec] | None = None  # of each; None: all are of the zoo's


def held_out_networks(splits: dict[str, Checkpoints], epoch: int) -> HeldOutNetworks:
    """Test networks at an epoch, with the means of the training checkpoints."""
    test, train = splits["test"].at_epoch(epoch), splits["train"].at_epoch(epoch)
    ours, theirs = (part.properties["init_tensor"].to_numpy() for part in (test, train))
    shares = torch.from_numpy(ours[:, None] == theirs[None, :]).to(test.weights)  # [test model, train model]
    init_mean = shares @ train.weights / shares.sum(1, keepdim=True) if shares.any(1).all() else None
    same = torch.from_numpy(ours[:, None] == ours[None, :]).to(test.weights.device)
    return HeldOutNetworks(test.models, test.weights, splits["train"].weights.mean(0), same, init_mean, test.specs)


class Rebuilt(NamedTuple):
    """What came back of the originals."""

    weights: Float[Tensor, "model weight"]
    padding: Float[Tensor, " model"]  # squared norm of what the decoder puts where tokens hold no weight
    codes: Float[Tensor, "model ..."] | None = None  # that they were decoded from; None where there are none
    sizes: Sizes | None = None  # where they were rebuilt from bytes


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
    parts, found = parts or windows(len(codec.layout.positions)), []
    for start in range(0, len(weights), batch_size):
        own = slice(start, start + batch_size)
        codes = joined(model.encode, codec.to_tokens(weights[own]), codec.layout.positions, parts)
        if refining:
            codes = refined(refining.of(own), lambda codes: decoded(codec, model, codes, parts).weights, codes, weights[own])
        found.append(decoded(codec, model, codes, parts))
    return together(found)


def decoded(codec: Codec, model: Autoencoder, codes: Float[Tensor, "model token embedding"], parts: list[Window]) -> Rebuilt:
    """Networks of their codes."""
    tokens = joined(model.decode, codes, codec.layout.positions, parts)
    padding = (tokens * ~codec.layout.mask).square().sum((1, 2))
    return Rebuilt(codec.to_weights(tokens), padding, codes)


def together(batches: list[Rebuilt]) -> Rebuilt:
    """Batches of decoded networks as one."""
    return Rebuilt(*(torch.cat(pieces) for pieces in zip(*(batch[:3] for batch in batches), strict=True)))


def with_statistics(
    spec: NetSpec,
    rebuilt: Rebuilt,
    images: ImageSet | None,
    config: Conditioning | None,
    specs: list[NetSpec] | None = None,
) -> Rebuilt:
    """Rebuilt networks whose batch norms, if there are any, are conditioned on val images, if there are any."""
    if not spec.has_statistics or images is None or config is None:
        return rebuilt
    size = (config.batches, config.batch_size)
    batches = torch.randint(len(images.val_x), size, generator=generator_for("conditioning", *size))
    val = normalize(images.val_x, images)
    weights = each_by_its_own(spec, specs, lambda own, places: conditioned(own, rebuilt.weights[places], val, batches))
    return rebuilt._replace(weights=weights)


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
        original, weights = (
            each_by_its_own(spec, originals.specs, partial(_answers, networks, queries))
            for networks in (originals.weights, rebuilt.weights)
        )
        measured = behavior_metrics(original, weights, originals.same_init)
        metrics |= {name + suffix: values for name, values in measured.items()}
        if not suffix:
            metrics |= accuracy_metrics(original.argmax(-1), weights.argmax(-1), images.test_y)
    return metrics


def _answers(networks: Tensor, queries: Tensor, spec: NetSpec, places: slice | Tensor) -> Float[Tensor, "model query class"]:
    return outputs(spec, networks[places], queries)


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
    if rebuilt.codes is not None:
        metrics["code_numbers"] = torch.full_like(error, rebuilt.codes[0].numel())
    if rebuilt.sizes is not None:
        metrics |= rebuilt.sizes._asdict()
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
    autoencoders: dict[str, Stored], zoos: list[Population], source: Source, device: torch.device
) -> list[dict]:
    """Rows of an autoencoder on each of its zoos, which each have a cell of their own where there are several."""
    cells, rows = cells_of(source.cell, list(autoencoders)), []
    for each in zoos:
        stored = autoencoders[each.name]
        splits = checkpoints_by_split(stored.config, each, device)
        rows += evaluate_autoencoder(stored, splits, each.images, source._replace(cell=cells[each.name]))
    return rows


def evaluate_autoencoder(stored: Stored, splits: dict[str, Checkpoints], images: ImageSet | None, source: Source) -> list[dict]:
    """Rows of all metrics, one per test model: reconstruction at the last epoch of the settings, probes over all of them.

    Reconstruction is measured of as many train models too, as rows of the split train.
    """
    codecs, config = {split: codec_of(stored, part.weights) for split, part in splits.items()}, stored.config
    encoders, rows = {"embedding": stored.trained, "random_encoder": stored.untrained}, []
    for split, own in {"test": splits, "train": with_train_models_to_rebuild(splits)}.items():
        originals, codec = held_out_networks(own, splits["test"].last_epoch), codecs[split]
        refining = refining_of(config.refine, codec.spec, codec.scale, images)
        rebuilt = rebuild_test(stored, codec, own["test"], refining)
        measure = partial(metrics_of, codec.spec, originals, images, config.conditioning)
        rows += metric_rows(source, originals.models, measure(rebuilt), split)
        if config.rate and split == "test":
            for bits, metrics in rates_of(stored, codecs, splits["train"], rebuilt, measure).items():
                rows += metric_rows(source, originals.models, metrics, at=bits)
    return rows + metric_rows(source, splits["test"].models, probe_metrics(codecs, encoders, splits, config))


def metrics_of(
    spec: NetSpec, originals: HeldOutNetworks, images: ImageSet | None, conditioning: Conditioning | None, rebuilt: Rebuilt
) -> dict[str, Float[Tensor, " model"]]:
    """What is measured of rebuilt networks once their batch norms, if they have any, are conditioned."""
    rebuilt = with_statistics(spec, rebuilt, images, conditioning, originals.specs)
    return reconstruction_metrics(spec, originals, rebuilt, images)


def rates_of(
    stored: Stored,
    codecs: dict[str, Codec],
    train: Checkpoints,
    rebuilt: Rebuilt,
    measure: Callable[[Rebuilt], Mapping[str, Tensor]],
) -> dict[int, dict[str, Tensor]]:
    """By bits, what is measured of the test networks when their codes come from bytes."""
    config, parts = stored.config, windows_of(stored.config, len(codecs["test"].layout.index))

    def decode(codes: Tensor) -> Rebuilt:
        batches = codes.split(config.evaluation_batch)
        return together([decoded(codecs["test"], stored.trained, batch, parts) for batch in batches])

    known = reconstruct(codecs["train"], stored.trained, train.weights, config.evaluation_batch, parts).codes
    return rate_metrics(config.rate, Codes(rebuilt.codes, known, stored.decoder_bytes), lambda codes: measure(decode(codes)))


def with_train_models_to_rebuild(splits: dict[str, Checkpoints]) -> dict[str, Checkpoints]:
    """The splits with train models in the place of the test models: as many, or all, drawn once.

    What comes back of networks that were learned from, beside what comes back of others, says what does not generalize.
    """
    test, train = splits["test"], splits["train"]
    models = train.at_epoch(test.last_epoch).models
    order = torch.randperm(len(models), generator=generator_for("rebuilt_train_models", len(models))).tolist()
    chosen = {models[place] for place in order[: len(test.models)]}
    return splits | {"test": train.of(train.properties["model"].isin(chosen).to_numpy())}


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
    beside = test.at_epoch(epoch) if config.evaluation_mates == "last_epoch" else test
    refining = refining and refining._replace(specs=beside.specs)
    last = torch.tensor((beside.properties["epoch"] == epoch).to_numpy())
    whole = reconstruct(codec, stored.trained, beside.weights, config.evaluation_batch, parts, refining)
    return Rebuilt(*(values[last] for values in whole[:3]))


def metric_rows(
    source: Source,
    models: list[int],
    metrics: Mapping[str, Tensor | np.ndarray],
    split: str = "test",
    at: int | None = None,
) -> list[dict]:
    """One row per metric and model of a split; raises InputError that names `source` and the first that is not finite."""
    rows = [
        source.row(name, value, split=split, subject=model, at=at)
        for name, values in metrics.items()
        for model, value in zip(models, values.tolist(), strict=True)
    ]
    if broken := [row for row in rows if not isfinite(row["value"])]:
        told = f"{broken[0]['metric']} of model {broken[0]['subject']}"
        raise InputError(f"{source.stage} {source.cell!r}, seed {source.seed}: {told} is not finite, as of what diverged")
    return rows
