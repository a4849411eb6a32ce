"""What is measured of rebuilt networks: weights, answers, and the controls that tell a collapse to a prototype."""

from functools import partial
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from weightspace.autoencoder.data import Checkpoints
from weightspace.autoencoder.rate import Sizes
from weightspace.autoencoder.settings_within import Conditioning
from weightspace.behavior import agreement, distance, mixed_queries, noise_queries, output_distance
from weightspace.ensemble import conditioned, each_by_its_own, outputs
from weightspace.images.tensors import ImageSet, normalize
from weightspace.nets.forward import learned
from weightspace.nets.spec import NetSpec
from weightspace.rng import generator_for


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


def metrics_of(
    spec: NetSpec, originals: HeldOutNetworks, images: ImageSet | None, conditioning: Conditioning | None, rebuilt: Rebuilt
) -> dict[str, Float[Tensor, " model"]]:
    """What is measured of rebuilt networks once their batch norms, if they have any, are conditioned."""
    rebuilt = with_statistics(spec, rebuilt, images, conditioning, originals.specs)
    return reconstruction_metrics(spec, originals, rebuilt, images)
