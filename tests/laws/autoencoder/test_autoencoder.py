"""Autoencoders of weights: losses by their formulas, training that resumes, and measures with planted answers."""

import math
from contextlib import suppress

import pandas as pd
import pyarrow as pa
import pytest
import torch
import weightspace.autoencoder.train
from killing import KilledError, eager_until
from planted_zoos import stored_zoo
from torch import nn
from weightspace.autoencoder.batches import Sequences, draw_view, weights_of
from weightspace.autoencoder.data import Checkpoints, Population, checkpoints_by_split
from weightspace.autoencoder.evaluate import evaluate_autoencoder, metric_rows, reconstruct, with_train_models_to_rebuild
from weightspace.autoencoder.losses import LOSSES, Step, behavior_loss, contrast_loss, structure_loss, total_loss
from weightspace.autoencoder.measure import HeldOutNetworks, Rebuilt, mean_over_others, own_is_nearest, reconstruction_metrics
from weightspace.autoencoder.metrics import METRICS
from weightspace.autoencoder.model import Autoencoder, parameter_groups
from weightspace.autoencoder.problem import autoencoder_data
from weightspace.autoencoder.settings import LOSSES as NAMES
from weightspace.autoencoder.settings import AutoencoderSettings
from weightspace.autoencoder.store import read_autoencoder, write_autoencoder
from weightspace.autoencoder.train import batch_losses, learning_rate, loss_metrics, train_autoencoder
from weightspace.autoencoder.windows import embed, windows
from weightspace.behavior import DISTANCES
from weightspace.ensemble import outputs
from weightspace.errors import InputError
from weightspace.images.tensors import ImageSet, normalize
from weightspace.nets.spec import build_spec
from weightspace.rng import generator_for
from weightspace.store import TrainingState
from weightspace.table import Source, read_metrics, write_metrics
from weightspace.tokens import token_layout

LAYERS = ["conv 20 3", "activation", "pool 2", "flatten", "linear 6", "activation", "linear classes"]
SPEC = build_spec(LAYERS, "tanh", (1, 6, 6), 3)
EPOCHS = [0, 3, 5]
POSITIONS = token_layout(SPEC).positions
SOURCE = Source("planted", "autoencoder", "plain", 0)


def config_of(**changes):
    return AutoencoderSettings(**{
        "zoo": "planted", "epochs": [3, 5], "structure_weight": 1.0, "steps": 12, "width": 8, "depth": 1,
        "heads": 2, "feedforward": 16, "latent": 3, "projection": 5, "batch_size": 4, "num_queries": 5, "query_pool": 20,
    } | changes)  # fmt: skip


ALL_LOSSES = {"contrast_weight": 0.05, "structure_weight": 0.5, "behavior_weight": 0.45}


def planted_images():
    generator = torch.Generator().manual_seed(1)
    tensors = []
    for num in (30, 9, 15):
        tensors += [torch.randint(0, 256, (num, 1, 6, 6), generator=generator).to(torch.uint8), torch.arange(num) % 3]
    return ImageSet(*tensors, mean=(0.5,), std=(0.29,), classes=["a", "b", "c"], source="planted", source_sha256="0")


def planted_weights(num=10):
    return torch.randn(num, SPEC.num_weights) / 2


def checkpoints_of(weights):
    """Checkpoints of the last epoch."""
    return Checkpoints(weights, pd.DataFrame({"model": range(len(weights)), "epoch": EPOCHS[-1]}))


def problem_of(**changes):
    return autoencoder_data(config_of(**changes), SPEC, checkpoints_of(planted_weights()), planted_images())


def model_of(config, seed=0, layout=None):
    return Autoencoder(config, [layout or token_layout(SPEC)], torch.Generator().manual_seed(seed))


# outputs that are not finite


def test_a_checkpoint_whose_outputs_are_not_finite_stops_behavior_and_is_named():
    weights = planted_weights()
    weights[4] = 1e38
    with pytest.raises(InputError, match="zoo 'planted': model 4 at epoch 5 has outputs .* not finite"):
        autoencoder_data(config_of(**ALL_LOSSES), SPEC, checkpoints_of(weights), planted_images())
    assert autoencoder_data(config_of(), SPEC, checkpoints_of(weights), planted_images()).targets.shape[1] == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "step"),
    [
        ({"learning_rate": 1e300, "schedule": "constant"}, "0"),
        ({"learning_rate": 1e300}, r"\d+"),
        ({"temperature": 1e-300}, "0"),
        ({"behavior_distance": "logit_mse", "behavior_weight": 1e38}, "0"),
    ],
    ids=str,
)
def test_an_autoencoder_that_diverges_stops_and_its_cell_seed_and_step_are_named(tmp_path, changes, step):
    problem = problem_of(**ALL_LOSSES | changes)
    with pytest.raises(InputError, match=rf"^autoencoder 'plain', seed 3 diverged: .* by step {step}; ") as error:
        run(problem, tmp_path / "state", 3)
    assert "\n" not in str(error.value)


