"""Behavior: distances that are zero where outputs are equal, and counts that a slow loop confirms."""

import math

import pytest
import torch
from weightspace.behavior import DISTANCES, agreement, distance, mixed_queries, noise_queries, output_distance, raw_cross_entropy

distances = pytest.mark.parametrize("measure", DISTANCES.values(), ids=DISTANCES)
pytestmark = pytest.mark.usefixtures("float64")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


# distances


@pytest.mark.parametrize("name", sorted(set(DISTANCES) - {"raw_cross_entropy"}))
def test_equal_logits_are_stationary_at_distance_0_or_at_their_own_entropy(name):
    target = torch.randn(3, 6, 4)
    logits = target.clone().requires_grad_()
    loss = DISTANCES[name](logits, target)
    loss.backward()
    entropy = -(target.softmax(-1) * target.log_softmax(-1)).sum(-1).mean()
    assert (loss - (entropy if name == "soft_cross_entropy" else 0)).abs() < 1e-14
    assert logits.grad.abs().max() < 1e-14


def test_with_logits_as_its_target_a_cross_entropy_is_not_stationary_there_and_has_no_least_value():
    target = torch.randn(3, 6, 4)
    logits = target.clone().requires_grad_()
    raw_cross_entropy(logits, target).backward()
    assert logits.grad.abs().max() > 1e-3
    lowered = torch.zeros(4)  # the published loss rewards a class ever less likely, where its target logit is negative
    lowered[0] = -1
    target[..., 0] = -target[..., 0].abs()
    values = [raw_cross_entropy(target + 10.0**power * lowered, target) for power in range(1, 6)]
    assert all(after < before - 1 for before, after in zip(values, values[1:], strict=False))


@distances
def test_other_logits_are_at_a_positive_distance_with_a_gradient(measure):
    logits, target = torch.randn(2, 3, 6, 4)
    logits.requires_grad_()
    loss = measure(logits, target)
    loss.backward()
    assert loss > 1e-3
    assert (logits.grad.norm(dim=(1, 2)) > 0).all()


@pytest.mark.parametrize("name", DISTANCES)
def test_a_shift_that_the_softmax_does_not_see_changes_nothing_but_logits_as_targets(name):
    logits, target = torch.randn(2, 3, 6, 4)
    shift, other = torch.randn(2, 3, 6, 1)
    shifted = DISTANCES[name](logits + shift, target + other * (name != "raw_cross_entropy"))
    torch.testing.assert_close(shifted, DISTANCES[name](logits, target))


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


def slow_raw_cross_entropy(logits, target):
    """Cross-entropy whose target is logits (Meynent et al. 2025, 2.4: the published code)."""
    return -sum(q * math.log(p) for p, q in zip(softmax(logits), target, strict=True))


SLOW = {
    "softmax_mse": slow_softmax_mse,
    "logit_mse": slow_logit_mse,
    "distillation": slow_distillation,
    "soft_cross_entropy": lambda logits, target: slow_raw_cross_entropy(logits, softmax(target)),
    "raw_cross_entropy": slow_raw_cross_entropy,
}


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
