"""Which samples are kept: the best by val images, and by nothing else."""

import pytest
import torch
from planted_codes import SPEC, coded_zoo
from weightspace.ensemble import evaluate
from weightspace.generation.choose import sample_networks, val_accuracy, with_anchors
from weightspace.generation.settings import BootstrapConfig, GenerationSettings
from weightspace.images.tensors import normalize

KINDS = ["ranked", "elitist"]


def config_of(**changes):
    return GenerationSettings(**{"autoencoder": "planted", "sampler": "kde_joint", "bandwidth": 0.1, "num": 6} | changes)


def samples_of(zoo=None, seed=1, **changes):
    return sample_networks(zoo or coded_zoo(), torch.Generator().manual_seed(seed), config_of(**changes))


def falls(values):
    return bool((values[1:] <= values[:-1]).all())


@pytest.fixture
def blind():
    """A zoo without test images: whoever asks one of them fails."""
    zoo = coded_zoo()
    return zoo._replace(images=zoo.images._replace(test_x=None, test_y=None))


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_anchors_are_the_best_networks_by_val_images(share):
    zoo = coded_zoo(20)
    anchors = with_anchors(zoo, share).anchors
    accuracy = val_accuracy(SPEC, zoo.train, zoo.images)
    assert len(anchors) == 20 * share
    others = sorted(set(range(20)) - set(anchors.tolist()))
    assert not others or accuracy[anchors].min() >= accuracy[others].max()


def test_no_sampler_nor_choice_asks_a_test_image(blind):
    zoo = with_anchors(blind, 0.5)
    for changes in ({}, {"draws": 9}, {"bootstrap": BootstrapConfig(keep=3)}):
        assert len(samples_of(zoo, **changes).weights) == 6


def test_without_a_choice_samples_come_as_they_are_drawn():
    found = samples_of(bandwidth=0.0)
    places = torch.randint(12, (6,), generator=torch.Generator().manual_seed(1))
    assert torch.equal(found.parents, places)
    torch.testing.assert_close(found.weights, coded_zoo().train[places])


def test_of_more_draws_the_best_by_val_images_are_kept_best_first():
    every, kept = samples_of(num=40, draws=40), samples_of(num=6, draws=40)
    best = every.val_accuracy.sort(descending=True).values[:6]
    assert every.val_accuracy.unique().numel() > 3
    assert torch.equal(kept.val_accuracy, best)
    zoo = coded_zoo()
    x = normalize(zoo.images.val_x, zoo.images)
    assert torch.equal(evaluate(SPEC, kept.weights, x, zoo.images.val_y)[1], kept.val_accuracy)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rounds", [1, 3])
def test_bootstrapping_returns_ranked_networks(kind, rounds):
    found = samples_of(draws=20, bandwidth=0.5, bootstrap=BootstrapConfig(kind=kind, rounds=rounds, keep=5))
    zoo = coded_zoo()
    assert falls(found.val_accuracy)
    assert found.val_accuracy.unique().numel() > 1
    assert torch.equal(val_accuracy(SPEC, found.weights, zoo.images), found.val_accuracy)
    torch.testing.assert_close(zoo.decode(found.codes), found.weights)


def test_elitist_rounds_never_lose_the_best():
    first = samples_of(num=20, draws=20, bandwidth=2.0)
    best = [first.best(6).val_accuracy]
    for rounds in (1, 2, 3):
        bootstrap = BootstrapConfig(kind="elitist", rounds=rounds, keep=5)
        best.append(samples_of(draws=20, bandwidth=2.0, bootstrap=bootstrap).val_accuracy)
    assert all((later >= earlier).all() for earlier, later in zip(best, best[1:], strict=False))


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_of_many_rounds_still_knows_its_first_anchor(kind):
    zoo = coded_zoo()._replace(anchors=torch.tensor([2, 3, 7, 9, 11]))
    bootstrap = BootstrapConfig(kind=kind, rounds=3, keep=4)
    found = samples_of(zoo, draws=8, bandwidth=0.0, bootstrap=bootstrap)
    torch.testing.assert_close(found.weights, zoo.train[found.parents])
    assert set(found.parents.tolist()) <= {2, 3, 7, 9, 11}


def test_further_rounds_may_be_drawn_by_another_sampler():
    found = samples_of(sampler="gaussian_start", draws=8, bootstrap=BootstrapConfig(sampler="kde_joint", keep=2))
    assert found.parents is None  # a start has no anchors
    assert found.weights.shape == (6, SPEC.num_weights)


def test_networks_that_are_not_finite_are_chosen_last():
    zoo = coded_zoo()

    def decode(codes):
        weights = zoo.decode(codes)
        return weights.where(torch.arange(len(weights)).view(-1, 1) % 2 == 0, torch.nan)

    found = samples_of(zoo._replace(decode=decode), draws=12)
    assert found.weights.isfinite().all()
