"""Ridge probes: what of a model's properties can be read off some features of its weights, linearly."""

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from weightspace.autoencoder.data import Checkpoints
from weightspace.autoencoder.metrics import TARGETS
from weightspace.autoencoder.model import Autoencoder, embed
from weightspace.nets.spec import NetSpec
from weightspace.tokens import Codec

PENALTIES = np.logspace(3, -5, 17)  # Meynent et al. 2025, T4


@torch.no_grad()
def probe_metrics(
    codec: Codec, encoders: dict[str, Autoencoder], splits: dict[str, Checkpoints], batch_size: int
) -> dict[str, Float64[np.ndarray, " model"]]:
    """`probe_error_<target>_<features>` for each encoder's embedding and for the weight statistics, `probe_deviation_<target>`.

    One value per test model, the sum over its checkpoints: 1 - mean error / mean deviation is the R2 over all test
    checkpoints, also where models have more of them than others.
    """
    weights = {split: checkpoints.weights for split, checkpoints in splits.items()}
    features = {
        name: {split: _embeddings(codec, encoder, stack, batch_size) for split, stack in weights.items()}
        for name, encoder in encoders.items()
    }
    statistics = {split: weight_statistics(codec.spec, stack) for split, stack in weights.items()}
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
        errors = {f"error_{target}_{name}": probe(values, targets) for name, values in features.items()}
        errors[f"deviation_{target}"] = np.square(targets["test"] - targets["test"].mean())
        metrics |= {f"probe_{name}": pd.Series(each).groupby(models).sum().to_numpy() for name, each in errors.items()}
    return metrics


def _known(target: str, properties: pd.DataFrame) -> bool:
    """Whether every checkpoint has the property: of an imported zoo it may not."""
    return target in properties and bool(properties[target].notna().all())


def _embeddings(
    codec: Codec, encoder: Autoencoder, weights: Float[Tensor, "checkpoint weight"], batch_size: int
) -> Float64[np.ndarray, "checkpoint embedding"]:
    embeddings = [embed(encoder, codec.to_tokens(batch)) for batch in weights.split(batch_size)]
    return torch.cat(embeddings).double().numpy(force=True)


def weight_statistics(spec: NetSpec, weights: Float[Tensor, "model weight"]) -> Float[Tensor, "model feature"]:
    """14 numbers per layer (Unterthiner et al. 2020): mean, variance, percentiles 1, 25, 50, 75, 99 of weights and of biases."""
    pieces = []
    for layer in spec.layers:
        both = weights[:, layer.offset : layer.offset + layer.size].split([layer.size - layer.out, layer.out], dim=1)
        for values in both:
            percentiles = values.quantile(weights.new_tensor([0.01, 0.25, 0.5, 0.75, 0.99]), dim=1).T
            pieces += [values.mean(1, keepdim=True), values.var(1, correction=0, keepdim=True), percentiles]
    return torch.cat(pieces, dim=1)


def ridge(x: Float64[np.ndarray, "n feature"], y: Float64[np.ndarray, " n"], penalty: float) -> Float64[np.ndarray, " weight"]:
    """Coefficients that minimize |[x 1] b - y|^2 + penalty |b|^2, the intercept penalized too, as published."""
    x = with_ones(x)
    return np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ y)


def with_ones(x: Float64[np.ndarray, "n feature"]) -> Float64[np.ndarray, "n feature_and_one"]:
    return np.concatenate([x, np.ones((len(x), 1))], axis=1)


def probe(
    features: dict[str, Float64[np.ndarray, "_ feature"]], targets: dict[str, Float64[np.ndarray, " _"]]
) -> Float64[np.ndarray, " n"]:
    """Squared error of each test sample.

    Fitted on train, the penalty chosen by the error on val; features are standardized by their train statistics.
    """
    mean, std = features["train"].mean(0), features["train"].std(0)
    x = {split: (values - mean) / np.where(std > 1e-9 * np.abs(mean), std, 1) for split, values in features.items()}
    fits = [ridge(x["train"], targets["train"], penalty) for penalty in PENALTIES]
    errors = [np.square(with_ones(x["val"]) @ fit - targets["val"]).mean() for fit in fits]
    prediction = with_ones(x["test"]) @ fits[int(np.argmin(errors))]
    return np.square(prediction - targets["test"])
