"""What SANE and MultiZoo-SANE do in training: noise on views, two views as they are, scaled errors, half the bits."""

import pytest
import torch
import weightspace.autoencoder.train
from test_autoencoder import config_of, model_of, planted_weights, problem_of, run
from torch import nn
from weightspace.autoencoder.batches import noised
from weightspace.autoencoder.losses import LEAST_DEVIATION, structure_loss
from weightspace.autoencoder.store import read_autoencoder, write_autoencoder
from weightspace.autoencoder.train import batch_losses
from weightspace.tokens import token_layout

MASK = torch.tensor([[True, True, True, True], [True, True, True, False], [True, False, False, False]])


def step_seen(problem, monkeypatch):
    """What the losses of a step are computed from, with the tokens that were encoded."""
    seen = {}
    monkeypatch.setattr(weightspace.autoencoder.train, "losses_of", lambda step: seen.update(step=step) or {})
    model = model_of(problem.config)
    encode = model.encode

    def watched(tokens, positions):
        seen["inputs"] = tokens
        return encode(tokens, positions)

    monkeypatch.setattr(model, "encode", watched)
    batch_losses(problem, model, 0, 0)
    return seen["step"], seen["inputs"]


# noise


def test_noise_is_a_factor_of_each_entry_of_mean_1_and_leaves_padding_0():
    tokens = torch.randn(50, 30, 20)
    tokens[:, :, 15:] = 0
    changed = noised(tokens, 0.1, torch.Generator().manual_seed(0))
    assert changed[:, :, 15:].abs().max() == 0
    factors = (changed / tokens)[:, :, :15]
    assert factors.mean().item() == pytest.approx(1, abs=0.003)
    assert factors.std().item() == pytest.approx(0.1, abs=0.003)
    assert torch.pdist(factors[:, :, :3].flatten(1)).min() > 0.01
    assert noised(tokens, 0.0, torch.Generator()) is tokens


@pytest.mark.parametrize("window", [None, 6])
@pytest.mark.parametrize("target", ["noised", "clean"])
def test_views_are_encoded_with_noise_and_decoded_to_themselves_with_it_or_without(monkeypatch, target, window):
    changes = {"contrast_weight": 0.1, "views": "original_original", "reconstruct": "both", "window": window, "noise": 0.1}
    step, inputs = step_seen(problem_of(**changes, noise_target=target), monkeypatch)
    ours, theirs = inputs.chunk(2)
    assert not torch.equal(ours, theirs)  # each view has noise of its own
    assert torch.equal(step.rebuilt.tokens, inputs) == (target == "noised")
    if target == "clean":
        first, second = step.rebuilt.tokens.chunk(2)
        assert torch.equal(first, second)
        torch.testing.assert_close(ours, first, rtol=0.6, atol=0)
        assert not torch.allclose(ours, first, rtol=0.05, atol=0)


def test_two_views_as_they_are_differ_by_nothing_without_noise(monkeypatch):
    problem = problem_of(contrast_weight=0.1, views="original_original")
    _, inputs = step_seen(problem, monkeypatch)
    assert torch.equal(*inputs.chunk(2))


# scaled errors


def slow_scaled(decoded, target, over):
    """Mean of the squared errors over deviations, by loops; a token of one weight counts as it is."""
    entries = [(m, t) for m in range(len(target)) for t in range(len(MASK))]
    errors, all_weights = [], torch.cat([target[m][MASK].flatten() for m in range(len(target))])
    for m, t in entries:
        weights = target[m, t][MASK[t]]
        deviation = all_weights.std(correction=0) if over == "batch" else weights.std(correction=0)
        deviation = 1.0 if over == "token" and len(weights) == 1 else deviation + LEAST_DEVIATION
        errors += [float((d - w) ** 2 / deviation**2) for d, w in zip(decoded[m, t][MASK[t]], weights, strict=True)]
    return sum(errors) / len(errors)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("over", ["token", "batch"])
