"""What autoencoders are trained on and measured by, as published: slow versions, and what the published code returned."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from peers import CNN, below, flat_weights, recorded
from test_autoencoder import ALL_LOSSES, config_of, model_of, planted_weights, problem_of, run
from torch import nn
from weightspace.autoencoder.batches import Sequences, View, draw_batch, draw_views, view_sequences, weights_of
from weightspace.autoencoder.data import Checkpoints
from weightspace.autoencoder.evaluate import codec_of, rebuild_test
from weightspace.autoencoder.losses import LOSSES, Step, behavior_loss, contrast_loss, cycle_loss, structure_loss, total_loss
from weightspace.autoencoder.ridge import probe_of
from weightspace.autoencoder.schedule import momentum
from weightspace.autoencoder.store import Stored, read_autoencoder, write_autoencoder
from weightspace.autoencoder.train import batch_losses
from weightspace.autoencoder.views import StoredPermutations
from weightspace.errors import InputError
from weightspace.nets.symmetry import permutation_map
from weightspace.properties import token_statistics
from weightspace.tokens import Codec, detokenize, identity_scale, layer_scale, make_codec, token_layout, tokenize

LAYOUT = token_layout(CNN)
CODEC = Codec(CNN, LAYOUT, identity_scale(CNN))


def in_tokens(entries):
    """Tokens that hold these numbers at the mask's entries, in row order, and 0 elsewhere."""
    tokens = torch.zeros(len(entries), *LAYOUT.index.shape, dtype=torch.float64)
    tokens[:, LAYOUT.mask] = entries.double()
    return tokens


def passed(model, codec, weights):
    """Tokens of whole networks, encoded and decoded."""
    return model.decode(model.encode(codec.to_tokens(weights), codec.layout.positions), codec.layout.positions)


# stored permutations


def test_stored_permutations_and_their_padding_are_the_published_ones():
    peers = recorded("structure_stored_permutations")
    networks = flat_weights(below(peers, "networks/"))
    maps = permutation_map(CNN, [peers[f"permutations/P_bg{n}"] for n in range(4)])
    config = config_of(views="stored", permuted_padding="first_weight", standardize=False)
    slots = torch.stack([torch.cat([torch.zeros(1, dtype=torch.long), 1 + peers[f"model{m}/ids"].long()]) for m in (0, 1)])
    stored = StoredPermutations(torch.cat([torch.arange(CNN.num_weights)[None], maps]), slots)
    data = problem_of()._replace(config=config, codec=CODEC, weights=networks, stored=stored)
    batch = torch.tensor([0, 1])
    for slot in range(5):
        view = View(slot > 0, maps=stored.maps[slots[batch, slot]])
        tokens = view_sequences(data, batch, view).tokens
        for model in (0, 1):
            assert torch.equal(tokens[model][LAYOUT.mask], peers[f"model{model}/slots"][slot])
            assert tokens[model][~LAYOUT.mask].unique().tolist() == [peers[f"model{model}/padding_of_slots"][slot].item()]


