"""Ranger is the textbook's, each model of a stack is trained as it would be alone, and matrices get centralized gradients."""

from math import cos, pi, sqrt

import pytest
import torch
from weightspace.nets.forward import unflatten
from weightspace.predictor.model import predictor_spec
from weightspace.predictor.ranger import Rates, cosine_rate, ranger_step, rectification, start_averages

SPEC = predictor_spec(levels=1, hidden=4, size=3)


def drawn(models, steps):
    weights = torch.randn(models, SPEC.num_weights, dtype=torch.float64)
    return weights, 1e-3 * torch.randn(steps, models, SPEC.num_weights, dtype=torch.float64)


def run(weights, gradients, rates=(5e-3, 1e-3)):
    weights = weights.clone()
    averages = start_averages(weights)
    for step, gradient in enumerate(gradients, start=1):
        ranger_step(SPEC, weights, gradient, averages, Rates(*rates), step)
    return weights


def textbook(parameter, gradients, rate, decay):
    """One tensor under the optimizer of NeRN's configurations, number by number where a formula is per number."""
    beta1, beta2, epsilon, k, alpha = 0.5, 0.999, 1e-5, 6, 0.5
    p, m, v, slow = parameter.clone(), torch.zeros_like(parameter), torch.zeros_like(parameter), parameter.clone()
    for t, gradient in enumerate(gradients, start=1):
        g = gradient - gradient.mean(dim=1, keepdim=True) if gradient.ndim > 1 else gradient
        v = beta2 * v + (1 - beta2) * g * g
        m = beta1 * m + (1 - beta1) * g
        longest = 2 / (1 - beta2) - 1
        length = longest - 2 * t * beta2**t / (1 - beta2**t)
        p = p - decay * rate * p
        if length > 5:
            r = sqrt(
                (1 - beta2**t) * (length - 4) / (longest - 4) * (length - 2) / length * longest / (longest - 2)
            ) / (1 - beta1**t)  # fmt: skip
            p = p - rate * r * m / (v.sqrt() + epsilon)
        else:
            p = p - rate / (1 - beta1**t) * m
        if t % k == 0:
            slow = slow + alpha * (p - slow)
            p = slow.clone()
    return p


def test_twenty_steps_are_the_textbooks():
    weights, gradients = drawn(2, 20)
    named = unflatten(SPEC, run(weights, gradients))
    begun, falls = unflatten(SPEC, weights), unflatten(SPEC, gradients.flatten(0, 1))
    for name, parameter in named.items():
        for model in range(2):
            own = falls[name].unflatten(0, (20, 2))[:, model]
            expected = textbook(begun[name][model], own, 5e-3, 1e-3)
            torch.testing.assert_close(parameter[model], expected, rtol=1e-12, atol=1e-12)


def test_rectified_adam_alone_is_pytorchs():
    weights, gradients = drawn(1, 5)  # fewer steps than lookahead waits for
    bias = unflatten(SPEC, weights)["linear1.bias"].clone().requires_grad_()
    falls = unflatten(SPEC, gradients.flatten(0, 1))["linear1.bias"]
    optimizer = torch.optim.RAdam([bias], 5e-3, (0.5, 0.999), 1e-5, weight_decay=1e-3, decoupled_weight_decay=True)
    for fall in falls:
        bias.grad = fall.unsqueeze(0)
        optimizer.step()
    torch.testing.assert_close(unflatten(SPEC, run(weights, gradients))["linear1.bias"], bias.detach(), rtol=1e-12, atol=1e-12)


def test_a_stack_is_trained_as_each_model_alone():
    weights, gradients = drawn(3, 13)
    alone = [run(weights[n : n + 1], gradients[:, n : n + 1]) for n in range(3)]
    assert torch.equal(run(weights, gradients), torch.cat(alone))


def test_equal_gradients_within_each_row_move_no_matrix():
    weights = torch.randn(1, SPEC.num_weights, dtype=torch.float64)
    gradient = torch.zeros_like(weights)
    for piece in unflatten(SPEC, gradient).values():
        piece += torch.randint(1, 9, (*piece.shape[:2], *[1] * (piece.ndim - 2)))
    before, after = unflatten(SPEC, weights), unflatten(SPEC, run(weights, gradient.expand(12, 1, -1), (5e-3, 0.0)))
    for name in SPEC.shapes:
        same = torch.allclose(before[name], after[name], rtol=0, atol=1e-15)
        assert same == name.endswith(".weight")


def test_the_second_moment_divides_from_the_sixth_step_on():
    assert [rectification(step) > 0 for step in range(1, 9)] == [False] * 5 + [True] * 3
    assert rectification(10**6) == pytest.approx(1)


def test_the_rate_falls_as_pytorchs_cosine():
    parameter = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([parameter], 5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 40, 1e-6)
    for step in range(1, 41):
        assert cosine_rate(5e-3, 1e-6, step, 40) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        assert cosine_rate(5e-3, 1e-6, step, 40) == pytest.approx(1e-6 + (5e-3 - 1e-6) * (1 + cos(pi * (step - 1) / 40)) / 2)
        optimizer.step()
        schedule.step()
    assert cosine_rate(5e-3, 1e-6, 41, 40) == pytest.approx(1e-6)
