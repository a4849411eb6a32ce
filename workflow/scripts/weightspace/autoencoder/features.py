"""What linear probes read: numbers of each checkpoint, from its weights, its code, or its answers."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from weightspace.autoencoder.data import Checkpoints, query_pool
from weightspace.autoencoder.model import NEGLIGIBLE, Autoencoder
from weightspace.autoencoder.probed import DEFAULT_PROBES, ProbesConfig
from weightspace.autoencoder.ridge import Features
from weightspace.autoencoder.settings import AutoencoderSettings
from weightspace.autoencoder.store import Stored
from weightspace.autoencoder.windows import Window, embed, joined, windows, windows_of
from weightspace.ensemble import each_by_its_own, outputs
from weightspace.images.tensors import ImageSet
from weightspace.nets.spec import NetSpec
from weightspace.properties import token_statistics, weight_statistics
from weightspace.tokens import Codec

Read = Callable[[Autoencoder, Tensor, Tensor, list[Window]], Tensor]  # of tokens and positions, numbers of each network


class Probed(NamedTuple):
    """Checkpoints by split, and all that can be read of them."""

    stored: Stored
    codecs: dict[str, Codec]
    splits: dict[str, Checkpoints]
    images: ImageSet | None = None
    probes: ProbesConfig = DEFAULT_PROBES


def by_split(probed: Probed, read: Callable[[Codec, Tensor], Float[Tensor, "checkpoint feature"]]) -> Features:
    """What is read of the weights of each split, with the split's own codec."""
    parts = probed.splits.items()
    return {split: read(probed.codecs[split], part.weights).double().numpy(force=True) for split, part in parts}


STATISTICS = {"weights": lambda codec, weights: weight_statistics(codec.spec, weights), "tokens": token_statistics}


def embeddings_of(
    codec: Codec,
    encoder: Autoencoder,
    weights: Float[Tensor, "checkpoint weight"],
    config: AutoencoderSettings,
    read: Read = embed,
) -> Float[Tensor, "checkpoint feature"]:
    """What is read of each checkpoint's codes, by default their mean, encoded in windows with their halos, or whole."""
    positions = codec.layout.positions
    parts = windows(len(positions)) if config.probe_sequence == "whole" else windows_of(config, len(positions))
    batches = weights.split(config.evaluation_batch)
    return torch.cat([read(encoder, codec.to_tokens(batch), positions, parts) for batch in batches])


def sequence(
    model: Autoencoder, tokens: Float[Tensor, "model token feature"], positions: Int[Tensor, "token 3"], parts: list[Window]
) -> Float[Tensor, "model number"]:
    """All codes of each network, one after the other."""
    return joined(model.encode, tokens, positions, parts).flatten(1)


def projections(probed: Probed) -> Features:
    """What the contrast compares, of sequences as long as those of training: where these are windows, their mean."""
    config, model = probed.stored.config, probed.stored.trained
    parts = windows_of(config, len(probed.stored.codec.layout.positions))

    def project(model: Autoencoder, tokens: Tensor, positions: Tensor, _: list[Window]) -> Tensor:
        codes = [model.encode(tokens[:, part.start : part.end], positions[part.start : part.end]) for part in parts]
        return torch.stack([model.head(each) for each in codes]).mean(0)

    return by_split(probed, lambda codec, weights: embeddings_of(codec, model, weights, config, project))


def encoded(probed: Probed, which: str, read: Read) -> Features:
    """What is read of the codes of one of the two encoders, trained or untrained."""
    encoder, config = getattr(probed.stored, which), probed.stored.config
    return by_split(probed, lambda codec, weights: embeddings_of(codec, encoder, weights, config, read))


def entries(codec: Codec, weights: Float[Tensor, "checkpoint weight"]) -> Float[Tensor, "checkpoint entry"]:
    """The weights that have tokens, as these hold them."""
    return codec.to_tokens(weights)[:, codec.layout.mask]


def principal(features: Features, numbers: int) -> dict[str, Float64[np.ndarray, "_ component"]]:
    """The first principal components, centered and directed as the train checkpoints say, without those that are nothing."""
    mean = features["train"].mean(0)
    _, singular, directions = np.linalg.svd(features["train"] - mean, full_matrices=False)
    basis = directions[:numbers][singular[:numbers] > singular[0] * NEGLIGIBLE]
    return {split: (values - mean) @ basis.T for split, values in features.items()}


def answers(probed: Probed, inputs: Float[Tensor, "query channel height width"]) -> Features:
    """Softmax outputs of each checkpoint, which is run by its own spec, on some inputs."""
    spec, parts = probed.stored.codec.spec, probed.splits.items()
    return {split: answers_of(spec, part, inputs).double().numpy(force=True) for split, part in parts}


def answers_of(
    spec: NetSpec, given: Checkpoints, inputs: Float[Tensor, "query channel height width"]
) -> Float[Tensor, "checkpoint answer"]:
    """The same of one split."""
    logits = each_by_its_own(spec, given.specs, lambda own, places: outputs(own, given.weights[places], inputs))
    return logits.softmax(-1).flatten(1)


def _code_size(probed: Probed) -> int:
    return len(probed.stored.codec.layout.positions) * probed.stored.config.latent


READ: dict[str, Callable[[Probed], Features]] = {  # by the names of FEATURES; learned_answers are of a target too
    "embedding": lambda probed: encoded(probed, "trained", embed),
    "random_encoder": lambda probed: encoded(probed, "untrained", embed),
    "weight_statistics": lambda probed: by_split(probed, STATISTICS[probed.stored.config.probe_statistics]),
    "token_statistics": lambda probed: by_split(probed, token_statistics),
    "sequence": lambda probed: encoded(probed, "trained", sequence),
    "random_sequence": lambda probed: encoded(probed, "untrained", sequence),
    "projection": projections,
    "pca_embedding": lambda probed: principal(by_split(probed, entries), probed.stored.config.latent),
    "pca_sequence": lambda probed: principal(by_split(probed, entries), _code_size(probed)),
    "weights": lambda probed: by_split(probed, entries),
    "answers": lambda probed: answers(probed, query_pool(probed.probes.num_inputs, probed.images)),
}
NEED_IMAGES = ("answers", "learned_answers")
ONE_UNIT = ("pca_embedding", "pca_sequence", "answers", "learned_answers")  # whose sizes say how much each matters