@pytest.mark.parametrize("num", [1, 3, 20])
def test_a_batch_is_seen_in_two_slots_of_a_fixed_number_of_permutations(num):
    data, batch = problem_of(views="stored", stored_permutations=num), torch.arange(10)
    assert data.stored.maps.shape == (num + 1, data.weights.shape[1])
    assert torch.equal(data.stored.maps[0], torch.arange(data.weights.shape[1]))
    seen, originals = set(), 0
    for draw in range(40):
        views = draw_views(data, batch, torch.Generator().manual_seed(draw))
        assert [view.permuted for view in views] != [False, False]
        for view in views:
            stored = data.weights[batch].unsqueeze(1).expand(-1, num + 1, -1).gather(2, data.stored.maps.expand(10, -1, -1))
            which = (weights_of(data, batch, view).unsqueeze(1) == stored).all(2)
            assert which.any(1).all()
            assert view.permuted == (not which[:, 0].any())  # the original for all models of a batch, or for none
            seen |= {tuple(row.tolist()) for row in which.nonzero()}
            originals += not view.permuted
        assert not torch.equal(*(weights_of(data, batch, view) for view in views))
    assert originals > 0
    assert {permutation for _, permutation in seen} == set(range(num + 1))
    assert all(row.sort().values.tolist() == list(range(num + 1)) for row in data.stored.slots)


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("views", ["original_permuted", "stored"])
def test_what_pads_a_permuted_view_is_0_or_the_first_weight_and_tells_the_network(views, standardize):
    batch = torch.tensor([2, 5, 7])
    for padding in ("zeros", "first_weight"):
        data = problem_of(views=views, permuted_padding=padding, standardize=standardize)
        layout, first = data.codec.layout, data.codec.scale.apply(data.weights)[batch, 0]
        for view in draw_views(data, batch, torch.Generator().manual_seed(1)):
            tokens = view_sequences(data, batch, view).tokens
            assert torch.equal(tokens * layout.mask, data.codec.to_tokens(weights_of(data, batch, view)))
            filled = first if view.permuted and padding == "first_weight" else torch.zeros(3)
            assert torch.equal(tokens[:, ~layout.mask], filled[:, None].expand(-1, int((~layout.mask).sum())))


def test_batches_of_an_epoch_hold_each_checkpoint_once_and_drop_the_rest():
    data = problem_of(batches="epochs", batch_size=4)
    epochs = [torch.cat([draw_batch(data, 2 * epoch + n, 0, torch.Generator()) for n in range(2)]) for epoch in range(30)]
    assert all(len(epoch.unique()) == 8 for epoch in epochs)
    assert set(torch.cat(epochs).tolist()) == set(range(10))
    assert not torch.equal(epochs[0], epochs[1])
    assert not torch.equal(draw_batch(data, 0, 0, torch.Generator()), draw_batch(data, 0, 1, torch.Generator()))


def test_an_epoch_of_fewer_checkpoints_than_a_batch_is_named():
    with pytest.raises(InputError, match="zoo 'planted': batch_size 11 is more than its 10 train checkpoints"):
        problem_of(batches="epochs", batch_size=11)
    problem_of(batches="epochs", batch_size=10)


# losses


def slow_structure(decoded, target, mask):
    """Mean over all entries of (mask y - x)^2 (structure_behavior.md, 2.4)."""
    total, count = 0.0, 0
    for y, x in zip(decoded.tolist(), target.tolist(), strict=True):
        for row, wanted, real in zip(y, x, mask.tolist(), strict=True):
            total += sum((a * b - c) ** 2 for a, b, c in zip(row, real, wanted, strict=True))
            count += len(row)
    return total / count


@pytest.mark.usefixtures("float64")
def test_over_all_entries_structure_is_the_published_mean():
    peers = recorded("structure_losses")
    for case in ("clean", "leak"):
        target = in_tokens(peers["targets"])
        if case == "leak":
            target = target.where(LAYOUT.mask, peers["structure/leak/targets_padding"].double().view(-1, 1, 1))
        decoded = (in_tokens(peers["step0/decoded"]) + torch.randn(target.shape) * ~LAYOUT.mask).requires_grad_()
        loss = structure_loss(decoded, target, LAYOUT.mask, "entries")
        loss.backward()
        assert loss.item() == pytest.approx(peers[f"structure/{case}/value"].item(), rel=1e-12)
        one = structure_loss(decoded[:1], target[:1], LAYOUT.mask, "entries")
        assert one.item() == pytest.approx(slow_structure(decoded[:1], target[:1], LAYOUT.mask))
        theirs = peers[f"structure/{case}/gradient"].double()
        torch.testing.assert_close(decoded.grad[:1, LAYOUT.mask], theirs, rtol=1e-6, atol=1e-9)
        assert decoded.grad[:, ~LAYOUT.mask].abs().max() == 0
    ours = structure_loss(in_tokens(peers["step0/decoded"]), in_tokens(peers["targets"]), LAYOUT.mask)
    torch.testing.assert_close(ours * LAYOUT.mask.double().mean(), peers["structure/clean/value"])


