"""Levenberg-Marquardt of a stack: the derivative is right, models do not see each other, what should stay stays."""

import pytest
import torch
from planted import teacher_of
from weightspace.nets.activations import ACTIVATIONS
from weightspace.nets.forward import forward
from weightspace.nets.spec import build_spec
from weightspace.recovery import second_order
from weightspace.recovery.fit import Fit, squared_error
from weightspace.recovery.second_order import (
    GIVE_UP,
    levenberg_marquardt,
    minimize_squares,
    normal_equations,
    outputs_and_jacobian,
    rows_for,
    start,
)

pytestmark = pytest.mark.usefixtures("float64")

SHALLOW = build_spec(["flatten", "linear 5", "activation", "linear classes"], "g", (1, 1, 4), 2)
DEEP = build_spec(["flatten", "linear 4", "activation", "linear 3", "activation", "linear classes"], "g", (1, 1, 4), 2)
CONV = build_spec(
    ["conv 3 3 1", "activation", "pool 2", "conv 2 2", "activation", "flatten", "linear classes"], "g", (2, 4, 4), 2
)
SPECS = {"shallow": SHALLOW, "deep": DEEP, "conv": CONV}
EVERY = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)


def problem(spec, models=3, teachers=2, queries=60):
    """A stack of models near their teachers, which get queries of their own."""
    weights = torch.randn(teachers, spec.num_weights) / 2
    x = torch.randn(teachers, queries, *spec.image_shape)
    fit = Fit(x, forward(spec, weights, x), torch.arange(models) % teachers)
    return weights[fit.owner] + 0.3 * torch.randn(models, spec.num_weights), fit


def slow_jacobian(spec, weights, x):
    def outputs(flat):
        return forward(spec, flat.unsqueeze(0), x)[0]

    return torch.autograd.functional.jacobian(outputs, weights)


def error_after(spec, weights, fit, steps, first=0):
    return squared_error(spec, levenberg_marquardt(spec, weights, fit, steps, 0.0, first), fit)


@pytest.mark.parametrize("sets", ["own", "common"])
@EVERY
def test_the_jacobian_is_autograds(spec, sets):
    weights, fit = problem(spec, queries=7)
    x = fit.inputs(torch.arange(3)) if sets == "own" else fit.x[:1]
    outputs, jacobian = outputs_and_jacobian(spec, weights, x)
    torch.testing.assert_close(outputs, forward(spec, weights, x))
    for n, model in enumerate(weights):
        own = x[[n]] if sets == "own" else x
        torch.testing.assert_close(jacobian[n], slow_jacobian(spec, model, own), rtol=1e-10, atol=1e-12)


@EVERY
def test_the_jacobian_from_a_layer_on_is_the_rest_of_the_whole(spec):
    weights, fit = problem(spec, queries=7)
    x = fit.inputs(torch.arange(3))
    whole = outputs_and_jacobian(spec, weights, x)[1]
    for layer in spec.layers:
        assert torch.equal(outputs_and_jacobian(spec, weights, x, layer.offset)[1], whole[..., layer.offset :])


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_short_cut_of_one_hidden_layer_gives_the_same_equations(activation, monkeypatch):
    spec = SHALLOW._replace(activation=activation)
    weights, fit = problem(spec)
    short = normal_equations(spec, weights, fit)
    monkeypatch.setattr(second_order, "_add_shallow", second_order._add_general)
    for ours, slow in zip(short, normal_equations(spec, weights, fit), strict=True):
        torch.testing.assert_close(ours, slow, rtol=1e-10, atol=1e-12)


