"""Neurons of different students that are one neuron are found, whatever their sign; the fast ways equal the slow ones."""

import numpy as np
import pytest
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist
from weightspace.recovery import cluster
from weightspace.recovery.cluster import (
    NO_CLUSTER,
    cluster_neurons,
    cores,
    count_curve,
    cut_heights,
    distances,
    first_coordinate_signs,
    span_factor,
)
from weightspace.recovery.settings import ClusterConfig

pytestmark = pytest.mark.usefixtures("float64")

PLANTED, STUDENTS, FAN_IN = 32, 20, 11


# the cut


def slow_curve(merges, student, least):
    """Clusters of at least so many at every height, by cutting there; of members where `student` is None."""
    counts = []
    for height in merges[:, 2]:
        labels = fcluster(merges, height, "distance")
        groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]
        counts.append(sum((len(g) if student is None else len(set(student[g]))) >= least for g in groups))
    return np.array(counts)


def slow_cut(heights, counts):
    """Largest height of the first run of the most clusters."""
    best, cut = counts.max(), None
    for height, count in zip(heights, counts, strict=True):
        if count == best:
            cut = height
        elif cut is not None:
            break
    return cut


@pytest.mark.slow
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("of", ["members", "students"])
@pytest.mark.parametrize("least", [2, 4])
def test_curve_and_cut_are_those_of_cutting_at_every_height(of, ties, least):
    random = np.random.default_rng(0)
    for _ in range(8):
        points = random.integers(0, 5, (40, 2)).astype(float) if ties else random.normal(size=(40, 2))
        student = np.arange(40) % 7
        merges = linkage(points, "average")
        assert (len(np.unique(merges[:, 2])) < 39) == ties
        bits = [1 << n for n in (student.tolist() if of == "students" else range(40))]
        counts, sizes = count_curve(merges, bits, least)
        assert np.array_equal(counts, slow_curve(merges, student if of == "students" else None, least))
        assert cut_heights(merges, counts)[-1] == slow_cut(merges[:, 2], counts)
        assert sizes[-1] == (7 if of == "students" else 40)
        assert of == "students" or np.array_equal(sizes, merges[:, 3])


@pytest.mark.parametrize(
    ("heights", "counts", "cuts"),
    [
        ([1, 2, 3, 4, 5], [0, 2, 2, 1, 2], [3]),
        ([1, 2, 3, 4, 5], [3, 1, 0, 0, 0], [1]),
        ([1, 2, 3, 4, 5], [0, 1, 1, 1, 1], [5]),
        ([1e-8, 2e-8, 3e-8, 1e-7, 1e-6, 1e-3, 1], [6, 7, 6, 7, 7, 7, 6], [1e-3, 2e-8]),  # two halves of one neuron, then all
        ([1e-8, 2e-8, 3e-8, 1e-3, 1], [4, 5, 4, 4, 1], [1e-3, 2e-8]),  # all neurons, and for a moment two halves of one
        ([1e-8, 2e-3, 3e-3, 1e-2, 1e2], [4, 9, 4, 4, 1], [2e-3]),  # too few in place of the most, however long
        ([1e-9, 1e-8, 3e-8, 1e-2, 1], [4, 5, 4, 4, 1], [1e-2, 1e-8]),
    ],
)
def test_the_cut_is_in_the_longest_run_of_log_height_that_keeps_the_clusters(heights, counts, cuts):
    merges = np.array([[0, 0, height, 2] for height in heights])
    found = cut_heights(merges, np.array(counts))
    assert found == cuts
    assert cut_heights(merges * [1, 1, 1e3, 1], np.array(counts)) == pytest.approx([1e3 * cut for cut in found])


# distances


def slow_distances(vectors):
    """min(|u - v|, |u + v|), pair by pair."""
    pairs = [(u, v) for n, u in enumerate(vectors) for v in vectors[n + 1 :]]
    return np.array([min(float((u - v).norm()), float((u + v).norm())) for u, v in pairs])


@pytest.mark.parametrize("block", [4, 7, 100])
def test_distances_are_scipys_and_with_free_signs_the_smaller_of_two(block, monkeypatch):
    monkeypatch.setattr(cluster, "BLOCK", block)
    vectors = torch.randn(23, 5)
    np.testing.assert_allclose(distances(vectors, either_sign=False), pdist(vectors.numpy()), rtol=1e-9)
    np.testing.assert_allclose(distances(vectors, either_sign=True), slow_distances(vectors), rtol=1e-9)


