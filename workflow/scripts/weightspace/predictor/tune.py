"""Tuning: predictors on their grid of integers, fitted to what they put out before they were rounded."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from weightspace.config import PredictorConfig
from weightspace.nets.forward import flatten, unflatten
from weightspace.predictor.distill import keep, resumed
from weightspace.predictor.model import predict_all
from weightspace.predictor.quantize import fake_quantize_weights
from weightspace.predictor.ranger import cosine_rate, ranger_step, start_averages
from weightspace.predictor.reconstruct import (
    Descent,
    Target,
    draw,
    predict_rows,
    reconstruction_gradient,
    residual,
    retarget,
    spec_of,
)
from weightspace.progress import Progress
from weightspace.store import TrainingState

FIRST_RATE = 0.1  # learning rate over that of the reconstruction


def tune(
    config: PredictorConfig,
    target: Target,
    weights: Float[Tensor, "model weight"],
    identities: Sequence[tuple],
    state: TrainingState | None = None,
) -> Float[Tensor, "model weight"]:
    """Weights whose rounded values put out most nearly what the given ones do not rounded.

    Steps as in the reconstruction, with the batch's own error, on rounded weights, the gradient passed straight through
    (Bengio et al. 2013). What was distilled stays as far as rounding lets it.
    """
    how, spec = config.quantization, spec_of(config, target)
    wanted = retarget(target, predict_all(spec, weights, target.table, target.rank) * target.mask)
    names = [(*identity, "tuning") for identity in identities]
    now = resumed(state, target) or Descent(weights.clone(), start_averages(weights), torch.zeros_like(weights[:, 0]), 0)
    progress = Progress("tuning steps", how.tuned_steps, now.step)
    for step in range(now.step + 1, how.tuned_steps + 1):
        batch = draw(config, wanted, names, step)
        leaf = now.weights.detach().requires_grad_()
        on_grid = flatten(spec, fake_quantize_weights(unflatten(spec, leaf), how.bits, how.per))
        predicted = predict_rows(spec, on_grid, wanted, batch.rows)
        difference = residual(wanted, predicted.detach(), batch.rows)
        share = batch.rows.shape[1] / wanted.kernels.shape[1]
        square = difference.square().sum((1, 2)) / (share * wanted.num_weights)
        (gradient,) = torch.autograd.grad(predicted, leaf, reconstruction_gradient(wanted, difference, square))
        rate = cosine_rate(FIRST_RATE * config.learning_rate, config.last_learning_rate, step, how.tuned_steps)
        ranger_step(spec, now.weights, gradient, now.averages, (rate, 0.0), step)
        keep(state, now, step)
        progress.update(step)
    return now.weights