@EVERY
def test_normal_equations_do_not_depend_on_the_memory_at_hand(spec, monkeypatch):
    weights, fit = problem(spec)
    whole = normal_equations(spec, weights, fit)
    monkeypatch.setattr(second_order, "JACOBIAN_BYTES", 8 * 3 * spec.num_weights * 2 * 7)
    for ours, theirs in zip(normal_equations(spec, weights, fit), whole, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@EVERY
def test_the_gradient_is_half_that_of_the_mean_squared_error(spec):
    weights, fit = problem(spec)
    leaf = weights.clone().requires_grad_()
    outputs = forward(spec, leaf, fit.inputs(torch.arange(3)))
    (outputs - fit.answers(torch.arange(3))).square().mean((1, 2)).sum().backward()
    torch.testing.assert_close(normal_equations(spec, weights, fit)[1], leaf.grad / 2, rtol=1e-9, atol=1e-12)


@EVERY
def test_layers_below_the_first_one_trained_stay_bit_for_bit_and_the_others_move(spec):
    weights, fit = problem(spec)
    first = spec.layers[1].offset
    trained = levenberg_marquardt(spec, weights, fit, 5, 0.0, first)
    assert torch.equal(trained[:, :first], weights[:, :first])
    assert (trained[:, first:] != weights[:, first:]).all()
    assert (squared_error(spec, trained, fit) < squared_error(spec, weights, fit)).all()


@pytest.mark.slow
@EVERY
def test_a_model_goes_the_way_it_would_go_alone(spec):
    weights, fit = problem(spec)
    together = error_after(spec, weights, fit, 8)
    for n in range(3):
        alone = error_after(spec, weights[[n]], fit.of(torch.tensor([n])), 8)
        torch.testing.assert_close(alone[0], together[n], rtol=1e-5, atol=1e-20)


@EVERY
def test_the_error_never_rises_and_is_that_of_the_weights(spec):
    weights, fit = problem(spec)
    state = start(spec, weights, fit)
    before = state.error.clone()
    for now in minimize_squares(spec, state, fit, 10, 0.0):
        assert (now.error <= before).all()
        torch.testing.assert_close(now.error, squared_error(spec, now.weights, fit), rtol=1e-9, atol=0.0)
        before = now.error.clone()


@pytest.mark.slow
@EVERY
def test_a_planted_answer_is_reached_to_the_last_digits(spec):
    generator = torch.Generator().manual_seed(2)
    spec, teacher = teacher_of(spec.architecture, "g", spec.image_shape, 2, generator)
    x = torch.randn(1, 150, *spec.image_shape)
    fit = Fit(x, forward(spec, teacher, x), torch.tensor([0]))
    near = teacher + 0.02 * torch.randn(1, spec.num_weights, generator=generator)
    assert squared_error(spec, near, fit) > 1e-6
    assert error_after(spec, near, fit, 60) <= 1e-25


def test_what_rests_does_not_change():
    weights, fit = problem(SHALLOW)
    state = start(SHALLOW, weights, fit)
    state.damping[1] = GIVE_UP
    tolerance = float(state.error[2])  # at its tolerance, as what is below
    kept = state.error.le(tolerance)
    kept[1] = True
    assert not kept.all()
    for _ in minimize_squares(SHALLOW, state, fit, 3, tolerance):
        pass
    assert (state.weights == weights).all(1).tolist() == kept.tolist()


def test_a_stack_that_rests_ends_the_steps():
    weights, fit = problem(SHALLOW)
    assert not list(minimize_squares(SHALLOW, start(SHALLOW, weights, fit), fit, 9, tolerance=1e9))


@pytest.mark.slow
def test_a_model_that_cannot_improve_comes_to_rest_on_its_own():
    weights, fit = problem(SHALLOW)
    noise = fit._replace(y=fit.y + torch.randn(fit.y.shape))
    taken = sum(1 for _ in minimize_squares(SHALLOW, start(SHALLOW, weights, noise), noise, 2000, 0.0))
    assert taken < 1000


def test_equations_are_as_many_per_weight_as_asked():
    _, fit = problem(SHALLOW, queries=500)
    assert rows_for(fit, 100, 3.0).y.shape[1] == 150  # of two outputs
    assert rows_for(fit, 10, 1.0, least=70).x.shape[1] == 70
