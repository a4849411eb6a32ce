"""Autoencoders of networks with batch norms and layer norms: what has a token is learned, statistics are made anew."""

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from test_autoencoder import Rebuilt, config_of, model_of, originals_of, planted_images, run
from torch import nn
from weightspace.autoencoder.batches import Sequences
from weightspace.autoencoder.data import Checkpoints
from weightspace.autoencoder.evaluate import reconstruct
from weightspace.autoencoder.losses import Step, behavior_loss
from weightspace.autoencoder.measure import held_out_networks, reconstruction_metrics, with_statistics
from weightspace.autoencoder.problem import autoencoder_data
from weightspace.autoencoder.settings_within import Conditioning
from weightspace.autoencoder.store import read_autoencoder, write_autoencoder
from weightspace.ensemble import conditioned, outputs
from weightspace.images.tensors import normalize
from weightspace.nets.forward import unflatten
from weightspace.nets.spec import build_spec

NORMED = build_spec(["conv 4 3", "batch_norm", "activation", "pool 2", "flatten", "linear classes"], "tanh", (1, 6, 6), 3)
PATCHES = ["conv 4 2 0 2", "sequence", "position_embedding", "branch", "layer_norm", "linear 12", "attention 2", "linear 4",
           "add", "layer_norm", "mean", "linear classes"]  # fmt: skip
TRANSFORMER = build_spec(PATCHES, "gelu", (1, 6, 6), 3)
CHOICES = ["none", "affine", "all"]


def networks(spec, num=8):
    """Networks of positive running variances."""
    weights = torch.randn(num, spec.num_weights) / 2
    for name, values in unflatten(spec, weights).items():
        if name.endswith("running_var"):
            values.abs_().add_(0.5)
    return weights


def checkpoints_of(weights):
    return Checkpoints(weights, pd.DataFrame({"model": range(len(weights)), "epoch": 5, "init_tensor": "a"}))


def problem_of(spec, **changes):
    return autoencoder_data(config_of(**changes), spec, checkpoints_of(networks(spec)), planted_images())


@pytest.mark.slow
@pytest.mark.parametrize("window", [None, 5])
@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("spec", [NORMED, TRANSFORMER], ids=["batch norm", "transformer"])
def test_networks_with_norms_are_learned_stored_and_measured(tmp_path, spec, choice, window):
    problem = problem_of(spec, batch_norm_tokens=choice, contrast_weight=0.05, window=window, steps=3)
    write_autoencoder(tmp_path / "model", [problem], run(problem, tmp_path / "state")[1], 0)
    stored, weights = read_autoencoder(tmp_path / "model")["planted"], networks(spec)
    back, again = (reconstruct(codec, stored.trained, weights, 4) for codec in (problem.codec, stored.codec))
    assert torch.equal(back.weights, again.weights)
    rebuilt = with_statistics(spec, back, planted_images(), stored.config.conditioning)
    originals = held_out_networks({"test": checkpoints_of(weights), "train": checkpoints_of(networks(spec))}, 5)
    metrics = reconstruction_metrics(spec, originals, rebuilt, planted_images())
    assert all(values.isfinite().all() for values in metrics.values())


@pytest.mark.parametrize("choice", CHOICES)
def test_what_has_no_token_comes_back_as_the_mean_of_the_train_models_and_statistics_as_they_start(choice):
    problem = problem_of(NORMED, batch_norm_tokens=choice, standardize=False)
    weights = networks(NORMED)
    back = unflatten(NORMED, problem.codec.to_weights(problem.codec.to_tokens(weights)))
    mean = unflatten(NORMED, problem.weights.mean(0))
    for name, values in unflatten(NORMED, weights).items():
        is_norm, is_statistic = name.startswith("norm"), "running" in name
        if is_statistic and choice != "all":
            assert (back[name] == float(name.endswith("var"))).all()
        elif is_norm and choice == "none":
            assert torch.equal(back[name], mean[name].expand_as(values))
        else:
            assert torch.equal(back[name], values)


