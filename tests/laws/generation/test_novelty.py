"""Novelty: a permuted copy is a copy; similarity of mistakes and majorities are those of a slow count."""

import pytest
import torch
import weightspace.generation.novelty
from weightspace.behavior import distance
from weightspace.ensemble import outputs
from weightspace.generation.code_tests import random_networks, shuffled
from weightspace.generation.novelty import (
    Known,
    answers_of,
    candidates,
    disagreement,
    ensemble_gain,
    learned_distance,
    matched,
    similarity,
)
from weightspace.nets.forward import unflatten
from weightspace.nets.spec import build_spec
from weightspace.nets.symmetry import permutation_map, sample_permutations

SPEC = build_spec(["conv 3 3", "activation", "flatten", "linear 5", "activation", "linear classes"], "relu", (1, 6, 6), 4)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def random_weights(num, seed=0):
    return torch.randn(num, SPEC.num_weights, generator=generator(seed))


def known(weights):
    return Known(weights, answers_of(SPEC, weights, torch.randn(40, 1, 6, 6, generator=generator(9))))


def scrambled(weights):
    return weights.gather(1, permutation_map(SPEC, sample_permutations(SPEC, len(weights), generator(3))))


def to(ours, theirs):
    ours, theirs = known(ours), known(theirs)
    return matched(SPEC, ours.weights, theirs.weights, candidates(SPEC, ours, theirs), generator())


# distances


def test_a_permuted_copy_is_at_distance_0_though_it_is_far_plainly(monkeypatch):
    monkeypatch.setattr(weightspace.generation.novelty, "CANDIDATES", 2)
    theirs = random_weights(30)
    ours = scrambled(theirs[10:14])
    found = to(ours, theirs)
    assert (found.nearest() == 0).all()
    assert found.nearest_other().tolist() == [10, 11, 12, 13]
    assert (learned_distance(SPEC, ours, theirs).amin(1) > 1).all()


def test_a_matched_distance_is_never_above_the_plain_one_and_of_the_same_functions():
    ours, theirs = random_weights(4, seed=1), random_weights(6)
    found = to(ours, theirs)
    plain = learned_distance(SPEC, ours, theirs)
    assert (found.distances <= plain.gather(1, found.others) + 1e-5).all()
    assert (found.nearest() < plain.amin(1)).all()
    images = torch.randn(7, 1, 6, 6, generator=generator())
    torch.testing.assert_close(outputs(SPEC, scrambled(ours), images), outputs(SPEC, ours, images), rtol=1e-4, atol=1e-5)


def test_of_duplicates_each_is_at_distance_0_and_another_run_is_not():
    theirs = random_weights(3)
    found = to(torch.cat([theirs[:1], theirs[:1]]), theirs)
    assert found.nearest().tolist() == [0.0, 0.0]
    others = found.nearest(found.others != 0)
    assert (others > 1).all()
    assert found.nearest(found.others < 0).tolist() == [torch.inf] * 2


def test_near_duplicates_keep_their_distance_in_float32():
    weights = 100 * random_weights(1)
    near = weights.clone()
    near[0, 0] += 0.25
    assert learned_distance(SPEC, near, weights).item() == pytest.approx(0.25)
    assert to(near, weights).nearest().item() == pytest.approx(0.25)


def test_running_statistics_are_no_distance():
    spec = build_spec(["conv 3 3", "batch_norm", "activation", "flatten", "linear classes"], "relu", (1, 6, 6), 4)
    weights = torch.rand(2, spec.num_weights, generator=generator())
    changed = weights.clone()
    for name, tensor in unflatten(spec, changed).items():
        if "running" in name:
            tensor.add_(5.0)
    assert learned_distance(spec, changed, weights).diagonal().tolist() == [0.0, 0.0]


# mistakes


def slow_similarity(ours, theirs, labels, same_class):
    wrong = [{(n, a if same_class else 0) for n, a in enumerate(each) if a != labels[n]} for each in (ours, theirs)]
    either = {n for n, _ in wrong[0]} | {n for n, _ in wrong[1]}
    return len(wrong[0] & wrong[1]) / len(either) if either else 0.0


@pytest.mark.parametrize("same_class", [False, True])
def test_similarity_is_a_slow_count(same_class):
    labels = torch.randint(4, (50,), generator=generator())
    ours, theirs = (torch.randint(4, (3, 50), generator=generator(n)) for n in (1, 2))
    ours[0], theirs[0] = labels, labels  # perfect ones
    ours[1] = theirs[1]
    found = similarity(ours, theirs, labels, same_class)
    for row, one in zip(found, ours, strict=True):
        expected = [slow_similarity(one.tolist(), other.tolist(), labels.tolist(), same_class) for other in theirs]
        assert row.tolist() == pytest.approx(expected)
    assert found[1, 1] == 1
    assert found[0, 0] == 0


@pytest.mark.parametrize("error", [0.05, 0.2, 0.6])
def test_independent_mistakes_at_equal_error_have_similarity_e_over_2_minus_e(error):
    labels = torch.zeros(200_000, dtype=torch.long)
    answers = (torch.rand(2, len(labels), generator=generator()) < error).long()
    assert similarity(answers[:1], answers[1:], labels).item() == pytest.approx(error / (2 - error), rel=0.1)


# ensembles


def test_three_that_are_wrong_on_different_images_gain_all_and_copies_gain_nothing():
    labels = torch.arange(6) % 3
    answers = labels.repeat(3, 1)
    for n in range(3):
        answers[n, 2 * n : 2 * n + 2] = (labels[2 * n : 2 * n + 2] + 1) % 3
    assert ensemble_gain(answers, labels, 3).tolist() == pytest.approx([1 / 3])
    assert ensemble_gain(answers[:1].repeat(7, 1), labels, 3).tolist() == pytest.approx([0.0, 0.0])
    assert ensemble_gain(answers, labels, 4).tolist() == []
    assert disagreement(answers).tolist() == pytest.approx([2 / 3] * 3)
    assert disagreement(answers[:1]).tolist() == [0.0]


# populations of a capacity test


def test_shuffled_networks_have_the_numbers_of_each_tensor_and_random_ones_their_moments():
    weights = random_weights(200) + 1
    mixed, drawn = shuffled(SPEC, weights, generator()), random_networks(SPEC, weights, generator())
    for ours, theirs, other in zip(*(unflatten(SPEC, each).values() for each in (mixed, weights, drawn)), strict=True):
        assert torch.equal(ours.flatten(1).sort(1).values, theirs.flatten(1).sort(1).values)
        assert other.mean().item() == pytest.approx(theirs.mean().item(), abs=0.2)
        assert other.std().item() == pytest.approx(theirs.std().item(), rel=0.2)
    assert distance(mixed, weights).amin() > 1
