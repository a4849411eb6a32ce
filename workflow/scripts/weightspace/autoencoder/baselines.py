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
    of_learned,
    reconstruction_metrics,
    with_statistics,
)
from weightspace.autoencoder.settings import BaselineConfig
from weightspace.errors import InputError
from weightspace.nets.forward import learned
from weightspace.nets.spec import NetSpec
from weightspace.rng import generator_for
from weightspace.table import Source


def evaluate_baseline(config: BaselineConfig, zoo: Population, source: Source, device: torch.device) -> list[dict]:
    """Rows of the reconstruction metrics of one baseline, one per test model."""
    splits = checkpoints_by_split(config, zoo, device)
    originals = held_out_networks(splits, splits["test"].last_epoch)
    spec, train = zoo.zoo.spec, splits["train"].weights
    rebuilt = with_statistics(spec, rebuild(config, spec, originals, train), zoo.images, config.conditioning)
    return metric_rows(source, originals.models, reconstruction_metrics(spec, originals, rebuilt, zoo.images))


def rebuild(
    config: BaselineConfig, spec: NetSpec, originals: HeldOutNetworks, train: Float[Tensor, "checkpoint weight"]
) -> Rebuilt:
    """Networks whose learned weights a baseline has rebuilt; running statistics are the originals'."""
    weights = originals.weights.clone()
    kept = learned(spec).to(weights.device)
    weights[:, kept] = REBUILD[config.kind](config, of_learned(spec, originals), train[:, kept])
    return Rebuilt(weights, weights.new_zeros(len(weights)))


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


def rebuild_identity(
    config: BaselineConfig, originals: HeldOutNetworks, train: Float[Tensor, "checkpoint weight"]
) -> Float[Tensor, "model weight"]:
    """The originals: what is measured of them is what new running statistics do, and no reconstruction can be better."""
    return originals.weights


REBUILD = {"init_mean": rebuild_init_mean, "pca": rebuild_pca, "noise": rebuild_noise, "identity": rebuild_identity}
