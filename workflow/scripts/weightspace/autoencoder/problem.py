"""What an autoencoder is trained on: the checkpoints of each of its zoos, as tokens, and the images that they are asked about."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from weightspace.autoencoder.data import Checkpoints, Population, checkpoints_by_split
from weightspace.autoencoder.model import as_measured
from weightspace.autoencoder.queries import query_bank
from weightspace.autoencoder.settings import AutoencoderSettings
from weightspace.autoencoder.views import StoredPermutations, stored_permutations
from weightspace.ensemble import each_by_its_own, outputs
from weightspace.errors import InputError
from weightspace.images.tensors import ImageSet
from weightspace.nets.spec import NetSpec
from weightspace.token_rows import longest_row
from weightspace.tokens import Codec, make_codec


class AutoencoderData(NamedTuple):
    """What an autoencoder is trained on of one zoo, all on one device; constant over the steps."""

    config: AutoencoderSettings  # whose `zoo` is this one
    codec: Codec
    weights: Float[Tensor, "checkpoint weight"]
    queries: Float[Tensor, "query channel height width"]
    targets: Float[Tensor, "checkpoint query class"]  # the checkpoints' logits, of no query where behavior has no weight
    stored: StoredPermutations | None = None  # where the settings say views: stored
    specs: list[NetSpec] | None = None  # of each checkpoint; None: all are of the codec's
    val: "AutoencoderData | None" = None  # the same of val checkpoints, where the settings say until_flat


def data_of_zoos(config: AutoencoderSettings, zoos: list[Population], device: torch.device) -> list[AutoencoderData]:
    """What an autoencoder is trained on, of each of its zoos; tokens are as long as the longest unit of any."""
    size = config.token_size
    if len(zoos) > 1 and size is None:
        size = max(longest_row(each.zoo.spec, config.batch_norm_tokens) for each in zoos)
    data = []
    for each in zoos:
        own = config.model_copy(update={"zoo": each.name, "token_size": size})
        splits = checkpoints_by_split(own, each, device, ["train", "val"] if own.until_flat else ["train"])
        train = autoencoder_data(own, each.zoo.spec, splits["train"], each.images, each.sets.get(own.query_images))
        data.append(train._replace(val=val_data(train, splits["val"])) if own.until_flat else train)
    return data


def autoencoder_data(
    config: AutoencoderSettings,
    spec: NetSpec,
    train: Checkpoints,
    images: ImageSet | None,
    other: ImageSet | None = None,
) -> AutoencoderData:
    """Measure the scale of the weights, draw the pool of queries, of images and of others, run every checkpoint on it once.

    Without images there is no query, which a loss without weight does not need.

    Raises InputError where a checkpoint answers a query with a number that is not finite, or where there are fewer checkpoints
    than in a batch that is to hold each once.
    """
    if config.batches == "epochs" and len(train.weights) < config.batch_size:
        told = f"batch_size {config.batch_size} is more than its {len(train.weights)} train checkpoints"
        raise InputError(f"zoo {config.zoo!r}: {told}, so batches: epochs has none")
    weights = train.weights
    asked = query_bank(config.queries, config.query_pool, images, other) if images else None
    queries = weights.new_zeros(0, *spec.image_shape) if asked is None else asked
    targets = targets_of(config, spec, train, queries)
    broken = (~targets.isfinite()).flatten(1).any(1)
    if broken.any():
        model, epoch = train.properties[["model", "epoch"]].iloc[int(broken.int().argmax())]
        told = f"model {model} at epoch {epoch} has outputs on the query images that are not finite"
        raise InputError(f"zoo {config.zoo!r}: {told}")
    normed = config.batch_norm_tokens
    codec = make_codec(spec, weights, config.token_size, config.standardize, normed, config.scale_deviation)
    stored = stored_permutations(spec, config.stored_permutations, len(weights)) if config.views == "stored" else None
    return AutoencoderData(config, codec.to(weights.device), weights, queries, targets, stored, train.specs)


def targets_of(
    config: AutoencoderSettings, spec: NetSpec, given: Checkpoints, queries: Float[Tensor, "query channel height width"]
) -> Float[Tensor, "checkpoint asked class"]:
    """Logits of checkpoints, each run by its own spec; of no query where behavior has no weight."""
    weights = given.weights
    if not config.behavior_weight:
        return weights.new_zeros(len(weights), 0, spec.num_classes)
    return each_by_its_own(spec, given.specs, lambda own, places: outputs(own, weights[places], queries))


def val_data(train: AutoencoderData, val: Checkpoints) -> AutoencoderData:
    """What train checkpoints are learned with, of val checkpoints: asked the same, scaled alike, and without dropout."""
    spec, config = train.codec.spec, as_measured(train.config).model_copy(update={"batches": "independent"})
    targets = targets_of(config, spec, val, train.queries)
    stored = stored_permutations(spec, config.stored_permutations, len(val.weights)) if train.stored else None
    return train._replace(config=config, weights=val.weights, targets=targets, stored=stored, specs=val.specs)
