"""Inputs that are learned for a probe: what networks answer to them shall tell more of a property than answers to images do."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from weightspace.autoencoder.data import query_pool
from weightspace.autoencoder.features import Probed, answers
from weightspace.autoencoder.ridge import Features, Targets, probe_of
from weightspace.ensemble import each_by_its_own
from weightspace.nets.forward import forward
from weightspace.nets.spec import NetSpec
from weightspace.seeds import seed_for

TOGETHER = 128  # train models of a step, each with one of its checkpoints
CHECKS = 10  # how often val is asked, besides at the start
PENALTIES = [10.0**power for power in range(3, -6, -1)]


def learned_answers(probed: Probed, targets: Targets) -> Features:
    """Answers to inputs that start as train images and are moved by Adam, for one target.

    A step lowers the error of a ridge regression from the answers of some train models to the target, each left out in turn. Of
    the inputs as they start and at CHECKS later steps, those are taken whose probe has the least error on val.
    """
    kind = probed.stored.config.probe_features
    tried = [answers(probed, inputs) for inputs in _inputs(probed, targets["train"])]
    errors = [probe_of(each, kind, one_unit=True).fit(targets).val_error for each in tried]
    told = ", ".join(f"{error:.3g}" for error in errors)
    print(f"learned inputs: squared error on val {told}; taken: the {int(np.argmin(errors)) + 1}.")
    return tried[int(np.argmin(errors))]


def left_out_error(features: Float64[Tensor, "n feature"], y: Float64[Tensor, "n column"], penalty: float) -> Float64[Tensor, ""]:
    """Mean squared error of ridge regression at each sample, fitted on all others (in closed form, Allen's PRESS)."""
    inverse = torch.linalg.inv(features @ features.T + penalty * torch.eye(len(features), dtype=y.dtype, device=y.device))
    return ((inverse @ y) / inverse.diagonal().unsqueeze(1)).square().mean()


def _inputs(probed: Probed, target: Float64[np.ndarray, "n ..."]) -> Iterator[Float[Tensor, "query channel height width"]]:
    """Inputs as they start, and after each CHECKS-th part of the steps."""
    config, spec, train = probed.probes, probed.stored.codec.spec, probed.splits["train"]
    inputs = query_pool(config.num_inputs, probed.images)
    yield inputs
    scaled = (target - target.mean(0)) / np.where(target.std(0) > 0, target.std(0), 1)
    y = torch.from_numpy(scaled.reshape(len(scaled), -1)).to(inputs.device)
    moved = inputs.clone().requires_grad_()
    optimizer = torch.optim.Adam([moved], lr=config.learning_rate)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, config.steps))
    checks = {round(config.steps * part / CHECKS) for part in range(1, CHECKS + 1)}
    rng, penalty = np.random.default_rng(seed_for("learned_inputs", config.num_inputs)), None
    for step in range(1, config.steps + 1):
        batch = _one_of_each(train.properties["model"].to_numpy(), rng)[:TOGETHER]
        with torch.enable_grad():
            specs = train.specs and [train.specs[place] for place in batch.tolist()]
            logits = each_by_its_own(spec, specs, partial(_answer, train.weights[batch], moved))
            answered = logits.softmax(-1).flatten(1).double()
            features = torch.cat([answered, answered.new_ones(len(batch), 1)], dim=1)
            if penalty is None:  # of the start, kept: a penalty that moves with the inputs could be lowered in their place
                penalty = min(PENALTIES, key=lambda each: left_out_error(features.detach(), y[batch], each).item())
            optimizer.zero_grad()
            left_out_error(features, y[batch], penalty).backward()
        optimizer.step()
        rates.step()
        if step in checks:
            yield moved.detach().clone()


def _answer(weights: Tensor, inputs: Tensor, spec: NetSpec, places: slice | Tensor) -> Float[Tensor, "model query class"]:
    return forward(spec, weights[places], inputs.unsqueeze(0))


def _one_of_each(models: Int[np.ndarray, " n"], rng: np.random.Generator) -> Int[Tensor, " model"]:
    """Places of one checkpoint of each model, in any order."""
    order = rng.permutation(len(models))
    _, first = np.unique(models[order], return_index=True)
    return torch.from_numpy(rng.permutation(order[first]))