def test_errors_are_divided_by_the_deviation_of_the_weights(over):
    decoded, target = torch.randn(2, 5, 3, 4)
    target = target * MASK
    for mask in (MASK, MASK.expand(5, -1, -1)):
        assert structure_loss(decoded, target, mask, scale=over).item() == pytest.approx(slow_scaled(decoded, target, over))


@pytest.mark.usefixtures("float64")
def test_over_a_step_the_scaled_error_is_that_of_multizoo_sane():
    """def_loss.py, MaskedReconLoss(reduction="mean", standardize=True), e34cda5: all weights of a batch selected at once."""
    output, target, mask = torch.randn(5, 3, 4), torch.randn(5, 3, 4) * MASK, MASK.expand(5, -1, -1)
    mean = torch.masked_select(target, mask).mean()
    deviation = torch.masked_select((target - mean) ** 2, mask).mean().sqrt() + 1e-4
    theirs = nn.functional.mse_loss(
        torch.masked_select((mask * output - mean) / deviation, mask), torch.masked_select((target - mean) / deviation, mask)
    )
    torch.testing.assert_close(structure_loss(output, target, mask, scale="batch"), theirs)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("over", ["token", "batch"])
def test_a_tokens_or_a_steps_own_size_does_not_matter(over):
    target = torch.randn(4, 2, 30)
    decoded, mask = target + 0.1 * torch.randn(4, 2, 30), torch.ones(2, 30, dtype=torch.bool)
    factors = torch.tensor([3.0, 50.0]).view(1, 2, 1) if over == "token" else 20.0
    ours, scaled = (structure_loss(d, t, mask, scale=over) for d, t in ((decoded, target), (decoded * factors, target * factors)))
    torch.testing.assert_close(ours, scaled, rtol=1e-3, atol=0)
    assert structure_loss(decoded * factors, target * factors, mask) > 5 * structure_loss(decoded, target, mask)


@pytest.mark.parametrize("over", ["token", "batch"])
def test_a_step_divides_its_errors_as_the_settings_say(over, monkeypatch):
    plain, scaled = (problem_of(standardize=False, structure_scale=scale) for scale in ("none", over))
    scaled = scaled._replace(weights=plain.weights)
    step, _ = step_seen(plain, monkeypatch)
    monkeypatch.undo()
    loss = batch_losses(scaled, model_of(scaled.config), 0, 0)["structure"]
    expected = structure_loss(step.decoded, step.rebuilt.tokens, step.rebuilt.mask, scale=over)
    assert loss == expected
    assert loss > 1.5 * structure_loss(step.decoded, step.rebuilt.tokens, step.rebuilt.mask)


def test_tokens_of_equal_weights_have_finite_errors():
    target = torch.ones(2, 3, 4) * MASK
    assert structure_loss(target + 0.1, target, MASK, scale="token").isfinite()
    assert structure_loss(target, target, MASK, scale="token") == 0


# precision


@pytest.mark.slow
def test_half_the_bits_in_training_give_nearly_the_same_losses_and_whole_weights(tmp_path):
    settings = {"contrast_weight": 0.05, "cycle_weight": 0.01, "width": 16}
    half, whole = (problem_of(**settings, precision=precision) for precision in ("bfloat16", "float32"))
    half = half._replace(weights=whole.weights, codec=whole.codec)
    ours, theirs = (batch_losses(data, model_of(data.config), 0, 0) for data in (half, whole))
    for name, loss in theirs.items():
        assert ours[name].dtype == torch.float32
        assert ours[name].item() == pytest.approx(loss.item(), rel=0.05)
    assert ours["structure"] != theirs["structure"]
    _, trained = run(half, tmp_path / "state")
    assert {parameter.dtype for parameter in trained.model.parameters()} == {torch.float32}
    write_autoencoder(tmp_path / "model", [half], trained, 0)
    stored, tokens = read_autoencoder(tmp_path / "model")["planted"], half.codec.to_tokens(planted_weights(2))
    positions = token_layout(half.codec.spec).positions
    plain = model_of(config_of(**settings))
    plain.load_state_dict(trained.model.state_dict())
    assert torch.equal(stored.trained.encode(tokens, positions), plain.encode(tokens, positions))