def test_a_metric_that_is_not_finite_stops_and_is_named():
    values = torch.tensor([1.0, torch.nan])
    with pytest.raises(InputError, match="autoencoder 'plain', seed 0: error of model 7 is not finite"):
        metric_rows(SOURCE, [3, 7], {"fine": torch.ones(2), "error": values})
    assert [row["value"] for row in metric_rows(SOURCE, [3], {"error": values[:1]})] == [1.0]


# model


@pytest.mark.parametrize("attention", ["tokens", "batch"])
def test_an_embedding_depends_on_its_own_tokens_or_on_its_batch_mates_never_both(attention):
    """`batch` is the axis of the published code (structure_behavior.md, 2.3): both statements flip."""
    model = model_of(config_of(attention=attention))
    tokens = torch.randn(4, *token_layout(SPEC).index.shape)
    mates, later = tokens.clone(), tokens.clone()
    mates[1:] += 1
    later[0, 20:] += 1
    with torch.no_grad():
        here, with_mates, with_later = (model.encode(t, POSITIONS)[0] for t in (tokens, mates, later))
    of_mates, of_later = not torch.allclose(here, with_mates), not torch.allclose(here[:20], with_later[:20])
    assert (of_later, of_mates) == ((True, False) if attention == "tokens" else (False, True))


def test_what_stands_at_another_position_is_embedded_otherwise():
    model, row = model_of(config_of()), torch.randn(token_layout(SPEC).index.shape[1])
    with torch.no_grad():
        embeddings = model.encode(row.expand(1, len(POSITIONS), -1), POSITIONS)[0]
    assert torch.pdist(embeddings).min() > 1e-5


def test_a_models_embedding_is_the_mean_of_its_tokens():
    model, tokens = model_of(config_of()), torch.randn(3, *token_layout(SPEC).index.shape)
    codes = model.encode(tokens, POSITIONS)
    torch.testing.assert_close(embed(model, tokens, POSITIONS, windows(len(POSITIONS))), codes.sum(1) / tokens.shape[1])


@pytest.mark.slow
def test_the_parts_have_the_published_sizes():
    """structure_behavior.md, 2.2; ours alone: norms at the end of both stacks, tables no longer than the positions."""
    spec = build_spec("cnn3", "relu", (3, 32, 32), 10)
    config = config_of(width=256, depth=8, heads=8, feedforward=2048, latent=64, projection=30)
    model = model_of(config, layout=token_layout(spec))
    sizes = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    assert sizes == {
        "tokenizer": 74_240, "encoder": 10_520_576 + 2 * 256, "compress": 16_448, "expand": 16_640,
        "decoder": 10_520_576 + 2 * 256, "detokenizer": 74_273, "head": 179_580,
        "sequence": 93 * 128, "layer": 5 * 128, "unit": 32 * 128,
    }  # fmt: skip


def test_initial_parameters_come_from_the_generator_alone():
    states = [nn.utils.parameters_to_vector(model_of(config_of(), seed).parameters()) for seed in (1, 1, 2)]
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_matrices_decay_and_vectors_do_not():
    model = model_of(config_of())
    matrices, vectors = parameter_groups(model, 0.1)
    assert (matrices["weight_decay"], vectors["weight_decay"]) == (0.1, 0.0)
    assert {p.ndim for p in vectors["params"]} == {1}
    assert len(matrices["params"]) + len(vectors["params"]) == len(list(model.parameters()))


# losses


def slow_nt_xent(ours, theirs, temperature):
    """structure_behavior.md, 2.4."""
    views, num = [*ours, *theirs], len(ours)

    def similarity(k, m):
        return float(views[k] @ views[m] / views[k].norm() / views[m].norm()) / temperature

    total = 0.0
    for k in range(2 * num):
        own = (k + num) % (2 * num)
        negatives = sum(math.exp(similarity(k, m)) for m in range(2 * num) if m not in (k, own))
        total += -similarity(k, own) + math.log(math.exp(similarity(k, own)) + negatives)
    return total / (2 * num)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("temperature", [0.1, 1.0])
@pytest.mark.parametrize("num", [1, 2, 7])
def test_contrast_is_nt_xent_by_its_formula(num, temperature):
    ours, theirs = torch.randn(2, num, 5)
    assert contrast_loss(ours, theirs, temperature).item() == pytest.approx(slow_nt_xent(ours, theirs, temperature))


@pytest.mark.usefixtures("float64")
def test_contrast_is_least_where_views_agree_and_models_do_not():
    ours = torch.eye(6)
    agree, mixed, collapsed = (contrast_loss(ours, theirs, 0.1) for theirs in (ours, ours.roll(1, 0), torch.ones(6, 6)))
    assert agree < mixed
    assert agree < collapsed
    assert contrast_loss(torch.ones(6, 5), torch.ones(6, 5), 0.1).item() == pytest.approx(math.log(11))