def step_of(peers, step, distance, decoded=None):
    """What their losses were computed from."""
    decoded = in_tokens(peers[f"step{step}/decoded"]) if decoded is None else decoded
    config = config_of(behavior_distance=distance)
    targets = in_tokens(peers["targets"])
    queries = peers["queries"].double()
    logits = torch.stack([forward_one(weights, queries) for weights in detokenize(targets[:3], LAYOUT)])
    return Step(config, CODEC, None, decoded, Sequences(targets, LAYOUT.positions, LAYOUT.mask), decoded, queries, logits)


def forward_one(weights, images):
    """Their network CNN by torch's own functions."""
    parts, place = [], 0
    for shape in ((8, 1, 5, 5), (6, 8, 5, 5), (4, 6, 2, 2), (20, 36), (10, 20)):
        size = math.prod(shape)
        parts.append((weights[place : place + size].view(shape), weights[place + size : place + size + shape[0]]))
        place += size + shape[0]
    for n, (weight, bias) in enumerate(parts[:3]):
        images = nn.functional.conv2d(images, weight, bias)
        images = torch.tanh(nn.functional.max_pool2d(images, 2) if n < 2 else images)
    hidden = torch.tanh(nn.functional.linear(images.flatten(1), *parts[3]))
    return nn.functional.linear(hidden, *parts[4])


THEIRS = {"softmax_mse": "l2", "raw_cross_entropy": "cross_entropy", "distillation": "distillation"}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("distance", THEIRS)
def test_behavior_is_the_published_loss_with_the_published_gradient(distance):
    peers = recorded("structure_losses")
    decoded = in_tokens(peers["step0/decoded"]).requires_grad_()
    loss = behavior_loss(step_of(peers, 0, distance, decoded))
    loss.backward()
    torch.testing.assert_close(loss, peers[f"behavior/{THEIRS[distance]}/value"], rtol=1e-10, atol=0)
    theirs = peers[f"behavior/{THEIRS[distance]}/gradient"].double()
    torch.testing.assert_close(decoded.grad[:1, LAYOUT.mask], theirs, rtol=1e-6, atol=1e-9)


def test_another_temperature_of_distillation_is_another_loss():
    losses = []
    for temperature in (2.0, 5.0):
        problem = problem_of(**ALL_LOSSES, behavior_distance="distillation", distillation_temperature=temperature)
        losses.append(batch_losses(problem, model_of(problem.config), 0, 0)["behavior"])
    assert losses[0] != losses[1]


def slow_cycle(codes, again):
    """Mean over models and latent dimensions of the norm over the token axis (structure_behavior.md, 2.4)."""
    norms = [math.sqrt(sum((codes[b, t, d] - again[b, t, d]).item() ** 2 for t in range(codes.shape[1])))
             for b in range(codes.shape[0]) for d in range(codes.shape[2])]  # fmt: skip
    return sum(norms) / len(norms)


