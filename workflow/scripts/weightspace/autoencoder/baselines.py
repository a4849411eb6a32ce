"""Networks rebuilt without an autoencoder: what a reconstruction has to beat."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightspace.autoencoder.compressed import COMPRESS, compressed
from weightspace.autoencoder.data import Population, checkpoints_by_split
from weightspace.autoencoder.evaluate import metric_rows, with_train_models_to_rebuild
from weightspace.autoencoder.measure import HeldOutNetworks, Rebuilt, held_out_networks, metrics_of, of_learned
from weightspace.autoencoder.rate import Codes, rate_metrics
from weightspace.autoencoder.refine import Refining, refined, refining_of
from weightspace.autoencoder.settings_baselines import BaselineConfig
from weightspace.errors import InputError
from weightspace.nets.forward import learned
from weightspace.nets.spec import NetSpec
from weightspace.rng import generator_for
from weightspace.table import Source
from weightspace.tokens import layer_scale

TOGETHER = 128  # networks whose codes are refined as one


def evaluate_baseline(config: BaselineConfig, zoo: Population, source: Source, device: torch.device) -> list[dict]:
    """Rows of the reconstruction metrics of one baseline, one per test model and of as many train models."""
    splits, spec, rows = checkpoints_by_split(config, zoo, device), zoo.zoo.spec, []
    train = splits["train"].weights
    code = code_of(config, spec, train)
    for split, own in {"test": splits, "train": with_train_models_to_rebuild(splits)}.items():
        originals = held_out_networks(own, splits["test"].last_epoch)
        rebuilt = rebuild(config, zoo, originals, train, code)
        measure = partial(metrics_of, spec, originals, zoo.images, config.conditioning)
        rows += metric_rows(source, originals.models, measure(rebuilt), split)
        if config.rate and split == "test":
            for bits, metrics in rates_of(config, code, train, originals.weights, rebuilt, measure).items():
                rows += metric_rows(source, originals.models, metrics, at=bits)
    return rows


class PlainCode(NamedTuple):
    """The learned weights themselves, and back; running statistics are those of networks at hand."""

    places: Int[Tensor, " learned"]
    num_bytes: int  # of what it takes to decode: the architecture

    def encode(self, weights: Float[Tensor, "model weight"]) -> Float[Tensor, "model number"]:
        return weights[:, self.places]

    def decode(
        self, codes: Float[Tensor, "model number"], weights: Float[Tensor, "model weight"]
    ) -> Float[Tensor, "model weight"]:
        return weights.index_copy(1, self.places, codes)


class LinearCode(NamedTuple):
    """Numbers that are linear in the learned weights, and back, as above."""

    mean: Float[Tensor, " learned"]
    basis: Float[Tensor, "number learned"]
    plain: PlainCode

    def encode(self, weights: Float[Tensor, "model weight"]) -> Float[Tensor, "model number"]:
        return (self.plain.encode(weights) - self.mean) @ self.basis.T

    def decode(
        self, codes: Float[Tensor, "model number"], weights: Float[Tensor, "model weight"]
    ) -> Float[Tensor, "model weight"]:
        return self.plain.decode(self.mean + codes @ self.basis, weights)

    @property
    def num_bytes(self) -> int:
        """Of what it takes to decode, numbers in float32."""
        return self.plain.num_bytes + 4 * (self.mean.numel() + self.basis.numel())


def code_of(config: BaselineConfig, spec: NetSpec, train: Float[Tensor, "checkpoint weight"]) -> PlainCode | LinearCode:
    """The code of the kind pca; of other kinds the weights are their own code."""
    plain = PlainCode(learned(spec).nonzero().squeeze(1).to(train.device), len(json.dumps(spec.description)))
    return principal_code(config.numbers, train, plain) if config.kind == "pca" else plain


def rates_of(
    config: BaselineConfig,
    code: PlainCode | LinearCode,
    train: Float[Tensor, "checkpoint weight"],
    weights: Float[Tensor, "model weight"],
    rebuilt: Rebuilt,
    measure: Callable[[Rebuilt], Mapping[str, Tensor]],
) -> dict[int, dict[str, Tensor]]:
    """By bits, what is measured of the test networks when their codes, or those of their refined copies, come from bytes."""

    def decode(codes: Tensor) -> Rebuilt:
        return rebuilt._replace(weights=code.decode(codes, weights))

    own = code.encode(weights) if rebuilt.codes is None else rebuilt.codes
    codes = Codes(own, code.encode(train), code.num_bytes)
    return rate_metrics(config.rate, codes, lambda codes: measure(decode(codes)))


def rebuild(
    config: BaselineConfig,
    zoo: Population,
    originals: HeldOutNetworks,
    train: Float[Tensor, "checkpoint weight"],
    code: PlainCode | LinearCode,
) -> Rebuilt:
    """Networks whose learned weights a baseline has rebuilt; running statistics are the originals'."""
    spec, weights = zoo.zoo.spec, originals.weights
    none = weights.new_zeros(len(weights))
    if config.kind == "pca":
        refining = refining_of(config.refine, spec, layer_scale(spec, train), zoo.images)
        return rebuild_pca(code, weights, refining and refining._replace(specs=originals.specs))
    if config.kind in COMPRESS:
        made = compressed(config, spec, weights)
        return Rebuilt(made.weights, none, sizes=made.sizes)
    return Rebuilt(code.decode(REBUILD[config.kind](config, of_learned(spec, originals)), weights), none)


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


def principal_code(numbers: int, train: Float[Tensor, "checkpoint weight"], plain: PlainCode) -> LinearCode:
    """The linear code that is best for the training checkpoints, of so many numbers or of all that there are directions for."""
    known = plain.encode(train)
    mean = known.mean(0)
    _, _, directions = torch.linalg.svd((known - mean).double(), full_matrices=False)
    numbers = min(numbers, len(train) - 1)  # about their mean they have no more directions
    return LinearCode(mean, directions[:numbers].to(train), plain)


def rebuild_pca(code: LinearCode, weights: Float[Tensor, "model weight"], refining: Refining | None = None) -> Rebuilt:
    """Networks of their linear codes, which are then refined, or not."""
    codes, rebuilt = [], []
    for start in range(0, len(weights), TOGETHER):
        own = slice(start, start + TOGETHER)
        decode = partial(code.decode, weights=weights[own])
        found = code.encode(weights[own])
        codes.append(refined(refining.of(own), decode, found, weights[own]) if refining else found)
        rebuilt.append(decode(codes[-1]))
    return Rebuilt(torch.cat(rebuilt), weights.new_zeros(len(weights)), torch.cat(codes))
