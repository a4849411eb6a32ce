"""Tuned predictors put out, rounded, more nearly what they did before they were rounded."""

import pytest
import torch
from killing import DyingState, KilledError
from planted_predictors import RESIDUAL, predictor_config, random_net, target_for
from weightspace.compression.quantize import dequantize, fake_quantize_weights, quantize
from weightspace.nets.forward import flatten, unflatten
from weightspace.predictor import learn
from weightspace.predictor import tune as module
from weightspace.predictor.model import predict_all
from weightspace.predictor.reconstruct import draw, predict_rows, reconstruct, retarget, spec_of
from weightspace.predictor.tune import tune
from weightspace.store import TrainingState

NAMES = [("test", n) for n in range(2)]


def config_of(bits=4, per="channel", tuned_steps=10, **changes):
    return predictor_config(quantization={"bits": bits, "per": per, "tuned_steps": tuned_steps}, **changes)


def planted(config):
    """Predictors of random kernels, and what they have to put out."""
    spec, weights = random_net(RESIDUAL, 2, torch.float32)
    _, target = target_for(config, spec, weights)
    return target, reconstruct(config, target, NAMES)[0].weights


def rounded_error(config, target, weights, wanted):
    """Of what the rounded weights put out, where weights are."""
    spec = spec_of(config, target)
    on_grid = flatten(spec, fake_quantize_weights(unflatten(spec, weights), config.quantization.bits, config.quantization.per))
    difference = predict_all(spec, on_grid, target.table, target.rank) - wanted
    return difference[:, target.mask[0]].square().mean(1).sqrt()


@pytest.mark.slow
@pytest.mark.parametrize("per", ["tensor", "channel"])
@pytest.mark.parametrize("bits", [4, 6])
def test_rounded_output_is_nearer_to_the_float_output_after_tuning(bits, per):
    config = config_of(bits, per, tuned_steps=300, steps=300, hidden=24, embedding_levels=20, kernel_batch=4096)
    target, weights = planted(config)
    wanted = predict_all(spec_of(config, target), weights, target.table, target.rank)
    before = rounded_error(config, target, weights, wanted)
    after = rounded_error(config, target, tune(config, target, weights, NAMES), wanted)
    assert (after < 0.6 * before).all()


def test_it_is_what_they_put_out_that_is_kept_whatever_the_originals_are():
    config = config_of()
    target, weights = planted(config)
    other = retarget(target, torch.randn(target.kernels.shape))
    tuned = tune(config, target, weights, NAMES)
    assert torch.equal(tuned, tune(config, other, weights, NAMES))
    assert not torch.equal(tuned, weights)


def test_the_grid_is_of_matrices_and_biases_are_free(monkeypatch):
    config, seen, predict_rows = config_of(tuned_steps=3), [], module.predict_rows
    target, weights = planted(config)
    monkeypatch.setattr(module, "predict_rows", lambda spec, own, *rest: seen.append(own) or predict_rows(spec, own, *rest))
    spec, before = spec_of(config, target), weights.clone()
    tuned = unflatten(spec, tune(config, target, weights, NAMES))
    assert torch.equal(weights, before)
    first, given = unflatten(spec, seen[0].detach()), unflatten(spec, weights)
    for name, tensor in given.items():
        expected = dequantize(quantize(tensor, 4, "channel")) if name.endswith(".weight") else tensor
        assert torch.equal(first[name], expected)
        assert not torch.equal(tuned[name], tensor)
    assert len(seen) == 3


def test_the_gradient_is_that_of_the_batchs_own_error_at_the_rounded_weights_straight_through(monkeypatch):
    config, seen = config_of(tuned_steps=1), []
    target, weights = planted(config)
    monkeypatch.setattr(learn, "ranger_step", lambda *args: seen.append(args[2]))
    tune(config, target, weights, NAMES)
    spec = spec_of(config, target)
    wanted = retarget(target, predict_all(spec, weights, target.table, target.rank) * target.mask)
    rows = draw(config, wanted, [(*name, "tuning") for name in NAMES], 1).rows
    leaf = flatten(spec, fake_quantize_weights(unflatten(spec, weights), 4, "channel")).requires_grad_()
    predicted, share = predict_rows(spec, leaf, wanted, rows), rows.shape[1] / target.mask.shape[1]
    for n, own in enumerate(rows):
        error = ((predicted[n] - wanted.kernels[n, own]) * target.mask[n, own]).square().sum() / (share * wanted.num_weights[n])
        (expected,) = torch.autograd.grad(error.sqrt(), leaf, retain_graph=True)
        torch.testing.assert_close(seen[0][n], share * expected[n], rtol=1e-3, atol=1e-6)
        assert seen[0][n].norm() > 0.01


@pytest.mark.parametrize("saves", [1, 6, 9])
def test_a_killed_tuning_goes_on_bit_for_bit(tmp_path, saves):
    config, path = config_of(), tmp_path / "state"
    target, weights = planted(config)
    whole = tune(config, target, weights, NAMES)
    with pytest.raises(KilledError):
        tune(config, target, weights, NAMES, DyingState(path, saves))
    assert torch.equal(tune(config, target, weights, NAMES, TrainingState(path, "key")), whole)


def test_a_stack_is_tuned_as_each_of_its_predictors_alone():
    config = config_of()
    target, weights = planted(config)
    target, weights = target._replace(kernels=target.kernels.double(), table=target.table.double()), weights.double()
    whole = tune(config, target, weights, NAMES)
    for n in range(2):
        one = slice(n, n + 1)
        torch.testing.assert_close(tune(config, target.of([n]), weights[one], NAMES[one]), whole[one], rtol=1e-8, atol=1e-10)
