"""Masks of pixels: planted pixels are confirmed and noise is not, tests and corrections are the textbook's."""

import os
from itertools import product
from math import comb
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from weightspace.errors import InputError
from weightspace.images.build import build_image_set
from weightspace.images.settings import ImagesConfig
from weightspace.recovery.cluster import cluster_neurons, distances, vectors_of
from weightspace.recovery.masks import (
    CONFIRMED,
    LEVEL,
    REJECTED,
    UNDECIDED,
    boruta,
    decided,
    discoveries,
    importances,
    pixel_mask,
)
from weightspace.recovery.settings import ClusterConfig
from weightspace.rng import generator_for


def planted_images(num=200, relevant=(3, 5, 7), side=3):
    """Images of noise but for pixels that their label makes brighter, and one that never changes."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, num)
    pixels = random.integers(0, 200, (num, side * side))
    for n, pixel in enumerate(relevant):
        pixels[:, pixel] = 60 * ((labels + n) % 3) + random.integers(0, 40, num)
    pixels[:, 0] = 17
    return torch.tensor(pixels, dtype=torch.uint8).view(num, 1, side, side), torch.tensor(labels), list(relevant)


# Boruta


@pytest.mark.slow
def test_planted_pixels_are_confirmed_and_noise_is_not():
    images, labels, relevant = planted_images()
    mask = pixel_mask(images, labels, 12, generator_for("mask"))
    assert mask.nonzero().flatten().tolist() == relevant
    state = boruta(images.flatten(1).numpy(), labels.numpy(), 12, np.random.default_rng(0))
    assert state[0] == REJECTED
    assert np.flatnonzero(state == CONFIRMED).tolist() == relevant


@pytest.mark.slow
def test_shuffled_labels_confirm_no_pixel():
    images, labels, _ = planted_images()
    assert not pixel_mask(images, labels[torch.randperm(len(labels))], 10, generator_for("mask")).any()


@pytest.mark.slow
def test_a_mask_is_that_of_its_generator_and_moves_with_the_pixels():
    images, labels, relevant = planted_images()
    masks = [pixel_mask(images, labels, 10, generator_for("mask", 1)) for _ in range(2)]
    assert torch.equal(*masks)
    turned = pixel_mask(images.flip(3), labels, 10, generator_for("mask", 2))
    assert turned.view(3, 3).flip(1).flatten().nonzero().flatten().tolist() == relevant


@pytest.mark.slow
def test_too_few_iterations_decide_nothing():
    images, labels, _ = planted_images(60)
    state = boruta(images.flatten(1).numpy(), labels.numpy(), 3, np.random.default_rng(0))
    assert (state == UNDECIDED).all()


def test_few_features_have_five_shadows_all_the_same():
    images, labels, relevant = planted_images()
    own, shadows = importances(images.flatten(1).numpy()[:, relevant[:2]], labels.numpy(), np.random.default_rng(0))
    assert len(own) == 2
    assert len(shadows) >= 5
    assert own.min() > shadows.max()
    assert np.concatenate([own, shadows]).sum() == pytest.approx(1.0)


@pytest.mark.parametrize("num", [1, 2])
def test_images_that_have_one_label_are_an_error(num):
    with pytest.raises(InputError, match="two different labels"):
        pixel_mask(torch.zeros(num, 1, 2, 2, dtype=torch.uint8), torch.zeros(num, dtype=torch.long), 5, generator_for("mask"))


# tests and corrections


def textbook(values, level):
    """Reject the k smallest, where k is the largest with p_(k) <= k level / m."""
    order = sorted(range(len(values)), key=lambda n: values[n])
    k = max([n + 1 for n in range(len(values)) if values[order[n]] <= (n + 1) * level / len(values)], default=0)
    return [n in order[:k] for n in range(len(values))]


def test_discoveries_are_the_textbooks():
    random = np.random.default_rng(0)
    for num, power in product([1, 2, 9, 40], [1, 3, 6]):
        values = random.random(num) ** power
        assert discoveries(values, 0.1).tolist() == textbook(values, 0.1)
    assert discoveries(np.array([0.04, 0.03]), 0.05).all()  # the larger lets the smaller through
    assert not discoveries(np.array([0.9, 0.03]), 0.05).any()


@pytest.mark.parametrize("tries", [1, 5, 12, 20])
def test_one_feature_is_decided_by_a_two_sided_binomial_test(tries):
    for hits in range(tries + 1):
        least = sum(comb(tries, k) for k in range(hits, tries + 1)) / 2**tries
        most = sum(comb(tries, k) for k in range(hits + 1)) / 2**tries
        confirmed, rejected = decided(np.array([hits]), tries)
        assert confirmed[0] == (least <= LEVEL / tries)
        assert rejected[0] == (most <= LEVEL / tries)


# what a mask does to distances


@pytest.mark.parametrize("metric", ["weights", "data_span"])
def test_weights_outside_the_mask_do_not_change_distances_but_the_bias_does(metric):
    inputs, neurons = torch.randn(200, 6).double(), torch.randn(8, 7).double()
    mask = torch.tensor([True, False, True, True, False, True])
    other = neurons.clone()
    other[:, :-1][:, ~mask] = torch.randn(8, 2).double()
    ours, theirs = (distances(vectors_of(rows, inputs, metric, mask), False) for rows in (neurons, other))
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    other[0, -1] += 1.0
    assert abs(distances(vectors_of(other, inputs, metric, mask), False)[:7] - ours[:7]).min() > 1e-6
    full = vectors_of(neurons, inputs, metric, torch.ones(6, dtype=torch.bool))
    torch.testing.assert_close(full, vectors_of(neurons, inputs, metric))


def test_neurons_that_differ_only_on_dark_pixels_are_one_cluster_with_the_mask():
    neurons, student = torch.randn(3, 9).double(), torch.arange(6).repeat_interleave(3)
    rows = neurons.repeat(6, 1)
    rows[:, 4:8] += 3 * torch.randn(18, 4).double()
    mask = torch.arange(8) < 4
    config, inputs = ClusterConfig(metric="weights", min_cluster_share=1.0), torch.randn(50, 8).double()
    clustering = cluster_neurons(vectors_of(rows, inputs, "weights", mask), student, config, either_sign=False)
    assert sorted(clustering.labels[:3].tolist()) == [0, 1, 2]
    assert (clustering.labels.view(6, 3) == clustering.labels[:3]).all()
    assert cluster_neurons(rows, student, config, either_sign=False).labels.max() < 2


def test_a_mask_of_other_pixels_than_a_neuron_reads_is_an_error():
    with pytest.raises(InputError, match="mask of|of 5 pixels"):
        vectors_of(torch.randn(2, 7), torch.randn(3, 6), "weights", torch.ones(5, dtype=torch.bool))


# images


@pytest.mark.slow
def test_of_digits_the_pixels_that_are_always_dark_are_left_out_and_the_middle_is_confirmed():
    digits = load_digits()
    images = torch.tensor(digits.images[:300] * 15, dtype=torch.uint8).unsqueeze(1)
    mask = pixel_mask(images, torch.tensor(digits.target[:300]), 10, generator_for("mask"))
    assert not mask[images.flatten(1).float().std(0) == 0].any()
    assert mask.view(8, 8)[2:6, 2:6].float().mean() > 0.8


@pytest.mark.skipif("WEIGHTSPACE_IMAGES_DIR" not in os.environ, reason="WEIGHTSPACE_IMAGES_DIR is not set")
def test_of_mnist_the_border_is_left_out_and_the_middle_is_confirmed():
    folder = Path(os.environ["WEIGHTSPACE_IMAGES_DIR"])
    if not (folder / "mnist").is_dir():
        pytest.skip(f"{folder / 'mnist'} is not there")
    config = ImagesConfig(source="parquet", train="mnist/train.parquet", test="mnist/test.parquet", size=28, num_classes=10)
    images = build_image_set(config, folder)
    mask = pixel_mask(images.train_x[:300], images.train_y[:300], 9, generator_for("mask")).view(28, 28)
    assert not mask[[0, 1, 26, 27]].any()
    assert mask[8:20, 10:18].float().mean() > 0.5