@pytest.mark.usefixtures("float64")
def test_structure_is_the_mean_over_weights_and_padding_counts_nowhere():
    narrow, wide = token_layout(SPEC), token_layout(SPEC, 300)
    weights, decoded = torch.randn(2, 3, SPEC.num_weights)
    losses = []
    for layout in (narrow, wide):
        tokens = [torch.zeros(3, *layout.index.shape).masked_scatter(layout.mask, w[:, layout.index[layout.mask]])
                  for w in (decoded, weights)]  # fmt: skip
        tokens[0] += torch.randn(tokens[0].shape) * ~layout.mask
        losses.append(structure_loss(*tokens, layout.mask))
    torch.testing.assert_close(losses[0], (decoded - weights).square().mean())
    torch.testing.assert_close(losses[1], losses[0])


@pytest.mark.usefixtures("float64")
def test_structure_is_stationary_at_equality_and_never_pulls_at_padding():
    layout = token_layout(SPEC)
    target = torch.randn(3, *layout.index.shape)
    equal, other = target.clone().requires_grad_(), torch.randn_like(target).requires_grad_()
    structure_loss(equal, target, layout.mask).backward()
    structure_loss(other, target, layout.mask).backward()
    assert equal.grad.abs().max() == 0
    assert torch.equal(other.grad != 0, layout.mask.expand_as(other))


@pytest.mark.parametrize("distance", sorted(set(DISTANCES) - {"raw_cross_entropy"}))
@pytest.mark.parametrize("views", [1, 2])
def test_behavior_is_least_and_stationary_at_the_originals_and_their_permutations(distance, views):
    """Least is 0, but for a cross-entropy: there it is the entropy of the originals' outputs."""
    problem = problem_of(behavior_weight=1.0, behavior_distance=distance)
    batch, query = torch.tensor([1, 4, 7]), torch.tensor([0, 3, 5, 19])
    permuted = [view_of(problem, batch, "permuted", n) for n in range(views)]
    exact = problem.codec.to_tokens(torch.cat(permuted)).requires_grad_()
    loss = behavior_loss(step_of(problem, exact, batch, query))
    loss.backward()
    outputs_of_originals = problem.targets[batch.unsqueeze(1), query].softmax(-1)
    entropy = -(outputs_of_originals * outputs_of_originals.log()).sum(-1).mean()
    least = entropy if distance == "soft_cross_entropy" else 0 * entropy
    torch.testing.assert_close(loss, least, rtol=0, atol=1e-6)
    assert exact.grad.abs().max() < 1e-6
    wrong = behavior_loss(step_of(problem, exact.detach().roll(1, 0), batch, query))
    assert wrong > least + 1e-3


def view_of(problem, batch, kind, seed=0):
    """Networks of a batch as a step sees them."""
    return weights_of(problem, batch, draw_view(problem, len(batch), kind, torch.Generator().manual_seed(seed)))


def step_of(problem, decoded, batch, query):
    """A step whose networks are decoded to these tokens, asked these queries."""
    model, targets = model_of(problem.config), problem.targets[batch.unsqueeze(1), query]
    rebuilt = Sequences(decoded, POSITIONS, problem.codec.layout.mask)
    return Step(problem.config, problem.codec, model, decoded, rebuilt, decoded, problem.queries[query], targets)


def test_every_loss_has_a_weight_and_every_weight_a_loss():
    assert list(LOSSES) == NAMES


def test_views_are_the_originals_or_fresh_permutations():
    problem, batch = problem_of(), torch.tensor([3, 3, 8])
    assert torch.equal(view_of(problem, batch, "original"), problem.weights[batch])
    permuted = view_of(problem, batch, "permuted")
    assert not torch.equal(permuted[0], permuted[1])
    assert torch.equal(permuted.sort(1).values, problem.weights[batch].sort(1).values)


@pytest.mark.parametrize("part", LOSSES)
def test_a_part_of_weight_0_is_0_and_the_only_part_of_weight_1_is_the_total(part):
    config = {f"{name}_weight": float(name == part) for name in LOSSES}
    problem = problem_of(**config)
    losses = batch_losses(problem, model_of(problem.config), 0, 0)
    assert {name: float(value.detach()) != 0 for name, value in losses.items()} == {n: n == part for n in LOSSES}
    assert total_loss(losses, problem.config) == losses[part]