@pytest.mark.usefixtures("float64")
def test_the_cycle_term_is_the_published_one():
    peers = recorded("structure_losses")
    codes, again = (peers[f"step1/latents{kind}"].double().requires_grad_() for kind in ("", "_again"))
    loss = cycle_loss(codes, again)
    loss.backward()
    assert loss.item() == pytest.approx(peers["step1/cycle"].item(), rel=1e-10)
    assert loss.item() == pytest.approx(slow_cycle(codes, again))
    torch.testing.assert_close(codes.grad, peers["step1/cycle_gradient_latents"].double(), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(again.grad, peers["step1/cycle_gradient_latents_again"].double(), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("rebuilt", [3, 6], ids=["first view", "both views"])
def test_the_cycle_of_a_step_is_over_the_views_that_are_decoded(rebuilt):
    problem = problem_of(structure_weight=0.0, cycle_weight=1.0)
    model, tokens = model_of(problem.config), problem.codec.to_tokens(planted_weights(6))
    with torch.no_grad():
        seen = Sequences(tokens, problem.codec.layout.positions, problem.codec.layout.mask)
        codes = model.encode(tokens, seen.positions)
        decoded = model.decode(codes[:rebuilt], seen.positions)
        known = (seen.first(rebuilt), decoded, problem.queries, problem.targets)
        step = Step(problem.config, problem.codec, model, codes, *known)
        expected = slow_cycle(codes[:rebuilt], model.encode(decoded, seen.positions))
        assert LOSSES["cycle"](step).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("distance", THEIRS)
def test_the_total_over_two_steps_is_the_published_one(distance):
    """Gamma .05, beta .1, lambda .05; scales are the first step's values, the cross-entropy's with its sign."""
    peers, name = recorded("structure_losses"), THEIRS[distance]
    weights = {"contrast_weight": 0.05, "structure_weight": 0.95 * 0.1, "behavior_weight": 0.95 * 0.9, "cycle_weight": 0.05}
    config, scale = config_of(**weights, behavior_distance=distance, structure_mean="entries"), None
    for step in (0, 1):
        decoded = in_tokens(peers[f"step{step}/decoded"]).requires_grad_()
        here = step_of(peers, step, distance, decoded)
        losses = {
            "contrast": contrast_loss(
                peers[f"step{step}/projection_i"].double(), peers[f"step{step}/projection_j"].double(), 0.1
            ),
            "structure": structure_loss(decoded, here.rebuilt.tokens, LAYOUT.mask, config.structure_mean),
            "behavior": behavior_loss(here),
            "cycle": peers[f"step{step}/cycle"],
        }
        scale = scale or {part: losses[part].item() for part in ("contrast", "structure", "behavior")}
        total = total_loss(losses, config, scale)
        torch.testing.assert_close(total, peers[f"total/{name}/step{step}/loss"], rtol=1e-6, atol=1e-9)
    assert list(scale.values()) == pytest.approx(peers[f"total/{name}/scales"].tolist(), rel=1e-6)
    if distance == "softmax_mse":
        total.backward()
        theirs = peers["total/l2/step1/gradient_decoded"].double()
        torch.testing.assert_close(decoded.grad[:1, LAYOUT.mask], theirs, rtol=1e-6, atol=1e-9)


# scale


def slow_scale(networks, layer):
    """Mean of means, root of the mean of variances within a checkpoint (sane.md, 2.3)."""
    rows = [torch.cat([w.flatten(), b]) for w, b in zip(networks[f"{layer}.weight"], networks[f"{layer}.bias"], strict=True)]
    means = [sum(row.tolist()) / len(row) for row in rows]
    variances = [sum((x - m) ** 2 for x in row.tolist()) / (len(row) - 1) for row, m in zip(rows, means, strict=True)]
    return sum(means) / len(means), math.sqrt(sum(variances) / len(variances))


@pytest.mark.usefixtures("float64")
def test_each_split_by_its_own_statistics_within_checkpoints_is_as_sane_standardizes():
    peers, names = recorded("sane_standardization"), [f"module_list.{n}" for n in (0, 3, 6, 9, 11)]
    stacks = {split: flat_weights(below(peers, f"{split}/networks/")).double() for split in ("train", "val")}
    config = config_of(scale_from="split", scale_deviation="within")
    stored = Stored(config, make_codec(CNN, stacks["train"], None, True, deviation="within"), None, None)
    for split, weights in stacks.items():
        codec = codec_of(stored, weights)
        tokens = codec.to_tokens(weights)
        torch.testing.assert_close(tokens[:, LAYOUT.mask], peers[f"{split}/tokens"].double(), rtol=0, atol=2e-6)
        assert tokens[:, ~LAYOUT.mask].abs().max() == 0
        torch.testing.assert_close(codec.to_weights(tokens), weights)
        for name, layer in zip(names, CNN.layers, strict=True):
            slow = slow_scale(below(peers, f"{split}/networks/"), name)
            ours = codec.scale.mean[layer.offset].item(), codec.scale.std[layer.offset].item()
            theirs = peers[f"{split}/mean/{name}.weight"].item(), peers[f"{split}/std/{name}.weight"].item()
            assert ours == pytest.approx(slow, rel=1e-5, abs=1e-7)
            assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-7)
    total = layer_scale(CNN, stacks["val"])
    assert (total.std > 1.2 * layer_scale(CNN, stacks["val"], deviation="within").std).all()  # whose two models differ in mean


@pytest.mark.parametrize("changes", [{}, {"scale_from": "split", "standardize": False}], ids=len)
def test_with_the_scale_of_train_every_split_has_the_same_codec(changes):
    problem = problem_of(**changes)
    assert codec_of(Stored(problem.config, problem.codec, None, None), planted_weights() + 1) is problem.codec


# schedule


def test_the_momentum_of_one_cycle_is_torchs():
    config = config_of(steps=50, schedule="one_cycle_momentum")
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.003, total_steps=50)
    theirs = []
    for step in range(50):
        theirs.append(optimizer.param_groups[0]["betas"][0])
        optimizer.step()
        if step < 49:
            schedule.step()
    assert [momentum(config, step) for step in range(50)] == pytest.approx(theirs)
    assert {momentum(config_of(schedule="one_cycle"), step) for step in range(12)} == {0.9}


