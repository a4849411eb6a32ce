"""Quantization-aware tuning: predictors on their grid of integers, fitted to their own output before rounding."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from weightspace.compression.quantize import fake_quantize_weights
from weightspace.nets.forward import flatten, unflatten
from weightspace.predictor.learn import Schedule, learn, resumed, start_from
from weightspace.predictor.model import predict_all
from weightspace.predictor.reconstruct import (
    Target,
    batch_square,
    draw,
    predict_rows,
    reconstruction_gradient,
    residual,
    retarget,
    spec_of,
)
from weightspace.predictor.settings import PredictorSettings
from weightspace.store import TrainingState

FIRST_RATE = 0.1  # learning rate over that of the reconstruction


def tune(
    config: PredictorSettings,
    target: Target,
    weights: Float[Tensor, "model weight"],
    identities: Sequence[tuple],
    state: TrainingState | None = None,
) -> Float[Tensor, "model weight"]:
    """Weights that, rounded, come closest to the output of the given weights before rounding.

    Steps are those of the reconstruction with the batch's own error. They use rounded weights, and the gradient passes straight
    through the rounding (Bengio et al. 2013). The target is the predictor's own output, so that a distillation is kept.
    """
    how, spec = config.quantization, spec_of(config, target)
    wanted = retarget(target, predict_all(spec, weights, target.table, target.rank) * target.mask)
    names = [(*identity, "tuning") for identity in identities]
    now = resumed(state, target.kernels.device) or start_from(weights.clone())

    def gradient_of(leaf: Tensor, step: int) -> Tensor:
        batch = draw(config, wanted, names, step)
        on_grid = flatten(spec, fake_quantize_weights(unflatten(spec, leaf), how.bits, how.per))
        predicted = predict_rows(spec, on_grid, wanted, batch.rows)
        difference = residual(wanted, predicted.detach(), batch.rows)
        gradient = reconstruction_gradient(wanted, difference, batch_square(wanted, difference))
        return torch.autograd.grad(predicted, leaf, gradient)[0]

    schedule = Schedule("tuning steps", how.tuned_steps, FIRST_RATE * config.learning_rate, config.last_learning_rate, 0.0)
    return learn(spec, now, gradient_of, schedule, state)