def test_the_total_is_the_weighted_sum_of_scaled_parts():
    losses = dict(zip(LOSSES, torch.tensor([2.0, 3.0, 5.0, 7.0]), strict=True))
    config = config_of(**ALL_LOSSES, cycle_weight=0.1)
    assert total_loss(losses, config).item() == pytest.approx(0.05 * 2 + 0.5 * 3 + 0.45 * 5 + 0.1 * 7)
    scale = {"contrast": 4.0, "structure": 6.0, "behavior": -10.0}
    assert total_loss(losses, config, scale).item() == pytest.approx((0.05 + 0.5 - 0.45) / 2 + 0.1 * 7)


@pytest.mark.parametrize("reconstruct", ["first", "both"])
@pytest.mark.parametrize("views", ["original_permuted", "permuted_permuted", "stored"])
def test_a_step_has_the_same_losses_whenever_it_is_asked_for(views, reconstruct):
    problem = problem_of(**ALL_LOSSES, cycle_weight=0.1, views=views, reconstruct=reconstruct)
    model = model_of(problem.config)
    first, again, next_step, other_seed = (batch_losses(problem, model, *place) for place in ((3, 0), (3, 0), (4, 0), (3, 1)))
    assert first == again
    assert all(a != b for other in (next_step, other_seed) for a, b in zip(first.values(), other.values(), strict=True))


# training


def run(problem, path, seed=0):
    trained = train_autoencoder([problem], SOURCE._replace(seed=seed), TrainingState(path, "run"))
    return nn.utils.parameters_to_vector(trained.model.parameters()).detach(), trained


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 10, 100, 333])
def test_one_cycle_is_torchs_step_by_step(steps):
    config, parameter = config_of(steps=steps, learning_rate=0.003), nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.003, total_steps=steps, cycle_momentum=False)
    theirs = []
    for step in range(steps):
        theirs.append(schedule.get_last_lr()[0])
        optimizer.step()
        if step + 1 < steps:
            schedule.step()
    assert [learning_rate(config, step) for step in range(steps)] == pytest.approx(theirs, rel=1e-9)


def test_a_constant_schedule_is_constant():
    config = config_of(schedule="constant", learning_rate=0.003)
    assert {learning_rate(config, step) for step in range(config.steps)} == {0.003}


@pytest.mark.slow
def test_training_brings_the_losses_down(tmp_path):
    problem = problem_of(**ALL_LOSSES, steps=150, learning_rate=0.01, views="original_permuted")
    _, trained = run(problem, tmp_path / "state")
    start, end = trained.curves[0, :5].mean(0), trained.curves[0, -5:].mean(0)
    used = torch.tensor([*(weight > 0 for weight in problem.config.loss_weights.values()), True])
    assert torch.equal(end < start, used)


AS_PUBLISHED = {
    "loss_scale": "first_batch", "views": "stored", "permuted_padding": "first_weight", "reconstruct": "both",
    "batches": "epochs", "layers": "post_norm", "decoder_dropout": 0.1, "schedule": "one_cycle_momentum", "cycle_weight": 0.1,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"loss_scale": "none"}, {"loss_scale": "first_batch"}, AS_PUBLISHED], ids=len)
@pytest.mark.parametrize("killed_after", [1, 5, 11, 12])
def test_training_killed_at_any_step_goes_on_bit_for_bit(tmp_path, monkeypatch, killed_after, changes):
    problem = problem_of(**ALL_LOSSES, **changes)
    whole, curves = run(problem, tmp_path / "whole")
    with suppress(KilledError):
        train_autoencoder([problem], SOURCE, eager_until(killed_after)(tmp_path / "state", "run"))
    steps = []
    original = weightspace.autoencoder.train.batch_losses
    monkeypatch.setattr(weightspace.autoencoder.train, "batch_losses", lambda *args: steps.append(args[2]) or original(*args))
    resumed, resumed_curves = run(problem, tmp_path / "state")
    assert steps[changes["loss_scale"] == "first_batch" :] == list(range(killed_after, 12))
    assert torch.equal(resumed, whole)
    assert torch.equal(resumed_curves.curves, curves.curves)
    assert resumed_curves.loss_scales == curves.loss_scales


@pytest.mark.slow
def test_one_seed_gives_the_same_numbers_and_another_others(tmp_path):
    problem = problem_of(**ALL_LOSSES)
    ours, _ = run(problem, tmp_path / "a", 1)
    torch.rand(7)  # ambient numbers are nobody's
    again, _ = run(problem, tmp_path / "b", 1)
    other, _ = run(problem, tmp_path / "c", 2)
    assert torch.equal(ours, again)
    assert not torch.equal(ours, other)


@pytest.mark.slow
@pytest.mark.parametrize(
    "used", [ALL_LOSSES, {"structure_weight": 2.0}, {"structure_weight": 0.0, "behavior_weight": 0.5}], ids=str
)
def test_scaled_by_the_first_batch_each_part_starts_at_1(tmp_path, used):
    problem = problem_of(**used, loss_scale="first_batch")
    _, trained = run(problem, tmp_path / "state")
    first = batch_losses(problem, model_at_start(problem), 0, 0)
    for name, scale in trained.loss_scales[0].items():
        assert first[name].item() == scale
        assert (scale > 0) == bool(getattr(problem.config, f"{name}_weight"))
    assert total_loss(first, problem.config, trained.loss_scales[0]).item() == pytest.approx(sum(used.values()))
    assert float(trained.curves[0, 0, -1]) == pytest.approx(sum(used.values()))


