"""What an autoencoder keeps of a network: reconstruction, agreement, and the collapse controls."""

from collections.abc import Callable, Mapping
from functools import partial
from math import isfinite

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from weightspace.autoencoder.data import Checkpoints, Population, checkpoints_by_split
from weightspace.autoencoder.features import Probed
from weightspace.autoencoder.measure import (
    Rebuilt,
    held_out_networks,
    metrics_of,
)
from weightspace.autoencoder.model import Autoencoder
from weightspace.autoencoder.probe import probe_metrics
from weightspace.autoencoder.probed import DEFAULT_PROBES, ProbesConfig
from weightspace.autoencoder.rate import Codes, rate_metrics
from weightspace.autoencoder.refine import Refining, refined, refining_of
from weightspace.autoencoder.settings import cells_of
from weightspace.autoencoder.store import Stored
from weightspace.autoencoder.windows import Window, joined, windows, windows_of
from weightspace.errors import InputError
from weightspace.images.tensors import ImageSet
from weightspace.rng import generator_for
from weightspace.table import Source
from weightspace.tokens import Codec, layer_scale


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
    """Rows of all metrics, one per test model: reconstruction at the last epoch of the settings, probes over all of them.

    Reconstruction is measured of as many train models too, as rows of the split train.
    """
    codecs, config = {split: codec_of(stored, part.weights) for split, part in splits.items()}, stored.config
    rows: list[dict] = []
    for split, own in {"test": splits, "train": with_train_models_to_rebuild(splits)}.items():
        originals, codec = held_out_networks(own, splits["test"].last_epoch), codecs[split]
        refining = refining_of(config.refine, codec.spec, codec.scale, images)
        rebuilt = rebuild_test(stored, codec, own["test"], refining)
        measure = partial(metrics_of, codec.spec, originals, images, config.conditioning)
        rows += metric_rows(source, originals.models, measure(rebuilt), split)
        if config.rate and split == "test":
            for bits, metrics in rates_of(stored, codecs, splits["train"], rebuilt, measure).items():
                rows += metric_rows(source, originals.models, metrics, at=bits)
    return rows + metric_rows(source, splits["test"].models, probe_metrics(Probed(stored, codecs, splits, images, probes)))


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