# dropout


@pytest.mark.slow
def test_dropout_acts_in_training_and_in_nothing_that_is_measured(tmp_path):
    problem = problem_of(**ALL_LOSSES, decoder_dropout=0.5, loss_scale="first_batch")
    plain = problem._replace(config=problem.config.model_copy(update={"decoder_dropout": 0.0}))
    dropped, trained = run(problem, tmp_path / "a")
    whole, without = run(plain, tmp_path / "b")
    assert trained.loss_scales == without.loss_scales
    assert not torch.equal(dropped, whole)
    assert torch.equal(dropped, run(problem, tmp_path / "c")[0])
    write_autoencoder(tmp_path / "model", [problem], trained, 0)
    stored = read_autoencoder(tmp_path / "model")["planted"]
    assert stored.config.decoder_dropout == 0.5
    weights = planted_weights(3)
    assert torch.equal(*(passed(stored.trained, problem.codec, weights) for _ in range(2)))


# measures


def features_and_targets(case):
    peers = below(recorded("structure_ridge_probe"), f"{case}/")
    splits = ("train", "val", "test")
    features = {split: peers[f"{split}/features"].double().numpy() for split in splits}
    return features, {split: peers[f"{split}/target"].double().numpy() for split in splits}, peers


@pytest.mark.parametrize("case", ["small", "wide", "unit"])
def test_a_probe_of_raw_features_predicts_what_the_published_one_did(case):
    features, targets, peers = features_and_targets(case)
    errors = np.square(probe_of(features, "raw").predict(targets) - targets["test"])
    np.testing.assert_allclose(errors, np.square(peers["test/predicted"].numpy() - targets["test"]), rtol=1e-6, atol=1e-12)
    assert 1 - errors.mean() / targets["test"].var() == pytest.approx(peers["r2_train_test"][1].item(), abs=1e-8)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("kind", ["raw", "standardized"])