def model_at_start(problem):
    return Autoencoder(problem.config, [problem.codec.layout], generator_for("autoencoder", "init", 0))


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 12, 60, 130])
def test_loss_curves_are_means_over_equal_runs_of_steps(tmp_path, monkeypatch, steps):
    seen = []
    original = weightspace.autoencoder.train.batch_losses
    monkeypatch.setattr(weightspace.autoencoder.train, "batch_losses", lambda *args: seen.append(original(*args)) or seen[-1])
    problem = problem_of(steps=steps)
    _, trained = run(problem, tmp_path / "state")
    every = trained.steps[0]
    assert trained.steps == list(range(every, steps + 1, every))
    structure = torch.stack([losses["structure"].detach() for losses in seen])[: len(trained.steps) * every]
    torch.testing.assert_close(trained.curves[0, :, 1], structure.view(-1, every).mean(1))
    rows = loss_metrics(SOURCE, trained, problem.config)
    write_metrics(tmp_path / "metrics.parquet", rows, METRICS)
    assert len(rows) == 4 * len(trained.steps)


@pytest.mark.slow
def test_a_stored_autoencoder_is_rebuilt_trained_and_untrained(tmp_path):
    problem = problem_of(standardize=True, token_size=17)
    _, trained = run(problem, tmp_path / "state", 3)
    write_autoencoder(tmp_path / "model.safetensors", [problem], trained, 3)
    stored = read_autoencoder(tmp_path / "model.safetensors")["planted"]
    weights = planted_weights(3)
    start = Autoencoder(problem.config, [problem.codec.layout], generator_for("autoencoder", "init", 3))
    for ours, theirs in ((stored.trained, trained.model), (stored.untrained, start)):
        before, after = reconstruct(problem.codec, theirs, weights, 2), reconstruct(stored.codec, ours, weights, 2)
        assert torch.equal(before.weights, after.weights)
    assert stored.config == problem.config
    assert stored.codec.spec == SPEC


# measures


def originals_of(weights, train_mean=0.0, inits=None, init_mean=None):
    """Originals that all started from one tensor, or from the tensors that `inits` names."""
    inits = torch.zeros(len(weights)) if inits is None else torch.tensor(inits)
    mean = torch.full((SPEC.num_weights,), train_mean)
    return HeldOutNetworks(list(range(len(weights))), weights, mean, inits[:, None] == inits[None, :], init_mean)


def measured(weights, original, **known):
    rebuilt = Rebuilt(weights, torch.zeros(len(original)))
    return reconstruction_metrics(SPEC, originals_of(original, **known), rebuilt, planted_images())


SUFFIXES = ["", "_mixed", "_noise"]


def test_a_perfect_reconstruction_has_the_perfect_value_of_every_metric():
    original = planted_weights()
    metrics = measured(original, original)
    for name in ("retrieval_weights", *(f"{n}{s}" for n in ("agreement_own", "retrieval_outputs") for s in SUFFIXES)):
        assert metrics[name].eq(1).all()
    assert metrics["weights_l2"].eq(0).all()
    assert metrics["weights_squared_error"].eq(0).all()
    for kind in ("accuracy_", "diversity_", "diversity_outputs_"):
        assert torch.equal(metrics[f"{kind}original"], metrics[f"{kind}reconstruction"])
    for suffix in SUFFIXES:
        assert torch.equal(metrics[f"agreement_other{suffix}"], metrics[f"agreement_originals{suffix}"])


def test_a_constant_reconstruction_is_seen_through():
    original = planted_weights(8)
    metrics = measured(original[2].expand(8, -1), original)
    test = normalize(planted_images().test_x, planted_images())
    answers = outputs(SPEC, original, test).argmax(-1)
    assert metrics["diversity_reconstruction"].eq(0).all()
    assert metrics["diversity_outputs_reconstruction"].eq(0).all()
    torch.testing.assert_close(metrics["agreement_own"], (answers == answers[2]).float().mean(1))
    for name in ("retrieval_weights", *(f"retrieval_outputs{suffix}" for suffix in SUFFIXES)):
        assert metrics[name].tolist() == [float(n == 2) for n in range(8)]
    torch.testing.assert_close(metrics["agreement_own"].mean() * 8, metrics["agreement_other"].mean() * 8)


def test_the_train_mean_in_place_of_each_network_has_r2_0():
    original = planted_weights() + 1
    metrics = measured(torch.ones(10, SPEC.num_weights), original, train_mean=1.0)
    torch.testing.assert_close(metrics["weights_squared_error"], metrics["weights_deviation"])


