"""Ridge regression as a probe: fitted on train, its penalty chosen on val, read on test."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

PENALTIES = {  # 17 from 1,000 to 0.00001 (Meynent et al. 2025, T4): equal steps, or those of the published code
    "standardized": np.logspace(3, -5, 17),
    "raw": np.array([number for power in range(2, -6, -1) for number in (10 * 10.0**power, 3 * 10.0**power)] + [1e-5]),
}
FEW = 1024  # features, up to which the primal form costs little however few samples there are
Features = dict[str, Float64[np.ndarray, "_ feature"]]  # of the samples of each split
Targets = dict[str, Float64[np.ndarray, "_ ..."]]  # of the same samples: a number, or one for each class


class Ridge(NamedTuple):
    """Least squares with a penalty, for any targets of the same samples and any penalty."""

    x: Float64[np.ndarray, "n feature_and_one"]
    products: Float64[np.ndarray, "m m"]  # of features with each other, or in the dual form of samples
    dual: bool

    def coefficients(self, y: Float64[np.ndarray, "n ..."], penalty: float) -> Float64[np.ndarray, "feature_and_one ..."]:
        """What minimizes |x b - y|^2 + penalty |b|^2, the intercept penalized too, as published.

        The dual form, b = x' (x x' + penalty)^-1 y, is as long to solve as there are samples.
        """
        penalized = self.products + penalty * np.eye(len(self.products))
        if self.dual:
            return self.x.T @ np.linalg.solve(penalized, y)
        return np.linalg.solve(penalized, self.x.T @ y)


def ridge_of(features: Float64[np.ndarray, "n feature"], dual: bool | None = None) -> Ridge:
    """The regression on these features and a one; by default in the form that is cheaper."""
    x = with_ones(features)
    if dual is None:
        dual = x.shape[1] > max(len(x), FEW)
    return Ridge(x, x @ x.T if dual else x.T @ x, dual)


def with_ones(x: Float64[np.ndarray, "n feature"]) -> Float64[np.ndarray, "n feature_and_one"]:
    return np.concatenate([x, np.ones((len(x), 1))], axis=1)


class Fit(NamedTuple):
    """Coefficients at the penalty that val prefers."""

    coefficients: Float64[np.ndarray, "feature_and_one ..."]
    val_error: float  # mean squared


class Probe(NamedTuple):
    """Features of all splits, ready for any target."""

    penalties: Float64[np.ndarray, " penalty"]
    ridge: Ridge  # of train
    val: Float64[np.ndarray, "n feature_and_one"]
    test: Float64[np.ndarray, "n feature_and_one"]

    def fit(self, targets: Targets) -> Fit:
        """Fitted on train, the penalty chosen by the error on val, of equal ones the largest."""
        fits = [self.ridge.coefficients(targets["train"], penalty) for penalty in self.penalties]
        errors = [np.square(self.val @ fit - targets["val"]).mean() for fit in fits]
        best = int(np.argmin(errors))
        return Fit(fits[best], float(errors[best]))

    def predict(self, targets: Targets) -> Float64[np.ndarray, "n ..."]:
        """Predictions for the test samples; test targets are not read."""
        return self.test @ self.fit(targets).coefficients


def probe_of(features: Features, kind: str = "standardized", one_unit: bool = False) -> Probe:
    """A probe of features that are standardized by their train statistics, or taken as they are where `kind` is `raw`.

    Features of one unit are divided by one deviation, the root of their mean variance, so that small ones stay small.
    """
    mean, std = features["train"].mean(0), features["train"].std(0)
    if one_unit:
        std = np.full_like(std, np.sqrt(np.square(std).mean()))
    if kind == "raw":
        mean, std = 0.0, np.ones_like(std)
    x = {split: (values - mean) / np.where(std > 1e-9 * np.abs(mean), std, 1) for split, values in features.items()}
    return Probe(PENALTIES[kind], ridge_of(x["train"]), with_ones(x["val"]), with_ones(x["test"]))
