"""Ridge probes: what of a model's properties can be read off some features of its weights, linearly."""

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from weightspace.autoencoder.data import Checkpoints
from weightspace.autoencoder.metrics import TARGETS
from weightspace.autoencoder.model import Autoencoder
from weightspace.autoencoder.settings import AutoencoderSettings
from weightspace.autoencoder.windows import embed, windows, windows_of
from weightspace.properties import token_statistics, weight_statistics
from weightspace.tokens import Codec

PENALTIES = {  # 17 from 1,000 to 0.00001 (Meynent et al. 2025, T4): equal steps, or those of the published code
    "standardized": np.logspace(3, -5, 17),
    "raw": np.array([number for power in range(2, -6, -1) for number in (10 * 10.0**power, 3 * 10.0**power)] + [1e-5]),
}


@torch.no_grad()
def probe_metrics(
    codecs: dict[str, Codec], encoders: dict[str, Autoencoder], splits: dict[str, Checkpoints], config: AutoencoderSettings
) -> dict[str, Float64[np.ndarray, " model"]]:
    """`probe_error_<target>_<features>` for each encoder's embedding and for the weight statistics, `probe_deviation_<target>`.

    One value per test model, the sum over its checkpoints: 1 - mean error / mean deviation is the R2 over all test
    checkpoints, also where models have more of them than others.
    """
    weights = {split: checkpoints.weights for split, checkpoints in splits.items()}
    features = {
        name: {split: embeddings_of(codecs[split], encoder, stack, config) for split, stack in weights.items()}
        for name, encoder in encoders.items()
    }
    statistics = {split: STATISTICS[config.probe_statistics](codecs[split], stack) for split, stack in weights.items()}
    features["weight_statistics"] = {split: values.double().numpy(force=True) for split, values in statistics.items()}
    models = splits["test"].properties["model"].to_numpy()
    metrics = {}
    for target in TARGETS:
        if not all(_known(target, checkpoints.properties) for checkpoints in splits.values()):
            print(f"no probe for {target}: it is not known of all checkpoints")
            continue
        targets = {split: checkpoints.properties[target].to_numpy(float) for split, checkpoints in splits.items()}
        if np.ptp(targets["test"]) == 0:
            print(f"no probe for {target}: it is {targets['test'][0]} for all test models")
            continue
        errors = {f"error_{target}_{name}": probe(values, targets, config.probe_features) for name, values in features.items()}
        errors[f"deviation_{target}"] = np.square(targets["test"] - targets["test"].mean())
        metrics |= {f"probe_{name}": pd.Series(each).groupby(models).sum().to_numpy() for name, each in errors.items()}
    return metrics


def _known(target: str, properties: pd.DataFrame) -> bool:
    """Whether every checkpoint has the property: of an imported zoo it may not."""
    return target in properties and bool(properties[target].notna().all())


def embeddings_of(
    codec: Codec, encoder: Autoencoder, weights: Float[Tensor, "checkpoint weight"], config: AutoencoderSettings
) -> Float64[np.ndarray, "checkpoint embedding"]:
    """The mean embedding of each checkpoint, encoded in windows with their halos, or whole."""
    positions = codec.layout.positions
    parts = windows(len(positions)) if config.probe_sequence == "whole" else windows_of(config, len(positions))
    batches = weights.split(config.evaluation_batch)
    embeddings = [embed(encoder, codec.to_tokens(batch), positions, parts) for batch in batches]
    return torch.cat(embeddings).double().numpy(force=True)


STATISTICS = {"weights": lambda codec, weights: weight_statistics(codec.spec, weights), "tokens": token_statistics}


def ridge(x: Float64[np.ndarray, "n feature"], y: Float64[np.ndarray, " n"], penalty: float) -> Float64[np.ndarray, " weight"]:
    """Coefficients that minimize |[x 1] b - y|^2 + penalty |b|^2, the intercept penalized too, as published."""
    x = with_ones(x)
    return np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ y)


def with_ones(x: Float64[np.ndarray, "n feature"]) -> Float64[np.ndarray, "n feature_and_one"]:
    return np.concatenate([x, np.ones((len(x), 1))], axis=1)


def probe(
    features: dict[str, Float64[np.ndarray, "_ feature"]],
    targets: dict[str, Float64[np.ndarray, " _"]],
    kind: str = "standardized",
) -> Float64[np.ndarray, " n"]:
    """Squared error of each test sample.

    Fitted on train, the penalty chosen by the error on val, of equal ones the largest; features are standardized by their
    train statistics, or taken as they are where `kind` is `raw`.
    """
    mean, std = features["train"].mean(0), features["train"].std(0)
    if kind == "raw":
        mean, std = 0.0, np.ones_like(std)
    x = {split: (values - mean) / np.where(std > 1e-9 * np.abs(mean), std, 1) for split, values in features.items()}
    fits = [ridge(x["train"], targets["train"], penalty) for penalty in PENALTIES[kind]]
    errors = [np.square(with_ones(x["val"]) @ fit - targets["val"]).mean() for fit in fits]
    prediction = with_ones(x["test"]) @ fits[int(np.argmin(errors))]
    return np.square(prediction - targets["test"])
