"""What an autoencoder keeps of a network: reconstruction, agreement, and the collapse controls."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightspace.autoencoder.data import Checkpoints
from weightspace.autoencoder.model import Autoencoder
from weightspace.autoencoder.probe import probe_metrics
from weightspace.autoencoder.store import Stored
from weightspace.behavior import agreement, distance, mixed_queries, noise_queries, output_distance
from weightspace.ensemble import outputs
from weightspace.images import ImageSet, normalize
from weightspace.metrics import Source
from weightspace.nets.spec import NetSpec
from weightspace.rng import generator_for
from weightspace.tokens import Codec


class Reconstruction(NamedTuple):
    """Networks and what came back of them."""

    original: Float[Tensor, "model weight"]
    weights: Float[Tensor, "model weight"]
    padding: Float[Tensor, " model"]  # squared norm of what the decoder puts where tokens hold no weight


@torch.no_grad()
def reconstruct(codec: Codec, model: Autoencoder, weights: Float[Tensor, "model weight"], batch_size: int) -> Reconstruction:
    """Encode and decode networks as they are, without permutation."""
    decoded = torch.cat([model.decode(model.encode(codec.to_tokens(batch))) for batch in weights.split(batch_size)])
    padding = (decoded * ~codec.layout.mask).square().sum((1, 2))
    return Reconstruction(weights, codec.to_weights(decoded), padding)


def reconstruction_metrics(
    spec: NetSpec, rebuilt: Reconstruction, train_mean: Float[Tensor, " weight"], images: ImageSet
) -> dict[str, Float[Tensor, " model"]]:
    """Each metric as one value per network, whose mean over networks is the metric.

    Structure: R2 and distances of weights, retrieval of the own original among the originals, diversity.
    Behavior, on test images, on blends of two of them, and under noise: agreement with the own original, with the
    others, and of the originals with each other; retrieval by outputs.
    """
    metrics = structure_metrics(rebuilt, train_mean)
    test = normalize(images.test_x, images)
    generator = generator_for("evaluation_queries")
    mixed, noise = mixed_queries(test, images.test_y, generator), noise_queries(test, generator)
    for suffix, queries in {"": test, "_mixed": mixed, "_noise": noise}.items():
        original, weights = outputs(spec, rebuilt.original, queries), outputs(spec, rebuilt.weights, queries)
        metrics |= {name + suffix: values for name, values in behavior_metrics(original, weights).items()}
        if not suffix:
            metrics |= accuracy_metrics(original.argmax(-1), weights.argmax(-1), images.test_y)
    return metrics


def structure_metrics(rebuilt: Reconstruction, train_mean: Float[Tensor, " weight"]) -> dict[str, Float[Tensor, " model"]]:
    """Metrics of weights alone, in the weights' own units.

    R2 is 1 - squared error / mean squared distance of the networks from the mean of the *training* checkpoints.
    The unmasked distance also counts what the decoder puts into padding, as the published tables did.
    """
    original, weights, padding = rebuilt
    error = (weights - original).square().sum(1)
    return {
        "weights_r2": 1 - error / (original - train_mean).square().sum(1).mean(),
        "weights_l2": error.sqrt(),
        "weights_l2_unmasked": (error + padding).sqrt(),
        "retrieval_weights": own_is_nearest(distance(weights, original)),
        "diversity_original": mean_over_others(distance(original, original)),
        "diversity_reconstruction": mean_over_others(distance(weights, weights)),
    }


def behavior_metrics(
    original: Float[Tensor, "model query class"], reconstruction: Float[Tensor, "model query class"]
) -> dict[str, Float[Tensor, " model"]]:
    """Agreement with the own original and with others, between originals, and retrieval by softmax outputs."""
    pairs = agreement(reconstruction.argmax(-1), original.argmax(-1))
    return {
        "agreement_own": pairs.diagonal(),
        "agreement_other": mean_over_others(pairs),
        "agreement_originals": mean_over_others(agreement(original.argmax(-1), original.argmax(-1))),
        "retrieval_outputs": own_is_nearest(output_distance(reconstruction, original)),
    }


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


def evaluate_autoencoder(stored: Stored, splits: dict[str, Checkpoints], images: ImageSet, source: Source) -> list[dict]:
    """Rows of all metrics, one per test model: reconstruction at the last epoch of the settings, probes over all of them."""
    codec, size = stored.codec, stored.config.evaluation_batch
    test = splits["test"].at_epoch(stored.config.epochs[-1])
    rebuilt = reconstruct(codec, stored.trained, test.weights, size)
    metrics = reconstruction_metrics(codec.spec, rebuilt, splits["train"].weights.mean(0), images)
    encoders = {"embedding": stored.trained, "random_encoder": stored.untrained}
    probes = probe_metrics(codec, encoders, splits, size)
    return [
        source.row(name, value, subject=model)
        for models, measured in ((test.models, metrics), (splits["test"].models, probes))
        for name, values in measured.items()
        for model, value in zip(models, values.tolist(), strict=True)
    ]
