"""Behavior: distances that are zero where outputs are equal, and counts that a slow loop confirms."""

import math

import pytest
import torch
from weightspace.behavior import DISTANCES, agreement, distance, mixed_queries, noise_queries, output_distance

distances = pytest.mark.parametrize("measure", DISTANCES.values(), ids=DISTANCES)
pytestmark = pytest.mark.usefixtures("float64")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


# distances


@distances
def test_equal_logits_are_at_distance_0_and_stationary(measure):
    target = torch.randn(3, 6, 4)
    logits = target.clone().requires_grad_()
    loss = measure(logits, target)
    loss.backward()
    assert loss.abs() < 1e-14
    assert logits.grad.abs().max() < 1e-14


@distances
def test_other_logits_are_at_a_positive_distance_with_a_gradient(measure):
    logits, target = torch.randn(2, 3, 6, 4)
    logits.requires_grad_()
    loss = measure(logits, target)
    loss.backward()
    assert loss > 1e-3
    assert (logits.grad.norm(dim=(1, 2)) > 0).all()


@distances
def test_a_shift_that_the_softmax_does_not_see_changes_nothing(measure):
    logits, target = torch.randn(2, 3, 6, 4)
    shift, other = torch.randn(2, 3, 6, 1)
    torch.testing.assert_close(measure(logits + shift, target + other), measure(logits, target))


@distances
def test_a_gradient_step_brings_outputs_nearer(measure):
    target = torch.randn(3, 6, 4)
    logits = torch.randn(3, 6, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(measure(logits, target), logits)
    assert measure(logits - 0.1 * gradient, target) < measure(logits, target)


@distances
def test_a_distance_is_the_mean_over_models_and_queries(measure):
    logits, target = torch.randn(2, 3, 6, 4)
    each = [measure(ours[None], theirs[None]) for ours, theirs in zip(logits.flatten(0, 1), target.flatten(0, 1), strict=True)]
    torch.testing.assert_close(measure(logits, target), torch.stack(each).mean())


def softmax(logits):
    top = [math.exp(logit) for logit in logits]
    return [value / sum(top) for value in top]


def slow_softmax_mse(logits, target):
    return sum((p - q) ** 2 for p, q in zip(softmax(logits), softmax(target), strict=True)) / len(logits)


def slow_logit_mse(logits, target):
    """Published nowhere: the smallest mean square over all shifts."""
    shift = sum(logits) / len(logits) - sum(target) / len(target)
    return sum((p - q - shift) ** 2 for p, q in zip(logits, target, strict=True)) / len(logits)


def slow_distillation(logits, target):
    """T^2 KL(softmax(f / T) || softmax(f_hat / T)), T = 2 (Meynent et al. 2025, 2.4)."""
    ours, theirs = softmax([x / 2 for x in logits]), softmax([x / 2 for x in target])
    return 4 * sum(q * math.log(q / p) for p, q in zip(ours, theirs, strict=True))


SLOW = {"softmax_mse": slow_softmax_mse, "logit_mse": slow_logit_mse, "distillation": slow_distillation}


@pytest.mark.parametrize("name", DISTANCES)
def test_a_distance_is_its_formula(name):
    logits, target = torch.randn(2, 3, 6, 4)
    pairs = zip(logits.flatten(0, 1).tolist(), target.flatten(0, 1).tolist(), strict=True)
    slow = [SLOW[name](ours, theirs) for ours, theirs in pairs]
    assert DISTANCES[name](logits, target).item() == pytest.approx(sum(slow) / len(slow))


# pairs of models


def test_agreement_is_the_share_that_a_slow_loop_counts():
    ours, theirs = torch.randint(3, (4, 20)), torch.randint(3, (5, 20))
    slow = [[sum(a == b for a, b in zip(one, other, strict=True)) / 20 for other in theirs.tolist()] for one in ours.tolist()]
    torch.testing.assert_close(agreement(ours, theirs).double(), torch.tensor(slow), rtol=1e-6, atol=0)


def test_agreement_with_oneself_is_1_and_with_the_contrary_0():
    answers = torch.randint(2, (4, 20))
    assert agreement(answers, answers).diagonal().eq(1).all()
    assert agreement(answers, 1 - answers).diagonal().eq(0).all()


def test_output_distance_is_that_of_a_slow_loop_and_blind_to_shifts():
    ours, theirs = torch.randn(4, 6, 3), torch.randn(5, 6, 3)
    slow = [[(a.softmax(-1) - b.softmax(-1)).norm() for b in theirs] for a in ours]
    torch.testing.assert_close(output_distance(ours + torch.randn(4, 6, 1), theirs), torch.tensor(slow))


def test_distances_of_near_pairs_far_from_0_are_not_lost_in_float32():
    ours = torch.randn(3, 1000).float() + 100
    near = ours + 1e-3 * torch.randn(3, 1000).float()
    exact = (ours.double() - near.double()).norm(dim=1)
    torch.testing.assert_close(distance(ours, near).diagonal().double(), exact, rtol=1e-3, atol=0)


# queries


def test_mixed_queries_are_means_of_images_of_two_different_classes():
    labels = torch.randint(3, (12,))
    images = torch.randn(12, 1, 2, 2)
    means = {
        (first, second): (images[first] + images[second]) / 2
        for first in range(12) for second in range(12) if labels[first] != labels[second]
    }  # fmt: skip
    queries = mixed_queries(images, labels, seeded())
    assert 0 < len(queries) <= 12
    assert all(any(torch.equal(query, mean) for mean in means.values()) for query in queries)


def test_images_of_one_class_have_no_mixture():
    assert mixed_queries(torch.randn(5, 1, 2, 2), torch.zeros(5, dtype=torch.long), seeded()).shape == (0, 1, 2, 2)


@pytest.mark.parametrize("deviation", [0.5, 1.5])
def test_noise_has_mean_0_and_its_deviation(deviation):
    images = torch.randn(50, 1, 8, 8)
    noise = noise_queries(images, seeded(), deviation) - images
    assert abs(noise.mean()) < 5 * deviation / noise.numel() ** 0.5
    assert noise.std().item() == pytest.approx(deviation, rel=0.05)


@pytest.mark.parametrize(
    "draw", [noise_queries, lambda x, rng: mixed_queries(x, torch.arange(len(x)), rng)], ids=["noise", "mixed"]
)
def test_queries_come_from_the_generator_alone(draw):
    images = torch.randn(9, 1, 2, 2)
    ours, again, other = (draw(images, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(ours, again)
    assert not (ours.shape == other.shape and torch.equal(ours, other))
