"""A student is its own: init, path and learning rate do not depend on the others, nor on whether its run was killed."""

from math import prod, sqrt

import pytest
import torch
from killing import Eager, killed
from weightspace.nets.forward import forward, unflatten
from weightspace.nets.spec import build_spec
from weightspace.recovery import students
from weightspace.recovery.fit import Fit, squared_error
from weightspace.recovery.settings import StudentsConfig
from weightspace.recovery.students import descend, expand, initial_student, initial_students, start_adam

WIDE = build_spec(["conv 8 3", "activation", "flatten", "linear 300", "activation", "linear classes"], "g", (2, 8, 8), 200)
SPEC = build_spec(["flatten", "linear 5", "activation", "linear classes"], "g", (1, 1, 3), 2)
TEACHER = build_spec(["flatten", "linear 2", "activation", "linear classes"], "g", (1, 1, 3), 2)


def config_of(**changes):
    return StudentsConfig(**{
        "num": 3, "batch_size": 16, "epochs": 3, "second_order_steps": 4, "precision": "float64", "learning_rate": 0.02,
    } | changes)  # fmt: skip


def fit_of(teachers=2, queries=50):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, queries, 1, 1, 3, generator=generator, dtype=torch.float64)
    draws = [torch.randn(TEACHER.num_weights, generator=generator, dtype=torch.float64) for _ in range(teachers)]
    weights = torch.stack(draws)
    return Fit(x, forward(TEACHER, weights, x), torch.arange(teachers))


def train(config, teachers=2, state=None):
    return expand(SPEC, config, fit_of(teachers), ("test",), state)


# init


@pytest.mark.parametrize("num_students", [1, 20])
def test_glorot_deviations_are_those_of_the_layer_however_many_students(num_students):
    named = unflatten(WIDE, initial_student(WIDE, "glorot", num_students, torch.Generator().manual_seed(0)))
    for layer in WIDE.layers:
        weight, fan_in = named[f"{layer.name}.weight"], prod(layer.fan_in)
        assert float(weight.std()) == pytest.approx(sqrt(2 / (fan_in + layer.out)), rel=4 / sqrt(2 * weight.numel()))
        assert (named[f"{layer.name}.bias"] == 0).all()


@pytest.mark.parametrize("num_students", [1, 20])
def test_published_deviations_fall_with_the_number_of_students(num_students):
    named = unflatten(WIDE, initial_student(WIDE, "published", num_students, torch.Generator().manual_seed(0)))
    for layer in WIDE.layers:
        weight = named[f"{layer.name}.weight"]
        assert float(weight.std()) == pytest.approx(sqrt(2 / (layer.out * num_students)), rel=4 / sqrt(2 * weight.numel()))


def test_a_students_first_weights_are_the_same_whoever_else_is_trained():
    few = initial_students(SPEC, config_of(num=2), 1, ("test",))
    many = initial_students(SPEC, config_of(num=4), 3, ("test",))
    assert torch.equal(many[:2], few)
    assert len({tuple(weights.tolist()) for weights in many}) == 12
    assert not torch.equal(initial_students(SPEC, config_of(num=2), 1, ("other",)), few)


# training