def test_the_metric_is_the_root_mean_squared_difference_of_outputs():
    inputs, neurons = torch.randn(300, 6) * torch.arange(1.0, 7.0) + 2.0, torch.randn(4, 7)
    outputs = inputs @ neurons[:, :-1].T + neurons[:, -1]
    vectors = neurons @ span_factor(inputs)
    for u in range(4):
        for v in range(4):
            expected = (outputs[:, u] - outputs[:, v]).square().mean()
            torch.testing.assert_close((vectors[u] - vectors[v]).square().sum(), expected, rtol=1e-9, atol=1e-12)


def test_weights_on_constant_inputs_count_as_bias_and_on_the_others_sum_of_copies_as_one():
    inputs = torch.randn(300, 6)
    inputs[:, 2], inputs[:, 5] = -0.4242, inputs[:, 0]
    factor = span_factor(inputs)
    assert factor.shape == (7, 5)
    neuron = torch.randn(1, 7)
    other = neuron.clone()
    other[0, 2] += 10.0
    other[0, 6] += 4.242
    other[0, 0] += 3.0
    other[0, 5] -= 3.0
    torch.testing.assert_close(other @ factor, neuron @ factor, rtol=1e-6, atol=1e-6)
    other[0, 6] += 0.1
    torch.testing.assert_close(((other - neuron) @ factor).norm(), torch.tensor(0.1), rtol=1e-5, atol=0)


# clusters


def planted(share_zero, noise=0.01, seed=0):
    """Noisy copies, of random sign, of planted neurons, some with a first weight of about 0; who has them, and which it is."""
    generator = torch.Generator().manual_seed(seed)
    neurons = torch.randn(PLANTED, FAN_IN, generator=generator)
    neurons[: round(share_zero * PLANTED), 0] = 0.0
    signs = torch.where(torch.rand(STUDENTS, PLANTED, 1, generator=generator) < 0.5, -1.0, 1.0)
    copies = signs * neurons + noise * torch.randn(STUDENTS, PLANTED, FAN_IN, generator=generator)
    places = torch.arange(STUDENTS * PLANTED)
    return copies.flatten(0, 1), places // PLANTED, places % PLANTED


def found(clustering, which):
    """Planted neurons that are one cluster, of all their copies and nothing else."""
    whole = 0
    for neuron in range(PLANTED):
        label = clustering.labels[which == neuron].unique()
        whole += len(label) == 1 and label != NO_CLUSTER and bool((which[clustering.labels == label] == neuron).all())
    return whole


@pytest.mark.parametrize("share_zero", [0.0, 0.1, 0.25, 0.5])
@pytest.mark.parametrize("least", [0.5, 0.75])
def test_planted_neurons_are_all_found_whatever_their_signs(least, share_zero):
    vectors, student, which = planted(share_zero)
    config = ClusterConfig(min_cluster_share=least)
    for trimmed in (False, True):
        clustering = cluster_neurons(vectors, student, config, either_sign=True, trimmed=trimmed)
        assert found(clustering, which) == PLANTED == clustering.labels.max() + 1


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.0, 1e-8, 1e-5, 1e-3])
@pytest.mark.parametrize("num_students", [8, 9, 10])
def test_students_that_agree_but_for_rounding_give_each_neuron_once_though_each_has_one_twice(num_students, noise):
    for seed in range(60):
        generator = torch.Generator().manual_seed(seed)
        which = torch.cat(
            [torch.cat([torch.arange(7), torch.randint(7, (1,), generator=generator)]) for _ in range(num_students)]
        )
        signs = torch.where(torch.rand(len(which), 1, generator=generator) < 0.5, -1.0, 1.0)
        neurons = torch.randn(7, 6, generator=generator)
        vectors = signs * (neurons[which] + noise * torch.randn(len(which), 6, generator=generator))
        student = torch.arange(num_students).repeat_interleave(8)
        labels = cluster_neurons(vectors, student, ClusterConfig(), either_sign=True).labels
        assert sorted(labels.unique().tolist()) == list(range(7))
        assert all(len(labels[which == neuron].unique()) == 1 for neuron in range(7))


