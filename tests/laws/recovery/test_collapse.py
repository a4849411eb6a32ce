"""Units of clusters and the weights above them: planted signs come back, fits are numpy's, searches are exhaustive ones."""

from itertools import product

import numpy as np
import pytest
import torch
from weightspace.nets.activations import ACTIVATIONS
from weightspace.recovery.cluster import NO_CLUSTER, Clustering
from weightspace.recovery.collapse import (
    EXHAUSTIVE,
    centers,
    find_flips,
    least_squares,
    num_clusters,
    smallest_binary,
    usable_students,
)
from weightspace.recovery.settings import ClusterConfig

pytestmark = pytest.mark.usefixtures("float64")

EVEN_LINEAR = [name for name, activation in ACTIVATIONS.items() if activation.symmetry == "even_linear"]
SIZES = {"one output": (6, 10, 1), "several outputs": (8, 12, 5), "more units than inputs": (12, 5, 5), "many": (20, 30, 4)}


# flips


@pytest.mark.parametrize("activation", EVEN_LINEAR)
@pytest.mark.parametrize(("num", "inputs", "outputs"), SIZES.values(), ids=SIZES)
def test_planted_flips_come_back_exactly_and_leave_nothing_affine(num, inputs, outputs, activation):
    function = ACTIVATIONS[activation].function
    z = torch.randn(2000, inputs) @ torch.randn(inputs, num) / inputs**0.5 + 0.3 * torch.randn(num)
    flipped = torch.rand(num) < 0.5
    targets = function(torch.where(flipped, -z, z)) @ torch.randn(num, outputs) + torch.randn(outputs)
    flips = find_flips(function(z), function(-z), targets, num)
    assert torch.equal(flips.flipped, flipped)
    assert flips.residual < 1e-13


@pytest.mark.parametrize("activation", EVEN_LINEAR)
def test_the_entries_of_one_unit_flip_together(activation):
    function, num, block = ACTIVATIONS[activation].function, 5, 3
    z = torch.randn(2000, 12) @ torch.randn(12, num * block) / 12**0.5
    flipped = torch.tensor([True, False, True, True, False])
    signs = torch.where(flipped, -1.0, 1.0).repeat_interleave(block)
    targets = function(signs * z) @ torch.randn(num * block, 4)
    flips = find_flips(function(z), function(-z), targets, num)
    assert torch.equal(flips.flipped, flipped)
    assert flips.residual < 1e-13


def test_what_no_flip_explains_is_the_residual():
    z = torch.randn(2000, 3)
    function = ACTIVATIONS["softplus"].function
    targets = function(z) @ torch.randn(3, 2)
    added = torch.randn(2000, 1) @ torch.randn(1, 2)
    flips = find_flips(function(z), function(-z), targets + added, 3)
    share = float(added.norm() / (targets + added - (targets + added).mean(0)).norm())
    assert not flips.flipped.any()
    assert flips.residual == pytest.approx(share, rel=0.05)


@pytest.mark.parametrize("num", [1, 5, 8])
def test_the_smallest_binary_vector_is_that_of_trying_all(num):
    for seed in range(5):
        random = np.random.default_rng(seed)
        root, vector = random.normal(size=(num, num)), 2 * random.normal(size=num)
        matrix = root.T @ root

        def value(f, matrix=matrix, vector=vector):
            return f @ matrix @ f - 2 * vector @ f

        best = min((np.array(bits) for bits in product([0, 1], repeat=num)), key=value)
        assert smallest_binary(matrix, vector).tolist() == best.astype(bool).tolist()


def test_above_what_can_be_tried_no_single_change_is_better_and_a_planted_one_is_found():
    num, random = EXHAUSTIVE + 10, np.random.default_rng(0)
    root, planted = random.normal(size=(40, num)), random.integers(0, 2, num)
    matrix = root.T @ root
    assert smallest_binary(matrix, matrix @ planted).tolist() == planted.astype(bool).tolist()
    vector = 20 * random.normal(size=num)
    bits = smallest_binary(matrix, vector).astype(float)
    value = bits @ matrix @ bits - 2 * vector @ bits
    for n in range(num):
        other = bits.copy()
        other[n] = 1 - other[n]
        assert other @ matrix @ other - 2 * vector @ other >= value - 1e-9


# least squares


def test_least_squares_is_numpys_whatever_the_scales_of_features():
    features, targets = torch.randn(100, 6) * 10.0 ** torch.arange(-3, 3) + 1.0, torch.randn(100, 3)
    rows = np.concatenate([features.numpy(), np.ones((100, 1))], axis=1)
    solution, squares, *_ = np.linalg.lstsq(rows, targets.numpy(), rcond=None)
    ours, error = least_squares(features, targets)
    np.testing.assert_allclose(ours.T.numpy(), solution, rtol=1e-7)
    np.testing.assert_allclose(error.numpy(), squares / 100, rtol=1e-9)


@pytest.mark.slow
def test_copies_of_a_feature_share_its_weight_and_dead_ones_get_none():
    features = torch.randn(100, 3)
    targets = features @ torch.tensor([[2.0], [-1.0], [0.5]]) + 3.0
    features = torch.cat([features, features[:, :1], torch.zeros(100, 2)], dim=1)
    solution, error = least_squares(features, targets)
    torch.testing.assert_close(solution, torch.tensor([[1.0, -1.0, 0.5, 1.0, 0.0, 0.0, 3.0]]), rtol=1e-9, atol=1e-9)
    assert error < 1e-25


def test_dead_features_get_no_weight_among_many_alive_either():
    features = torch.randn(500, 40).relu()
    features[:, ::9] = 0.0
    solution, _ = least_squares(torch.cat([features, features[:, :7]], dim=1), torch.randn(500, 3))
    assert solution[:, :40:9].abs().max() < 1e-12
    assert solution.abs().max() < 10.0


# centers, and which students are used


def clustering_of(labels):
    labels = torch.tensor(labels)
    none = np.zeros((0, 4))
    return Clustering(labels, none, none[:, 0], 2, none[:, 0], 0.0, [], labels)


def test_a_center_is_the_weighted_mean_of_the_best_students_members_with_equal_signs():
    neurons = torch.tensor([[9.0, 9.0], [1.0, 0.0], [-1.0, -0.2], [5.0, 5.0], [3.0, 3.0]])
    weight, rank = torch.tensor([1.0, 3.0, 1.0, 1.0, 1.0]), torch.tensor([0, 1, 1, 2, 0])
    rows = centers(neurons, neurons, weight, rank, clustering_of([NO_CLUSTER, 0, 0, 0, 1]))
    torch.testing.assert_close(rows, torch.tensor([[1.0, 0.05], [3.0, 3.0]]))


def test_no_clusters_have_no_centers():
    empty = clustering_of([NO_CLUSTER] * 3)
    assert num_clusters(empty) == 0
    assert num_clusters(clustering_of([NO_CLUSTER, 1, 0])) == 2
    assert centers(torch.randn(3, 2), torch.randn(3, 2), torch.ones(3), torch.arange(3), empty).shape == (0, 2)


def test_students_much_worse_than_the_best_have_no_say_but_two_always_have():
    config = ClusterConfig(keep_ratio=100.0)
    assert usable_students(torch.tensor([1e-3, 1e-5, 1e-1, 5e-4]), config).tolist() == [1, 3, 0]
    assert usable_students(torch.tensor([1.0, 1e-5, 2.0]), config).tolist() == [1, 0]
    assert usable_students(torch.tensor([1e-25, 1e-11, 1e-20]), config).tolist() == [0, 2, 1]  # all of them exact
