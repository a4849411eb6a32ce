"""Baselines do what their names say, on planted networks."""

import pytest
import torch
from test_autoencoder import SOURCE
from test_norms import NORMED
from test_several_zoos import populations
from weightspace.autoencoder.baselines import REBUILD, PlainCode, code_of, evaluate_baseline, principal_code, rebuild, rebuild_pca
from weightspace.autoencoder.data import checkpoints_by_split
from weightspace.autoencoder.measure import HeldOutNetworks, held_out_networks
from weightspace.autoencoder.settings_baselines import BaselineConfig
from weightspace.autoencoder.settings_within import Conditioning
from weightspace.errors import InputError
from weightspace.nets.forward import learned


def config_of(**settings):
    return BaselineConfig(zoo="planted", epochs=[1], **settings)


def originals_of(weights, train, init_mean=None):
    same = torch.eye(len(weights), dtype=torch.bool)
    return HeldOutNetworks(list(range(len(weights))), weights, train.mean(0), same, init_mean)


@pytest.fixture
def train():
    """60 checkpoints in a plane of 5 directions of a space of 40, around a point."""
    return torch.randn(60, 5) @ torch.randn(5, 40) + 3


def test_a_linear_code_of_as_many_numbers_as_directions_loses_nothing(train):
    weights = train[:7] * 0.5 + train[7:14] * 0.5
    rebuilt = rebuild_pca(principal_code(5, train, PlainCode(torch.arange(40), 0)), weights).weights
    torch.testing.assert_close(rebuilt, weights, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("numbers", [1, 2, 4])
def test_no_projection_of_as_many_numbers_is_nearer_to_the_training_checkpoints_than_the_linear_code(train, numbers):
    best = (rebuild_pca(principal_code(numbers, train, PlainCode(torch.arange(40), 0)), train).weights - train).square().sum()
    basis = torch.linalg.qr(torch.randn(40, numbers)).Q
    centered = train - train.mean(0)
    assert best < (centered @ basis @ basis.T - centered).square().sum()


@pytest.mark.parametrize("weights_r2", [0.5, 0.94])
def test_noise_leaves_the_r2_that_it_is_asked_for(weights_r2):
    train, weights = torch.randn(50, 2000) + 1, torch.randn(100, 2000) - 1
    originals = originals_of(weights, train)
    rebuilt = REBUILD["noise"](config_of(kind="noise", weights_r2=weights_r2), originals)
    spread = (weights - train.mean(0)).square().sum(1).mean()
    assert 1 - (rebuilt - weights).square().sum(1).mean() / spread == pytest.approx(weights_r2, abs=0.01)


def test_the_mean_of_an_init_needs_shared_inits(train):
    mean = torch.randn(3, 40)
    config = config_of(kind="init_mean")
    assert torch.equal(REBUILD["init_mean"](config, originals_of(train[:3], train, mean)), mean)
    with pytest.raises(InputError, match="'planted'.*shared_inits"):
        REBUILD["init_mean"](config, originals_of(train[:3], train))


def test_the_identity_says_what_new_statistics_do_by_themselves(tmp_path):
    (_, zoo), weights = populations(tmp_path), {}
    splits = checkpoints_by_split(BaselineConfig(zoo="normed", kind="identity"), zoo, torch.device("cpu"))
    originals = held_out_networks(splits, 5)
    for kind, numbers in (("identity", {}), ("pca", {"numbers": 2}), ("noise", {"weights_r2": 0.5})):
        config = BaselineConfig(zoo="normed", kind=kind, **numbers)
        train = splits["train"].weights
        weights[kind] = rebuild(config, zoo, originals, train, code_of(config, NORMED, train)).weights
        kept = ~learned(NORMED)
        assert torch.equal(weights[kind][:, kept], originals.weights[:, kept])
    assert torch.equal(weights["identity"], originals.weights)
    deviation = (originals.weights - originals.train_mean)[:, learned(NORMED)].square().sum(1).mean()
    error = (weights["noise"] - originals.weights).square().sum(1).mean()
    assert 1 - (error / deviation).item() == pytest.approx(0.5, abs=0.15)
    rows = {}
    for settings in (None, Conditioning(batches=5)):
        config = BaselineConfig(zoo="normed", kind="identity", conditioning=settings)
        found = evaluate_baseline(config, zoo, SOURCE, torch.device("cpu"))
        rows[settings] = [row["value"] for row in found if row["metric"].startswith("agreement_own")]
        assert not any(row["value"] for row in found if row["metric"] == "weights_squared_error")
    assert set(rows[None]) == {1.0}
    assert min(rows[Conditioning(batches=5)]) < 1