def test_statistics_of_tokens_are_those_of_sane(kind):
    networks = flat_weights(below(recorded("sane_standardization"), "train/networks/")).double()
    codec = CODEC if kind == "raw" else make_codec(CNN, networks, None, True, deviation="within")
    theirs = recorded("sane_weight_statistics")[f"{kind}/features"]
    ours = token_statistics(codec, networks)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-6)
    tokens = tokenize(codec.scale.apply(networks), LAYOUT)
    blocks = [tokens[:, LAYOUT.positions[:, 1] == n].flatten(1).numpy() for n in range(5)]
    slow = [[f(b) for b in blocks for f in (np.mean, np.var, *(lambda x, q=q: np.percentile(x, q) for q in (1, 25, 50, 75, 99)))]
            for blocks in zip(*blocks, strict=True)]  # fmt: skip
    np.testing.assert_allclose(ours.numpy(), slow, atol=1e-10)


@pytest.mark.parametrize(("attention", "differ"), [("tokens", False), ("batch", True)])
def test_beside_their_earlier_epochs_networks_are_rebuilt_otherwise_only_where_batches_mix(attention, differ):
    problem = problem_of(attention=attention)
    weights = planted_weights(12)
    test = Checkpoints(weights, pd.DataFrame({"model": np.repeat(range(6), 2), "epoch": [3, 5] * 6}))
    rebuilt = {}
    for mates in ("last_epoch", "all_epochs"):
        config = config_of(attention=attention, evaluation_mates=mates, evaluation_batch=4)
        rebuilt[mates] = rebuild_test(Stored(config, problem.codec, model_of(config), None), problem.codec, test).weights
    assert rebuilt["all_epochs"].shape == (6, weights.shape[1])
    model = model_of(config)
    with torch.no_grad():
        slow = [passed(model, problem.codec, weights[n - n % 4 : n - n % 4 + 4])[n % 4] for n in range(1, 12, 2)]
    torch.testing.assert_close(rebuilt["all_epochs"], problem.codec.to_weights(torch.stack(slow)))
    assert torch.allclose(rebuilt["all_epochs"], rebuilt["last_epoch"], atol=1e-5) != differ


# each setting acts


SWITCHES = {
    "layers post-norm": {"layers": "post_norm"},
    "layers of GPT-2": {"layers": "gpt2"},
    "no final norm": {"final_norm": False},
    "one copied draw": {"layer_init": "copied", "depth": 2},
    "GPT-2's draw": {"layer_init": "gpt2"},
    "dropout": {"decoder_dropout": 0.1},
    "larger tables": {"position_tables": {"sequence": 90, "layer": 9, "unit": 40}},
    "stored views": {"views": "stored"},
    "leaking padding": {"permuted_padding": "first_weight"},
    "mean over entries": {"structure_mean": "entries"},
    "deviation within": {"scale_deviation": "within"},
    "soft cross-entropy": {"behavior_distance": "soft_cross_entropy"},
    "raw cross-entropy": {"behavior_distance": "raw_cross_entropy"},
    "cycle": {"cycle_weight": 0.1},
    "momentum": {"schedule": "one_cycle_momentum"},
    "epochs": {"batches": "epochs"},
    "both views as they are": {"views": "original_original"},
    "noise": {"noise": 0.1},
    "noise to be taken off": {"noise": 0.1, "noise_target": "clean"},
    "errors by token": {"structure_scale": "token"},
    "errors by step": {"structure_scale": "batch"},
    "half the bits": {"precision": "bfloat16"},
}


@pytest.mark.slow
@pytest.mark.parametrize("switch", SWITCHES.values(), ids=SWITCHES)
def test_each_switch_changes_what_is_learned(tmp_path, switch):
    trained = []
    for changes in ({"depth": switch.get("depth", 1)}, switch):
        torch.manual_seed(0)
        problem = problem_of(**ALL_LOSSES, steps=3, **changes)
        _, result = run(problem, tmp_path / str(len(trained)))
        with torch.no_grad():
            trained.append(passed(result.model, problem.codec, planted_weights(2)))
    assert not torch.allclose(*trained, rtol=0, atol=1e-7)