def test_the_mean_of_the_own_init_has_r2_0_within_init_however_high_its_r2():
    inits = [0, 0, 0, 1, 1, 1]
    init_mean = 10 * torch.tensor(inits).view(-1, 1).expand(-1, SPEC.num_weights).float()
    original = init_mean + planted_weights(6)
    metrics = measured(init_mean, original, train_mean=5.0, inits=inits, init_mean=init_mean)
    torch.testing.assert_close(metrics["weights_squared_error"], metrics["weights_deviation_within_init"])
    assert metrics["weights_squared_error"].mean() < 0.1 * metrics["weights_deviation"].mean()


def test_agreement_within_init_is_the_mean_over_others_of_the_same_init():
    inits = [0, 1, 0, 0, 1]
    original, weights = planted_weights(5), planted_weights(10)[5:]
    metrics = measured(weights, original, inits=inits)
    test = normalize(planted_images().test_x, planted_images())
    ours, theirs = (outputs(SPEC, stack, test).argmax(-1) for stack in (weights, original))
    for n, init in enumerate(inits):
        others = [m for m, other in enumerate(inits) if other == init and m != n]
        slow = sum((ours[n] == theirs[m]).float().mean() for m in others) / len(others)
        torch.testing.assert_close(metrics["agreement_same_init"][n], slow)
        assert metrics["retrieval_chance"][n].item() == pytest.approx(1 / (len(others) + 1))


def test_without_shared_inits_nothing_is_said_of_others_of_the_same_init():
    metrics = measured(planted_weights(4), planted_weights(4), inits=[0, 1, 2, 3])
    assert not {"agreement_same_init", "weights_deviation_within_init"} & set(metrics)


def test_the_unmasked_distance_is_that_of_whole_tokens():
    problem, model = problem_of(standardize=False), model_of(config_of())
    weights = planted_weights(5)
    rebuilt = reconstruct(problem.codec, model, weights, 2)
    metrics = reconstruction_metrics(SPEC, originals_of(weights), rebuilt, planted_images())
    with torch.no_grad():
        tokens = problem.codec.to_tokens(weights)
        error = (model.decode(model.encode(tokens, POSITIONS), POSITIONS) - tokens).flatten(1)
    torch.testing.assert_close(metrics["weights_l2_unmasked"], error.norm(dim=1))
    torch.testing.assert_close(metrics["weights_l2"], (error * problem.codec.layout.mask.flatten()).norm(dim=1))


@pytest.mark.parametrize(("attention", "depends"), [("tokens", False), ("batch", True)])
def test_only_attention_over_the_batch_makes_a_reconstruction_depend_on_its_batch(attention, depends):
    problem, model = problem_of(), model_of(config_of(attention=attention))
    weights = planted_weights(4)
    alone, together = (reconstruct(problem.codec, model, weights, size) for size in (1, 4))
    assert torch.allclose(alone.weights, together.weights, atol=1e-5) != depends


def test_only_the_smallest_distance_of_a_row_is_a_hit_and_a_tie_or_a_nan_is_none():
    nan = torch.nan
    planted = torch.tensor([[1.0, 2, 3], [1, 2, 3], [5, 4, 4]])
    assert own_is_nearest(planted).tolist() == [1, 0, 0]
    assert own_is_nearest(torch.tensor([[nan, 1, 2], [2, 1, 2], [2, 2, 1]])).tolist() == [0, 1, 1]


def test_the_mean_over_others_leaves_the_own_out():
    assert mean_over_others(torch.tensor([[100.0, 2, 4], [6, 100, 8], [0, 1, 100]])).tolist() == [3, 7, 0.5]


# checkpoints


def planted_zoo(folder, splits, diverged=(), order=None, weights=None):
    """Checkpoints, a part per model, and table of a zoo whose weights are model + epoch / 10, or others."""
    numbers = torch.arange(len(splits)).view(-1, 1, 1) + torch.tensor(EPOCHS).view(1, -1, 1) / 10
    weights = numbers.expand(-1, -1, SPEC.num_weights).contiguous() if weights is None else weights
    rows = [
        {"model": model, "epoch": epoch, "split": split, "diverged": (model, epoch) in diverged, "init_tensor": str(model % 2),
         "train_accuracy": 0.9, "test_accuracy": model / 100 + epoch, "generalization_gap": model / 50 - epoch}
        for model, split in enumerate(splits) for epoch in EPOCHS
    ]  # fmt: skip
    rows = [rows[n] for n in order] if order else rows
    zoo = stored_zoo(folder / "zoo", SPEC, EPOCHS, weights, [1] * len(splits))
    return Population("planted", zoo, pa.Table.from_pylist(rows))