@pytest.mark.parametrize("least", [0.5, 0.75])
def test_signs_by_the_first_weight_split_neurons_as_published(least):
    wholes, clusters = [], []
    for share_zero in (0.0, 0.1, 0.25, 0.5):
        vectors, student, which = planted(share_zero, seed=1)
        config = ClusterConfig(min_cluster_share=least, procedure="published")
        turned = first_coordinate_signs(vectors) * vectors
        assert (turned[:, 0] >= 0).all()
        clustering = cluster_neurons(turned, student, config, either_sign=True)
        wholes.append(int(found(clustering, which)))
        clusters.append(int(clustering.labels.max()) + 1)
    assert wholes[0] == clusters[0] == PLANTED
    assert all(whole <= PLANTED - round(share * PLANTED) for whole, share in zip(wholes, (0.0, 0.1, 0.25, 0.5), strict=True))
    assert clusters == sorted(clusters, reverse=least == 0.75)  # halves count at .5, and are lost at .75
    assert (clusters[-1] > PLANTED) == (least == 0.5)


def test_without_a_symmetry_opposite_neurons_are_two():
    vectors = torch.randn(1, FAN_IN) * torch.tensor([1.0, -1.0]).repeat(6).unsqueeze(1)
    vectors = vectors + 0.01 * torch.randn(vectors.shape)
    student, config = torch.arange(6).repeat_interleave(2), ClusterConfig(min_cluster_share=1.0)
    labels = [cluster_neurons(vectors, student, config, sign).labels for sign in (False, True)]
    assert (labels[0].view(6, 2) == labels[0][:2]).all()
    assert sorted(labels[0][:2].tolist()) == [0, 1]
    assert labels[1].tolist() == [0] * 12


def test_copies_within_one_student_are_no_cluster_but_in_the_published_procedure():
    neurons = torch.tensor([[1.0, 0.0], [0.0, 1.0], [9.0, 9.0]])
    vectors = neurons.repeat_interleave(6, 0) + 0.01 * torch.randn(18, 2)
    student = torch.tensor([*range(6), *range(6), *[0] * 6])
    for procedure, clusters in (("default", 2), ("published", 3)):
        config = ClusterConfig(procedure=procedure, min_cluster_share=1.0)
        labels = cluster_neurons(vectors, student, config, either_sign=False).labels.view(3, 6)
        assert (labels == labels[:, :1]).all()
        assert (labels[:2] != NO_CLUSTER).all()
        assert (labels[2, 0] == NO_CLUSTER) == (clusters == 2)
        assert len(labels.unique()) == 3


@pytest.mark.parametrize(("max_angle_rad", "kept"), [(0.2, 0), (1.5, 1)])
def test_clusters_whose_neurons_point_apart_are_left_out(max_angle_rad, kept):
    vectors = torch.tensor([[1.0, 0.0], [1.0, 0.8], [1.0, -0.8], [0.6, 0.6]])
    config = ClusterConfig(min_cluster_share=1.0, max_angle_rad=max_angle_rad)
    labels = cluster_neurons(vectors, torch.arange(4), config, either_sign=False).labels
    assert (labels != NO_CLUSTER).all() == kept


def test_a_core_is_what_is_tight_in_a_cluster_that_a_high_cut_has_filled_up():
    vectors, student, which = planted(0.0, seed=1)
    far = torch.randn(STUDENTS * 5, FAN_IN)  # of no two students the same
    vectors, student = torch.cat([vectors, far]), torch.cat([student, torch.arange(STUDENTS).repeat(5)])
    which = torch.cat([which, torch.full((len(far),), -1)])
    config = ClusterConfig(min_cluster_share=1.0, max_angle_rad=1.57)
    plain, trimmed = (cluster_neurons(vectors, student, config, True, trimmed) for trimmed in (False, True))
    assert torch.equal(plain.core, plain.labels)
    assert (which[plain.core != NO_CLUSTER] < 0).any()
    labels = trimmed.core[trimmed.core != NO_CLUSTER].unique()
    cluster_of = [which[trimmed.core == label].unique() for label in labels]
    assert all(len(neurons) == 1 for neurons in cluster_of if (neurons >= 0).any())
    assert set(range(PLANTED)) <= {int(neurons[0]) for neurons in cluster_of}


def test_cores_lie_in_their_clusters_and_have_the_size():
    points, student = np.random.default_rng(0).normal(size=(60, 2)), np.arange(60) % 6
    merges = linkage(points, "average")
    sizes = count_curve(merges, [1 << n for n in student.tolist()], 4)[1]
    labels = torch.as_tensor(fcluster(merges, 1.0, "distance"))
    core = cores(labels, merges, sizes, 4)
    for label in labels.unique():
        members = core == label
        assert (labels[members] == label).all()
        large = len(set(student[labels == label])) >= 4
        assert len(set(student[members])) >= 4 if large else not members.any()
