"""Networks rebuilt without an autoencoder: what a reconstruction has to beat."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightspace.autoencoder.data import Population, checkpoints_by_split
from weightspace.autoencoder.evaluate import (
    HeldOutNetworks,
    Rebuilt,
    held_out_networks,
    metric_rows,
    of_learned,
    reconstruction_metrics,
    with_statistics,
    with_train_models_to_rebuild,
)
from weightspace.autoencoder.refine import Refining, refined, refining_of
from weightspace.autoencoder.settings import BaselineConfig
from weightspace.errors import InputError
from weightspace.nets.forward import learned
from weightspace.rng import generator_for
from weightspace.table import Source
from weightspace.tokens import layer_scale

TOGETHER = 128  # networks whose codes are refined as one


def evaluate_baseline(config: BaselineConfig, zoo: Population, source: Source, device: torch.device) -> list[dict]:
    """Rows of the reconstruction metrics of one baseline, one per test model and of as many train models."""
    splits, spec, rows = checkpoints_by_split(config, zoo, device), zoo.zoo.spec, []
    for split, own in {"test": splits, "train": with_train_models_to_rebuild(splits)}.items():
        originals = held_out_networks(own, splits["test"].last_epoch)
        rebuilt = rebuild(config, zoo, originals, splits["train"].weights)
        rebuilt = with_statistics(spec, rebuilt, zoo.images, config.conditioning)
        rows += metric_rows(source, originals.models, reconstruction_metrics(spec, originals, rebuilt, zoo.images), split)
    return rows


def rebuild(
    config: BaselineConfig, zoo: Population, originals: HeldOutNetworks, train: Float[Tensor, "checkpoint weight"]
) -> Rebuilt:
    """Networks whose learned weights a baseline has rebuilt; running statistics are the originals'."""
    spec, weights = zoo.zoo.spec, originals.weights
    places = learned(spec).nonzero().squeeze(1).to(weights.device)
    if config.kind == "pca":
        refining = refining_of(config.refine, spec, layer_scale(spec, train), zoo.images)
        numbers = min(config.numbers, len(train) - 1)  # about their mean they have no more directions
        parts = weights.split(TOGETHER)
        rebuilt = torch.cat([rebuild_pca(numbers, part, train, places, refining) for part in parts])
    else:
        rebuilt = weights.index_copy(1, places, REBUILD[config.kind](config, of_learned(spec, originals)))
    none = weights.new_zeros(len(weights))
    return Rebuilt(rebuilt, none, none + numbers if config.kind == "pca" else None)


def rebuild_init_mean(config: BaselineConfig, originals: HeldOutNetworks) -> Float[Tensor, "model weight"]:
    """The mean of the training networks of the same init, at the same epoch: the prototype of an init.

    Raises InputError where a test network shares its init with no training network.
    """
    if originals.init_mean is None:
        raise InputError(f"zoo {config.zoo!r}: kind init_mean needs shared_inits")
    return originals.init_mean


def rebuild_noise(config: BaselineConfig, originals: HeldOutNetworks) -> Float[Tensor, "model weight"]:
    """The original under white noise that leaves an expected R2 of `weights_r2`: error without any structure."""
    spread = (originals.weights - originals.train_mean).square().sum(1).mean()
    deviation = ((1 - config.weights_r2) * spread / originals.weights.shape[1]).sqrt()
    noise = torch.randn(originals.weights.shape, generator=generator_for("baseline", "noise", config.weights_r2))
    return originals.weights + deviation * noise.to(originals.weights.device)


def rebuild_identity(config: BaselineConfig, originals: HeldOutNetworks) -> Float[Tensor, "model weight"]:
    """The originals: what is measured of them is what new running statistics do, and no reconstruction can be better."""
    return originals.weights


REBUILD = {"init_mean": rebuild_init_mean, "noise": rebuild_noise, "identity": rebuild_identity}


def rebuild_pca(
    numbers: int,
    weights: Float[Tensor, "model weight"],
    train: Float[Tensor, "checkpoint weight"],
    places: Int[Tensor, " learned"],
    refining: Refining | None = None,
) -> Float[Tensor, "model weight"]:
    """The linear code of so many numbers that is best for the training checkpoints, of the weights at these places.

    Codes are then refined, or not.
    """
    mean = train[:, places].mean(0)
    _, _, directions = torch.linalg.svd((train[:, places] - mean).double(), full_matrices=False)
    basis = directions[:numbers].to(train)

    def decode(codes: Tensor) -> Tensor:
        return weights.index_copy(1, places, mean + codes @ basis)

    codes = (weights[:, places] - mean) @ basis.T
    return decode(refined(refining, decode, codes, weights) if refining else codes)