SPLITS = ["train", "val", "test", "train", "test", "val", "train", "test", "train"]


def test_each_checkpoint_of_the_chosen_epochs_is_in_its_models_split_alone(tmp_path):
    splits = checkpoints_by_split(config_of(), planted_zoo(tmp_path, SPLITS), torch.device("cpu"))
    assert {m: name for name, part in splits.items() for m in part.models} == dict(enumerate(SPLITS))
    assert sum(len(part.models) for part in splits.values()) == len(SPLITS)
    for part in splits.values():
        expected = part.properties["model"] + part.properties["epoch"] / 10
        assert part.weights[:, 0].tolist() == pytest.approx(expected.tolist())
        assert sorted(set(part.properties["epoch"])) == [3, 5]
        assert part.at_epoch(5).weights[:, 0].tolist() == pytest.approx([model + 0.5 for model in part.models])


def test_no_weights_are_read_of_splits_that_are_not_wanted(tmp_path):
    population = planted_zoo(tmp_path, SPLITS)
    for part, split in zip(population.zoo.parts, SPLITS, strict=True):
        if split != "train":
            part.path.unlink()
    splits = checkpoints_by_split(config_of(), population, torch.device("cpu"), ["train"])
    assert {name: part.models for name, part in splits.items()} == {"train": [0, 3, 6, 8]}


def test_diverged_checkpoints_are_left_out_and_said_to_be(tmp_path, capsys):
    zoo = planted_zoo(tmp_path, SPLITS, {(0, 5), (3, 3), (3, 5), (4, 0)})
    splits = checkpoints_by_split(config_of(), zoo, torch.device("cpu"))
    assert "left out 3 diverged of 18 checkpoints, of models 0, 3\n" in capsys.readouterr().out
    assert list(zip(splits["train"].properties["model"], splits["train"].properties["epoch"], strict=True)) == [
        (0, 3), (6, 3), (6, 5), (8, 3), (8, 5),
    ]  # fmt: skip


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_split_without_models_is_named(tmp_path, split):
    others = [name for name in SPLITS if name != split]
    with pytest.raises(InputError, match=f"'planted' has 0 usable {split} models"):
        checkpoints_by_split(config_of(), planted_zoo(tmp_path, others), torch.device("cpu"))


def test_one_test_model_is_too_few_to_compare_it_with_others(tmp_path):
    with pytest.raises(InputError, match="test"):
        checkpoints_by_split(config_of(), planted_zoo(tmp_path, ["train", "train", "val", "val", "test"]), torch.device("cpu"))


def evaluated(tmp_path, order=None, **changes):
    """Rows and splits of a trained autoencoder on a zoo of random models."""
    weights = torch.randn(len(SPLITS) * 2, len(EPOCHS), SPEC.num_weights, generator=torch.Generator().manual_seed(3)) / 2
    zoo = planted_zoo(tmp_path, SPLITS * 2, order=order, weights=weights)
    splits = checkpoints_by_split(config_of(), zoo, torch.device("cpu"))
    problem = autoencoder_data(config_of(**changes), SPEC, splits["train"], planted_images())
    write_autoencoder(tmp_path / "model", [problem], run(problem, tmp_path / "state")[1], 0)
    stored = read_autoencoder(tmp_path / "model")["planted"]
    return evaluate_autoencoder(stored, splits, planted_images(), SOURCE), splits, weights


def test_without_images_contrast_and_structure_train(tmp_path):
    data = autoencoder_data(config_of(contrast_weight=0.05, steps=4), SPEC, checkpoints_of(planted_weights()), None)
    curves = run(data, tmp_path / "state")[1].curves[0]
    assert curves.isfinite().all()
    assert (curves.amin(0) > 0).tolist() == [True, True, False, False, True]  # contrast, structure, behavior, cycle, total


