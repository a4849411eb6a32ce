"""Networks rebuilt without an autoencoder: what a reconstruction has to beat."""

import torch
from jaxtyping import Float
from torch import Tensor

from weightspace.autoencoder.data import Population, checkpoints_by_split
from weightspace.autoencoder.evaluate import (
    HeldOutNetworks,
    Rebuilt,
    held_out_networks,
    metric_rows,
    reconstruction_metrics,
    with_statistics,
)
from weightspace.autoencoder.refine import Refining, refined, refining_of
from weightspace.autoencoder.settings import BaselineConfig
from weightspace.errors import InputError
from weightspace.rng import generator_for
from weightspace.table import Source
from weightspace.tokens import layer_scale


def evaluate_baseline(config: BaselineConfig, zoo: Population, source: Source, device: torch.device) -> list[dict]:
    """Rows of the reconstruction metrics of one baseline, one per test model."""
    splits = checkpoints_by_split(config, zoo, device)
    originals = held_out_networks(splits, splits["test"].last_epoch)
    spec, train = zoo.zoo.spec, splits["train"].weights
    if config.kind == "pca":
        refining = refining_of(config.refine, spec, layer_scale(spec, train), zoo.images)
        weights = rebuild_pca(config, originals.weights, train, refining)
    else:
        weights = REBUILD[config.kind](config, originals)
    none = weights.new_zeros(len(weights))
    rebuilt = Rebuilt(weights, none, none + config.numbers if config.numbers else None)
    rebuilt = with_statistics(spec, rebuilt, zoo.images, config.conditioning)
    return metric_rows(source, originals.models, reconstruction_metrics(spec, originals, rebuilt, zoo.images))


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


REBUILD = {"init_mean": rebuild_init_mean, "noise": rebuild_noise}


def rebuild_pca(
    config: BaselineConfig,
    weights: Float[Tensor, "model weight"],
    train: Float[Tensor, "checkpoint weight"],
    refining: Refining | None = None,
) -> Float[Tensor, "model weight"]:
    """The linear code of `numbers` numbers that is best for the training checkpoints; codes are then refined, or not."""
    mean = train.mean(0)
    _, _, directions = torch.linalg.svd((train - mean).double(), full_matrices=False)
    basis = directions[: config.numbers].to(train)
    codes = (weights - mean) @ basis.T
    if refining:
        codes = refined(refining, lambda codes: mean + codes @ basis, codes, weights)
    return mean + codes @ basis
