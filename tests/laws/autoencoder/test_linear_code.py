"""Linear codes start as principal components, and codes that are refined are better for their own network and no other."""

import pytest
import torch
from test_autoencoder import ALL_LOSSES, SPEC, checkpoints_of, config_of, model_of, planted_images, planted_weights
from weightspace.autoencoder.baselines import PlainCode, principal_code, rebuild_pca
from weightspace.autoencoder.evaluate import reconstruct
from weightspace.autoencoder.model import start_at_principal_directions
from weightspace.autoencoder.problem import autoencoder_data
from weightspace.autoencoder.refine import Refining, refined, refining_of
from weightspace.autoencoder.settings_within import RefineConfig
from weightspace.autoencoder.train import train_autoencoder
from weightspace.behavior import logit_mse, softmax_mse
from weightspace.ensemble import outputs
from weightspace.errors import InputError
from weightspace.store import TrainingState
from weightspace.table import Source
from weightspace.tokens import identity_scale, layer_scale, make_codec

SOURCE = Source("planted", "autoencoder", "plain", 0)


def linear_model(weights, **changes):
    """An autoencoder before its first step, and what makes tokens for it."""
    codec, model = make_codec(SPEC, weights, None, standardize=True), model_of(config_of(linear_code=True, **changes))
    start_at_principal_directions(model, codec.to_tokens(weights))
    return codec, model


# the linear code


@pytest.mark.parametrize("latent", [1, 2])
def test_an_autoencoder_with_a_linear_code_starts_as_the_best_linear_code_of_standardized_weights(latent):
    train, others = planted_weights(150), planted_weights(7)
    codec, model = linear_model(train, latent=latent)
    numbers = latent * len(codec.layout.index)
    best = principal_code(numbers, codec.scale.apply(train), PlainCode(torch.arange(SPEC.num_weights), 0))
    scaled = rebuild_pca(best, codec.scale.apply(others)).weights
    torch.testing.assert_close(reconstruct(codec, model, others, 3).weights, codec.scale.undo(scaled), rtol=1e-3, atol=1e-4)


def test_with_more_numbers_than_directions_the_training_networks_come_back_and_the_rest_of_the_code_is_0():
    train = planted_weights(6)
    codec, model = linear_model(train)
    torch.testing.assert_close(reconstruct(codec, model, train, 6).weights, train, rtol=1e-4, atol=1e-4)
    codes = model.encode(codec.to_tokens(train), codec.layout.positions).flatten(1)
    assert codes.shape[1] > 5
    assert not codes[:, 5:].any()


def test_an_autoencoder_without_a_linear_code_has_no_parameters_of_one():
    assert [name for name, _ in model_of(config_of()).named_parameters() if name.startswith("linear")] == []


@pytest.mark.slow
def test_a_linear_code_is_trained_and_goes_on_where_it_was_killed(tmp_path):
    config = config_of(linear_code=True, learning_rate=0.003, steps=40, **ALL_LOSSES)
    data = autoencoder_data(config, SPEC, checkpoints_of(planted_weights(30)), planted_images())
    whole = train_autoencoder([data], SOURCE, TrainingState(tmp_path / "whole", "a"))
    start = linear_model(data.weights)[1].linear.synthesis
    assert not torch.allclose(whole.model.linear.synthesis, start, atol=1e-3)

    class Killed(TrainingState):
        def save_if_due(self, tensors, **place):
            self.next_save = 0.0
            super().save_if_due(tensors, **place)
            if place["step"] == 17:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_autoencoder([data], SOURCE, Killed(tmp_path / "killed", "a"))
    again = train_autoencoder([data], SOURCE, TrainingState(tmp_path / "killed", "a"))
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name


# refined codes


def refining(queries=20, **changes):
    return Refining(RefineConfig(**{"query_pool": queries, "num_queries": queries} | changes), SPEC, identity_scale(SPEC),
                    torch.randn(queries, 1, 6, 6))  # fmt: skip


def test_by_weights_alone_a_refined_code_is_the_projection_wherever_it_starts():
    basis = torch.linalg.qr(torch.randn(SPEC.num_weights, 4)).Q
    weights = planted_weights(3)
    steps = refining(steps=400, learning_rate=0.3, behavior_weight=0.0)
    codes = refined(steps, lambda codes: codes @ basis.T, torch.zeros(3, 4), weights)
    torch.testing.assert_close(codes, weights @ basis, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("behavior_distance", ["logit_mse", "softmax_mse"])
def test_with_behavior_a_refined_code_answers_more_as_its_network_than_the_projection_does(behavior_distance):
    basis = torch.linalg.qr(torch.randn(SPEC.num_weights, 30)).Q
    weights = planted_weights(5)
    steps = refining(behavior_weight=10.0, behavior_distance=behavior_distance)
    start = weights @ basis
    codes = refined(steps, lambda codes: codes @ basis.T, start, weights)
    measure = {"logit_mse": logit_mse, "softmax_mse": softmax_mse}[behavior_distance]
    targets = outputs(SPEC, weights, steps.queries)
    before, after = (
        [float(measure(answers, own)) for answers, own in zip(outputs(SPEC, each @ basis.T, steps.queries), targets, strict=True)]
        for each in (start, codes)
    )
    assert all(now < then for then, now in zip(before, after, strict=True))


@pytest.mark.usefixtures("float64")
def test_a_code_is_refined_for_its_own_network_whoever_is_beside_it():
    basis = torch.linalg.qr(torch.randn(SPEC.num_weights, 6)).Q
    weights, steps = planted_weights(4), refining(steps=20)
    steps = steps._replace(queries=steps.queries.double())
    together = refined(steps, lambda codes: codes @ basis.T, weights @ basis, weights)
    alone = refined(steps, lambda codes: codes @ basis.T, weights[2:3] @ basis, weights[2:3])
    torch.testing.assert_close(together[2:3], alone, rtol=1e-6, atol=1e-9)


def test_refining_moves_codes_and_nothing_else():
    train = planted_weights(20)
    codec, model = linear_model(train, latent=1)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    steps = refining_of(RefineConfig(query_pool=20, num_queries=5, steps=3), SPEC, codec.scale, planted_images())
    plain, moved = (reconstruct(codec, model, train[:4], 2, refining=each).weights for each in (None, steps))
    assert not torch.equal(plain, moved)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_refining_by_behavior_needs_images_and_by_weights_does_not():
    scale = layer_scale(SPEC, planted_weights())
    with pytest.raises(InputError, match="behavior_weight asks for images"):
        refining_of(RefineConfig(), SPEC, scale, None)
    by_weights = refining_of(RefineConfig(behavior_weight=0.0, steps=2), SPEC, scale, None)
    weights = planted_weights(2)
    assert refined(by_weights, lambda codes: codes, torch.zeros_like(weights), weights).isfinite().all()
    assert refining_of(None, SPEC, scale, None) is None