def slow_statistics(weights, batches):
    """Running mean and variance of one network, by torch's own layer in training."""
    named, norm = unflatten(NORMED, weights), nn.BatchNorm2d(4)
    for batch in batches:
        norm(F.conv2d(batch, named["conv1.weight"]))
    return norm.running_mean, norm.running_var


@pytest.mark.usefixtures("float64")
def test_conditioned_statistics_are_torchs_whatever_they_were_before():
    images, batches = torch.randn(20, 1, 6, 6), torch.randint(20, (7, 5))
    weights = networks(NORMED, 3)
    spoiled = weights.clone()
    for name, values in unflatten(NORMED, spoiled).items():
        if "running" in name:
            values.fill_(torch.nan)
    before = spoiled.clone()
    after = conditioned(NORMED, spoiled, images, batches)
    assert torch.equal(spoiled.nan_to_num(), before.nan_to_num())
    named, given = unflatten(NORMED, after), unflatten(NORMED, weights)
    for n in range(3):
        mean, variance = slow_statistics(weights[n], images[batches])
        torch.testing.assert_close(named["norm2.running_mean"][n], mean)
        torch.testing.assert_close(named["norm2.running_var"][n], variance)
    assert all(torch.equal(named[name], given[name]) for name in given if "running" not in name)


def test_conditioning_changes_nothing_but_the_statistics_and_asks_the_same_images_each_time():
    rebuilt, images, settings = Rebuilt(networks(NORMED), torch.zeros(8)), planted_images(), Conditioning(batches=3, batch_size=4)
    said = settings.model_dump()
    first, again = (with_statistics(NORMED, rebuilt, images, settings).weights for _ in range(2))
    assert torch.equal(first, again)
    assert settings.model_dump() == said
    assert outputs(NORMED, first, normalize(images.test_x, images)).isfinite().all()
    for kept in (with_statistics(NORMED, rebuilt, images, None), with_statistics(NORMED, rebuilt, None, settings)):
        assert kept is rebuilt


def test_variances_that_a_decoder_made_negative_do_no_harm_once_conditioned():
    weights, images = networks(NORMED), planted_images()
    unflatten(NORMED, weights)["norm2.running_var"].neg_()
    asked = normalize(images.test_x, images)
    assert outputs(NORMED, weights, asked).isnan().any()
    rebuilt = with_statistics(NORMED, Rebuilt(weights, torch.zeros(8)), images, Conditioning())
    assert outputs(NORMED, rebuilt.weights, asked).isfinite().all()


def test_distances_in_weights_do_not_see_running_statistics():
    original, moved = networks(NORMED, 5), networks(NORMED, 5)
    rebuilt = moved.clone()
    for name, values in unflatten(NORMED, rebuilt).items():
        if "running" in name:
            values.mul_(3)
    originals = originals_of(original)._replace(train_mean=original.mean(0))
    ours, theirs = (reconstruction_metrics(NORMED, originals, Rebuilt(w, torch.zeros(5)), None) for w in (rebuilt, moved))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_behavior_of_decoded_networks_does_not_see_running_statistics_and_has_a_gradient():
    problem = problem_of(NORMED, batch_norm_tokens="all", behavior_weight=1.0, standardize=False)
    tokens = [problem.codec.to_tokens(networks(NORMED, 3)) for _ in range(2)]
    is_statistic = (problem.codec.layout.positions[:, 1] == 2) | (problem.codec.layout.positions[:, 1] == 3)
    changed = torch.where(is_statistic.view(1, -1, 1), tokens[1], tokens[0]).requires_grad_()
    losses = []
    for decoded in (tokens[0], changed):
        rebuilt = Sequences(decoded, problem.codec.layout.positions, problem.codec.layout.mask)
        step = Step(problem.config, problem.codec, model_of(problem.config, layout=problem.codec.layout), decoded, rebuilt,
                    decoded, problem.queries[:5], problem.targets[:3, :5])  # fmt: skip
        losses.append(behavior_loss(step))
    assert losses[0] == losses[1]
    losses[1].backward()
    assert changed.grad[:, ~is_statistic].abs().max() > 0
