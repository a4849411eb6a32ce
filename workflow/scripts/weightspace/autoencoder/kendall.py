"""Kendall's rank correlation over the checkpoints of all models, as one value per model."""

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int64

TOGETHER = 256  # checkpoints that are compared with all others at once


def kendall_values(
    target: Float64[np.ndarray, " n"], prediction: Float64[np.ndarray, " n"], models: Int64[np.ndarray, " n"]
) -> Float64[np.ndarray, " model"]:
    """Values, in the order of the models' indices, whose mean is tau-b over all checkpoints; single ones may lie beyond -1 and 1.

    With sums over all checkpoints i of model m and all others j, of M models in all,

        s_m = sum sign(y_i - y_j) sign(p_i - p_j),   a_m = sum [y_i != y_j],   b_m = sum [p_i != p_j],
        tau = S / sqrt(A B),   value_m = 2 M s_m / sqrt(A B) - tau (M a_m / A + M b_m / B - 1),

    where S, A and B are the sums over models. The value is tau plus the first-order influence of a model on it, so that the
    spread of the values is that of tau (the infinitesimal jackknife, Efron 1982, chapter 6): a model moves the pairs of all
    others too, and the mean concordance of each model with the others, whose mean is tau as well, would vary half as much.
    All are 0 where predictions are all equal, which order nothing. Targets must not be all equal.
    """
    own = pd.DataFrame(_pairs(target, prediction)).groupby(models).sum().to_numpy()
    concordant, untied, untied_prediction = own.T
    total = own.sum(0)
    if total[2] == 0:
        return np.zeros(len(own))
    pairs, num = np.sqrt(total[1] * total[2]), len(own)
    tau = total[0] / pairs
    return 2 * num * concordant / pairs - tau * (num * untied / total[1] + num * untied_prediction / total[2] - 1)


def _pairs(target: Float64[np.ndarray, " n"], prediction: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, "n 3"]:
    """Of each checkpoint with all others: pairs in like order less those in unlike, pairs untied in target, in prediction."""
    sums = []
    for start in range(0, len(target), TOGETHER):
        ours, theirs = (np.sign(values[start : start + TOGETHER, None] - values[None]) for values in (target, prediction))
        sums.append(np.stack([(ours * theirs).sum(1), np.abs(ours).sum(1), np.abs(theirs).sum(1)], axis=1))
    return np.concatenate(sums)