def test_without_images_a_loss_of_weights_trains_as_it_does_with_them(tmp_path):
    """With the view as it is, of which no permutation is drawn after the queries."""
    checkpoints, config = checkpoints_of(planted_weights()), config_of(views="original", steps=4)
    with_images, without = (autoencoder_data(config, SPEC, checkpoints, images) for images in (planted_images(), None))
    ours, theirs = (run(data, tmp_path / str(n))[1] for n, data in enumerate((with_images, without)))
    assert torch.equal(ours.curves, theirs.curves)
    for mine, other in zip(ours.model.parameters(), theirs.model.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_without_images_what_is_measured_is_what_needs_none(tmp_path, capsys):
    weights = torch.randn(len(SPLITS) * 2, len(EPOCHS), SPEC.num_weights, generator=torch.Generator().manual_seed(3)) / 2
    _, zoo, table, *_ = planted_zoo(tmp_path, SPLITS * 2, weights=weights)
    unknown = table.drop_columns(["train_accuracy", "generalization_gap"])
    config = config_of(steps=2, epochs=None)
    rows = {}
    for images, properties in ((planted_images(), table), (None, unknown)):
        splits = checkpoints_by_split(config, Population("planted", zoo._replace(bar=None), properties), torch.device("cpu"))
        problem = autoencoder_data(config, SPEC, splits["train"], images)
        path = tmp_path / str(images is None)
        write_autoencoder(path, [problem], run(problem, tmp_path / f"{images is None}.state")[1], 0)
        found = evaluate_autoencoder(read_autoencoder(path)["planted"], splits, images, SOURCE)
        rows[images is None] = {(row["metric"], row["subject"]): row["value"] for row in found}
    assert set(splits["train"].properties["epoch"]) == set(EPOCHS)  # null: all that the zoo keeps
    assert rows[True].items() < rows[False].items()
    left_out = {metric for metric, _ in set(rows[False]) - set(rows[True])}
    assert {"agreement_own", "accuracy_original", "retrieval_outputs", "probe_error_generalization_gap_embedding"} <= left_out
    assert not any(metric.startswith(("weights_", "probe_error_epoch", "probe_error_test_accuracy")) for metric in left_out)
    said = capsys.readouterr().out
    assert "the zoo has no images: agreement, accuracies and outputs are not measured" in said
    assert "no probe for generalization_gap: it is not known of all checkpoints" in said
    assert "whether its models learned more than a constant answer is not known" in said


MEASURED_AS_PUBLISHED = {
    "scale_from": "split", "scale_deviation": "within", "evaluation_mates": "all_epochs", "attention": "batch",
    "probe_features": "raw", "probe_statistics": "tokens",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, AS_PUBLISHED | MEASURED_AS_PUBLISHED], ids=["today", "as published"])
def test_every_metric_of_an_evaluation_is_known_and_has_a_row_per_test_model(tmp_path, changes):
    rows, splits, _ = evaluated(tmp_path, **ALL_LOSSES, **changes)
    write_metrics(tmp_path / "metrics.parquet", rows, METRICS)
    frame = read_metrics(tmp_path / "metrics.parquet").to_pandas()
    assert not frame.duplicated(["metric", "subject"]).any()
    of_test = frame[frame["split"] == "test"]
    assert (of_test.groupby("metric")["subject"].agg(set) == set(map(str, splits["test"].models))).all()
    of_train = frame[frame["split"] == "train"]
    assert set(of_train["metric"]) == {metric for metric in of_test["metric"] if not metric.startswith("probe")}
    rebuilt = of_train.groupby("metric")["subject"].agg(set)
    assert (rebuilt == rebuilt.iloc[0]).all()
    assert len(rebuilt.iloc[0]) == len(splits["test"].models)
    assert rebuilt.iloc[0] <= set(map(str, splits["train"].models))


def test_train_models_are_rebuilt_as_they_would_be_as_test_models(tmp_path):
    """The rows of one split are what the same networks would have in the place of the other."""
    rows, splits, _ = evaluated(tmp_path)
    chosen = with_train_models_to_rebuild(splits)
    assert chosen["train"] is splits["train"]
    stored = read_autoencoder(tmp_path / "model")["planted"]
    again = evaluate_autoencoder(stored, chosen, planted_images(), SOURCE)
    as_train, as_test = (
        {(row["metric"], row["subject"]): row["value"] for row in found if row["split"] == split}
        for found, split in ((rows, "train"), (again, "test"))
    )
    assert as_train.items() <= as_test.items()
    assert {metric for metric, _ in as_test.keys() - as_train.keys()} == {
        row["metric"] for row in rows if "probe" in row["metric"]
    }


def test_of_fewer_train_models_than_test_models_all_are_rebuilt(tmp_path):
    splits = checkpoints_by_split(
        config_of(), planted_zoo(tmp_path, ["train", "test", "val"] * 2 + ["test"]), torch.device("cpu")
    )
    assert with_train_models_to_rebuild(splits)["test"].models == splits["train"].models


@pytest.mark.slow
@pytest.mark.parametrize("backwards", [False, True], ids=["table in order", "table backwards"])
def test_a_row_is_of_the_model_that_it_names(tmp_path, backwards):
    order = list(range(len(SPLITS) * 2 * len(EPOCHS)))
    rows, splits, weights = evaluated(tmp_path, order[::-1] if backwards else order)
    images = planted_images()
    answers = outputs(SPEC, weights[:, -1].contiguous(), normalize(images.test_x, images)).argmax(-1)
    accuracy = (answers == images.test_y).float().mean(1)
    named = [row for row in rows if row["metric"] == "accuracy_original"]
    told = {int(row["subject"]): row["value"] for row in named}
    models = [*splits["test"].models, *with_train_models_to_rebuild(splits)["test"].models]
    assert [int(row["subject"]) for row in named] == models
    assert told == {model: pytest.approx(accuracy[model].item()) for model in models}
