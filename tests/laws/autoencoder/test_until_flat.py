"""Training until the loss of val networks has flattened: when that is judged to be, and what the learning rate does then."""

from contextlib import suppress
from math import exp

import pytest
import torch
from test_autoencoder import ALL_LOSSES, SOURCE, SPEC, checkpoints_of, config_of, planted_images, planted_weights, run
from weightspace.autoencoder.metrics import METRICS
from weightspace.autoencoder.problem import autoencoder_data, val_data
from weightspace.autoencoder.schedule import learning_rate
from weightspace.autoencoder.settings_within import UntilFlat
from weightspace.autoencoder.train import loss_metrics, train_autoencoder
from weightspace.store import TrainingState
from weightspace.table import read_metrics, write_metrics

SOON = {"every": 2, "batches": 1, "least": 6, "improvement": 0.5, "decay": 0.5}


def problem(steps=40, rule=SOON, **changes):
    config = config_of(until_flat=rule, schedule="constant", steps=steps, **ALL_LOSSES, **changes)
    train = autoencoder_data(config, SPEC, checkpoints_of(planted_weights()), planted_images())
    return train._replace(val=val_data(train, checkpoints_of(planted_weights(6))))


def looks_until_flat(rule, losses):
    return next(n for n in range(1, len(losses) + 1) if rule.is_flat(losses[:n]))


@pytest.mark.parametrize("level", [1.0, 100.0])
@pytest.mark.parametrize("improvement", [0.1, 0.01, 0.001])
def test_a_loss_that_falls_to_a_level_is_flat_once_a_fifth_of_the_steps_takes_off_less_than_asked(level, improvement):
    rule = UntilFlat(improvement=improvement, least=1)
    losses = [level * (1 + exp(-n / 20)) for n in range(2000)]
    flat = looks_until_flat(rule, losses)
    num = round(0.2 * flat)
    before, last = (sum(losses[flat - k * num : flat - (k - 1) * num]) / num for k in (2, 1))
    assert (before - last) / before < improvement
    smaller = looks_until_flat(rule.model_copy(update={"improvement": improvement / 5}), losses)
    assert smaller > flat


def test_a_loss_that_goes_on_falling_is_never_flat_and_one_that_does_not_is_so_after_the_least_steps():
    rule = UntilFlat(every=10, least=200, share=0.2, improvement=0.01)
    assert not any(rule.is_flat([0.99**n for n in range(num)]) for num in range(5, 400, 5))
    assert not any(rule.is_flat([-(1.1**n) for n in range(num)]) for num in range(5, 200, 5))  # unbounded below
    assert looks_until_flat(rule, [3.0] * 50) == 20
    assert looks_until_flat(rule, [1.0 + 0.1 * n for n in range(50)]) == 20  # rising is not falling


@pytest.mark.parametrize("steps", [2, 3, 40, 1000])
def test_the_rate_rises_stays_and_falls_to_0_within_the_steps(steps):
    config = config_of(until_flat=SOON, schedule="constant", steps=steps, learning_rate=0.01)
    rule = config.until_flat
    flat_at = rule.latest(steps)
    rates = [learning_rate(config, step, flat_at if step >= flat_at else None) for step in range(min(steps, rule.end(flat_at)))]
    assert max(rates) <= 0.01
    assert rates == sorted(rates[:flat_at]) + sorted(rates[flat_at:], reverse=True)
    assert rates[-1] <= 0.01 / (rule.end(flat_at) - flat_at) * (1 + 1e-9)


def test_training_ends_where_val_networks_are_flat_and_says_so(tmp_path):
    data = problem()
    _, trained = run(data, tmp_path / "state")
    rows = loss_metrics(SOURCE, trained, data.config)
    write_metrics(tmp_path / "losses.parquet", rows, METRICS)
    frame = read_metrics(tmp_path / "losses.parquet").to_pandas().set_index("metric")
    looks = frame.loc["loss_val"]
    steps = frame.loc["training_steps", "value"]
    assert frame.loc["flattened", "value"] == 1
    assert steps == data.config.until_flat.end(int(looks["at"].max())) < data.config.steps
    assert (looks["split"] == "val").all()
    assert trained.turns.sum() == steps
    assert frame.loc["loss_total", "at"].max() <= steps


def test_training_that_never_flattens_ends_with_its_steps_and_says_so(tmp_path):
    data = problem(13, SOON | {"least": 1000})
    _, trained = run(data, tmp_path / "state")
    said = {row["metric"]: row["value"] for row in loss_metrics(SOURCE, trained, data.config)}
    assert (said["training_steps"], said["flattened"]) == (12, 0)  # 8 steps, then half as many with a falling rate


def test_looking_at_val_networks_changes_nothing_of_what_is_learned(tmp_path):
    data, curves = problem(12, SOON | {"least": 1000}), []
    for batches in (1, 3):
        rule = data.config.until_flat.model_copy(update={"batches": batches})
        other = data._replace(config=data.config.model_copy(update={"until_flat": rule}))
        curves.append(run(other, tmp_path / str(batches))[1].curves)
    assert torch.equal(*curves)


@pytest.mark.slow
@pytest.mark.parametrize("killed_after", [1, 5, 6, 8, 9])
def test_killed_before_or_after_it_was_flat_training_goes_on_bit_for_bit(tmp_path, killed_after):
    data = problem(loss_scale="first_batch")
    whole, trained = run(data, tmp_path / "whole")

    class KilledError(Exception):
        pass

    class Eager(TrainingState):
        def save_if_due(self, tensors, **metadata):
            self.next_save = 0.0
            super().save_if_due(tensors, **metadata)
            if metadata["step"] == killed_after:
                raise KilledError

    with suppress(KilledError):
        train_autoencoder([data], SOURCE, Eager(tmp_path / "state", "run"))
    resumed, again = run(data, tmp_path / "state")
    assert torch.equal(resumed, whole)
    assert loss_metrics(SOURCE, again, data.config) == loss_metrics(SOURCE, trained, data.config)