@pytest.mark.parametrize("schedule", ["cosine", "plateau"])
def test_a_student_is_trained_as_it_would_be_among_others(schedule):
    changes = {"schedule": schedule, "patience": 1, "cooldown": 0}
    few, many = train(config_of(num=2, **changes), teachers=1), train(config_of(num=4, **changes), teachers=2)
    torch.testing.assert_close(many.weights[:2], few.weights, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(many.error[:2], few.error, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("phase", ["epochs", "second_order_steps"])
def test_each_phase_alone_lowers_every_students_error(phase):
    config = config_of(**{"epochs": 0, "second_order_steps": 0} | {phase: 20})
    fit = fit_of()._replace(owner=torch.arange(2).repeat_interleave(3))
    before = squared_error(SPEC, initial_students(SPEC, config, 2, ("test",)), fit)
    trained = train(config)
    assert (trained.error < before / 2).all()
    torch.testing.assert_close(trained.error, squared_error(SPEC, trained.weights, fit), rtol=1e-9, atol=0.0)


def test_every_epoch_shows_all_queries_once_and_in_another_order():
    fit = fit_of()._replace(owner=torch.tensor([0, 1, 1]))
    epochs = [list(students._batches(fit, 16, torch.Generator().manual_seed(seed))) for seed in (0, 1)]
    seen = [torch.cat([y for _, y in batches], 1) for batches in epochs]
    assert not torch.equal(*seen)
    for y in seen:
        assert torch.equal(y[1], y[2])
        torch.testing.assert_close(y[:2].sort(1).values, fit.y.sort(1).values, rtol=0, atol=0)


# learning rates


def torchs_rates(losses, patience, cooldown):
    """One student's learning rate after each epoch, by torch's ReduceLROnPlateau as Expand-and-Cluster sets it up."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=1 / sqrt(10), patience=patience, cooldown=cooldown, threshold=0.0, eps=0.0
    )
    rates = []
    for loss in losses:
        schedule.step(loss)
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


def rates_of(losses, patience, cooldown):
    """Rates [student, epoch] after each epoch of losses [student, epoch]."""
    changes = {"patience": patience, "cooldown": cooldown, "learning_rate": 1.0, "precision": "float64"}
    config = config_of(schedule="plateau", **changes)
    state, rates = start_adam(config, torch.zeros(len(losses), SPEC.num_weights)), []
    for loss in losses.double().T:
        state = students._after_epoch(config, state, loss)
        rates.append(state.rate)
    return torch.stack(rates, 1)


@pytest.mark.parametrize("cooldown", [0, 3])
@pytest.mark.parametrize("patience", [1, 2])
def test_on_a_plateau_a_students_rate_falls_by_its_own_loss_alone(patience, cooldown):
    falling = [1 / (n + 1) for n in range(20)]
    losses = torch.tensor([falling, [1.0] * 20, falling[:8] + [0.5] * 12, falling[:4] + [1.0] * 5 + falling[9:]])
    losses = torch.cat([losses, torch.rand(20, 20, generator=torch.Generator().manual_seed(0)).sort(1, descending=True).values])
    losses[4::2, 5:12] += 1  # a rise that ends within a cooldown
    losses[5, 10] = torch.nan
    expected = torch.tensor([torchs_rates(own, patience, cooldown) for own in losses.double().tolist()], dtype=torch.float64)
    torch.testing.assert_close(rates_of(losses, patience, cooldown), expected)
    assert (expected[0] == 1.0).all()
    assert (expected[1:4, -1] < 1.0).all()


def test_epochs_that_improve_during_a_cooldown_count_towards_its_end():
    losses = [1.0] * 22 + [0.9 - 0.01 * k for k in range(10)] + [5.0] * 60
    rates = rates_of(torch.tensor([losses]), patience=20, cooldown=10)[0]
    falls = [epoch for epoch in range(1, len(losses)) if rates[epoch] < rates[epoch - 1]]
    assert falls == [21, 52, 83]
    assert rates.tolist() == pytest.approx(torchs_rates(losses, 20, 10))


def test_a_student_at_the_smallest_rate_stands_still_while_others_go_on_and_all_there_end_the_phase():
    config = config_of(schedule="plateau", epochs=5, min_learning_rate=1e-3)
    fit = fit_of()
    state = start_adam(config, initial_students(SPEC, config, 2, ("test",))[:2])
    before = state.weights.clone()
    state.rate[0] = 1e-4
    *_, after = descend(SPEC, config, state, fit, ("test",))
    assert torch.equal(after.weights[0], before[0])
    assert not torch.equal(after.weights[1], before[1])
    assert after.epoch == 5
    still = after._replace(rate=torch.full((2,), 1e-4, dtype=torch.float64), epoch=0)
    assert len(list(descend(SPEC, config, still, fit, ("test",)))) == 1


# killed runs


def train_killed(config, path, monkeypatch, after):
    """Train students and die at some step of either phase, before it is saved."""
    with killed(monkeypatch, students, after):
        train(config, state=Eager(path, "run"))


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("killed_after", range(1, 10))
def test_training_killed_in_either_phase_goes_on_bit_for_bit(tmp_path, monkeypatch, killed_after, precision):
    """Seven epochs of Adam, at rates at which losses rise too, then two steps of second order."""
    changes = {"epochs": 7, "second_order_steps": 2, "learning_rate": 1.0, "patience": 1, "cooldown": 1}
    config = config_of(schedule="plateau", precision=precision, **changes)
    train_killed(config, tmp_path / "state", monkeypatch, killed_after)
    resumed, whole = train(config, state=Eager(tmp_path / "state", "run")), train(config)
    for ours, theirs in zip(resumed, whole, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(("killed_after", "epochs_left"), [(3, 1), (5, 0)])
def test_a_resumed_run_does_not_do_again_what_is_saved(tmp_path, monkeypatch, killed_after, epochs_left):
    config = config_of()
    train_killed(config, tmp_path / "state", monkeypatch, killed_after)
    done, original = [], students._after_epoch
    monkeypatch.setattr(students, "_after_epoch", lambda *args: done.append(1) or original(*args))
    train(config, state=Eager(tmp_path / "state", "run"))
    assert len(done) == epochs_left


def test_a_state_of_another_run_is_ignored(tmp_path, monkeypatch):
    train_killed(config_of(learning_rate=0.1), tmp_path / "state", monkeypatch, 5)
    resumed = train(config_of(), state=Eager(tmp_path / "state", "another"))
    assert torch.equal(resumed.weights, train(config_of()).weights)
