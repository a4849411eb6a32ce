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
from weightspace.autoencoder.settings import BaselineConfig
from weightspace.errors import InputError
from weightspace.rng import generator_for
from weightspace.table import Source


def evaluate_baseline(config: BaselineConfig, zoo: Population, source: Source, device: torch.device) -> list[dict]:
    """Rows of the reconstruction metrics of one baseline, one per test model."""
    splits = checkpoints_by_split(config, zoo, device)
    originals = held_out_networks(splits, splits["test"].last_epoch)
    weights = REBUILD[config.kind](config, originals, splits["train"].weights)
    spec, rebuilt = zoo.zoo.spec, Rebuilt(weights, weights.new_zeros(len(weights)))
    rebuilt = with_statistics(spec, rebuilt, zoo.images, config.conditioning)
    return metric_rows(source, originals.models, reconstruction_metrics(spec, originals, rebuilt, zoo.images))


def rebuild_init_mean(
    config: BaselineConfig, originals: HeldOutNetworks, train: Float[Tensor, "checkpoint weight"]
) -> Float[Tensor, "model weight"]:
    """The mean of the training networks of the same init, at the same epoch: the prototype of an init.

    Raises InputError where a test network shares its init with no training network.
    """
    if originals.init_mean is None:
        raise InputError(f"zoo {config.zoo!r}: kind init_mean needs shared_inits")
    return originals.init_mean


def rebuild_pca(
    config: BaselineConfig, originals: HeldOutNetworks, train: Float[Tensor, "checkpoint weight"]
) -> Float[Tensor, "model weight"]:
    """The linear code of `numbers` numbers that is best for the training checkpoints."""
    mean = train.mean(0)
    _, _, directions = torch.linalg.svd((train - mean).double(), full_matrices=False)
    basis = directions[: config.numbers].to(train)
    return mean + (originals.weights - mean) @ basis.T @ basis


def rebuild_noise(
    config: BaselineConfig, originals: HeldOutNetworks, train: Float[Tensor, "checkpoint weight"]
) -> Float[Tensor, "model weight"]:
    """The original under white noise that leaves an expected R2 of `weights_r2`: error without any structure."""
    spread = (originals.weights - originals.train_mean).square().sum(1).mean()
    deviation = ((1 - config.weights_r2) * spread / originals.weights.shape[1]).sqrt()
    noise = torch.randn(originals.weights.shape, generator=generator_for("baseline", "noise", config.weights_r2))
    return originals.weights + deviation * noise.to(originals.weights.device)


REBUILD = {"init_mean": rebuild_init_mean, "pca": rebuild_pca, "noise": rebuild_noise}
