"""The gradient is the published one, kernels are drawn as published, each predictor is its own, and a killed run goes on."""

from contextlib import suppress
from itertools import islice

import pytest
import torch
from killing import DyingState, KilledError
from weightspace.errors import InputError
from weightspace.predictor import reconstruct as module
from weightspace.predictor.kernels import layout_of, to_kernels
from weightspace.predictor.learn import descend
from weightspace.predictor.model import predict_all
from weightspace.predictor.orders import kernel_order
from weightspace.predictor.reconstruct import (
    Batch,
    draw,
    gradient_by,
    joined,
    mean_square,
    predict_rows,
    reconstruct,
    reconstruction_gradient,
    residual,
    running_square,
    schedule_of,
    spec_of,
    start_descent,
    target_of,
)
from weightspace.predictor.settings import PredictorConfig
from weightspace.store import TrainingState

SHAPES = {"conv1.weight": (6, 3, 3, 3), "conv2.weight": (5, 6, 3, 3), "conv3.weight": (5, 5, 1, 1)}
LAYOUT = layout_of(SHAPES, None, False)
NAMES = [("test", n) for n in range(3)]


def config_of(**changes):
    settings = {"zoo": "any", "seeds": [0], "hidden": 8, "steps": 30, "kernel_batch": 16, "embedding_levels": 6}
    return PredictorConfig(**settings | changes)


def target_for(config, models=3, dtype=torch.float32, shapes=SHAPES):
    generator, layout = torch.Generator().manual_seed(0), layout_of(shapes, None, False)
    drawn = [{name: torch.randn(shape, generator=generator) for name, shape in shapes.items()} for _ in range(models)]
    kernels = to_kernels(layout, {name: torch.stack([one[name] for one in drawn]) for name in shapes})
    ranks = torch.stack([kernel_order(layout, own, config.order) for own in kernels])
    return target_of(layout, kernels.to(dtype), ranks, config)


def steps(config, target, names, begun):
    """The stack after each step of a reconstruction."""
    return descend(spec_of(config, target), begun, gradient_by(config, target, names, begun), schedule_of(config, "steps"))


def unlike_targets(dtype=torch.float64, **changes):
    """Targets of three sizes, the largest neither first nor last, and of two orders."""
    shapes = [{"conv1.weight": (3, 2, 3, 3)}, SHAPES, {"conv1.weight": (4, 3, 1, 1), "conv2.weight": (2, 4, 3, 3)}]
    orders = ["none", "cross_filter", "none"]
    return [
        target_for(config_of(order=order, **changes), models, dtype, own)
        for order, models, own in zip(orders, [2, 1, 3], shapes, strict=True)
    ]


def textbook_gradient(spec, weights, target, rows):
    """Of one model: all kernels predicted, those of the batch with a graph; sqrt(sum of squared errors / P), by autograd.

    The loss reads a kernel once; a graph that is entered twice counts twice.
    """
    leaf = weights.clone().requires_grad_()
    everything = predict_all(spec, weights, target.table, target.rank)[0].requires_grad_()
    loss = ((everything - target.kernels[0])[target.mask[0]].square().sum() / int(target.mask[0].sum())).sqrt()
    (at_kernels,) = torch.autograd.grad(loss, everything)
    gradient = torch.zeros_like(leaf)
    for row in rows.tolist():
        one = predict_rows(spec, leaf, target, torch.tensor([[row]]))
        gradient += torch.autograd.grad((one[0, 0] * at_kernels[row]).sum(), leaf)[0]
    return gradient


@pytest.mark.parametrize(("dtype", "within"), [(torch.float32, 1e-6), (torch.float64, 1e-10)])
def test_the_exact_gradient_is_the_published_one_where_duplicates_count_twice(dtype, within):
    config = config_of(error="exact")
    target = target_for(config, dtype=dtype)
    spec, state = spec_of(config, target), start_descent(config, target, NAMES)
    rows = torch.tensor([[0, 5, 40, 60, 5], [1, 1, 1, 2, 72], [9, 8, 7, 6, 5]])
    leaf = state.weights.clone().requires_grad_()
    predicted = predict_rows(spec, leaf, target, rows)
    difference = residual(target, predicted.detach(), rows)
    batch = Batch(rows, torch.tensor([True] * 3))
    square = running_square(spec, config, target, state._replace(step=3), batch, difference)
    (gradient,) = torch.autograd.grad(predicted, leaf, reconstruction_gradient(target, difference, square))
    for n, own in enumerate(gradient):
        expected = textbook_gradient(spec, state.weights[n : n + 1], target.of([n]), rows[n])
        assert (own - expected[0]).norm() < within * expected.norm()


def test_the_mean_square_is_over_weights_alone(float64):
    config = config_of()
    target = target_for(config, dtype=torch.float64)
    spec, state = spec_of(config, target), start_descent(config, target, NAMES)
    weights = state.weights
    errors = (predict_all(spec, weights, target.table, target.rank) - target.kernels)[:, target.mask[0]].square().mean(1)
    torch.testing.assert_close(mean_square(spec, weights, target), errors)


def test_the_fast_error_is_the_exact_one_where_it_is_measured_anew(monkeypatch):
    monkeypatch.setattr(module, "REFRESH", 7)
    config = config_of(steps=15)
    target = target_for(config)
    state = start_descent(config, target, NAMES)
    exact = [mean_square(spec_of(config, target), state.weights, target)]
    for now in steps(config, target, NAMES, state):
        if now.step % 7 == 1:
            assert torch.equal(now.square, exact[-1])
        exact.append(mean_square(spec_of(config, target), now.weights, target))
    assert len(exact) == 16


@pytest.mark.slow
def test_the_fast_error_stays_near_the_exact_one(monkeypatch):
    config = config_of(steps=150, kernel_batch=30)
    target = target_for(config)
    far = []
    begun = start_descent(config, target, NAMES)
    for state in steps(config, target, NAMES, begun):
        far.append((state.square / mean_square(spec_of(config, target), state.weights, target)).log().abs().max())
    assert max(far) < 0.35  # an EMA of ten batches, of 30 kernels each


def test_the_first_steps_of_both_errors_are_the_same():
    target = target_for(config_of())
    ends = []
    for error in ("exact", "fast"):
        config = config_of(error=error)
        (state,) = islice(steps(config, target, NAMES, start_descent(config, target, NAMES)), 1)
        ends.append(state.weights)
    assert torch.equal(*ends)


def test_a_fast_error_is_exact_where_a_batch_has_all_kernels():
    target = target_for(config_of())
    ends = []
    for error in ("exact", "fast"):
        config = config_of(error=error, kernel_batch=4096, norm_weighted_share=0.0, steps=20)
        (done,) = reconstruct(config, target, NAMES)
        ends.append(done.weights)
    torch.testing.assert_close(*ends, rtol=1e-4, atol=1e-6)


# kernels of a step


def test_uniform_kernels_are_drawn_once_and_fewer_are_all_taken():
    target = target_for(config_of())
    batch = draw(config_of(norm_weighted_share=0.0), target, NAMES, 1)
    assert batch.rows.shape == (3, 16)
    assert all(len(set(rows.tolist())) == 16 for rows in batch.rows)
    everything = draw(config_of(norm_weighted_share=0.0, kernel_batch=4096), target, NAMES, 1).rows
    assert torch.equal(everything.sort().values, torch.arange(LAYOUT.num_kernels).expand(3, -1))


@pytest.mark.slow
def test_kernels_are_drawn_in_proportion_to_their_norms():
    config = config_of(norm_weighted_share=1.0)
    target = target_for(config, models=1)
    kernels = target.kernels.clone()
    kernels[0, 10] = 0
    target = target_of(LAYOUT, kernels, target.rank, config)
    rows = torch.cat([draw(config, target, NAMES[:1], step).rows[0] for step in range(2000)])
    share = torch.bincount(rows, minlength=LAYOUT.num_kernels) / len(rows)
    expected = kernels[0].norm(dim=1) / kernels[0].norm(dim=1).sum()
    assert share[10] == 0
    assert ((share - expected).abs() <= 5 * (expected / len(rows)).sqrt()).all()


@pytest.mark.slow
def test_a_fifth_of_the_steps_draws_by_norm_each_model_for_itself():
    target = target_for(config_of())
    uniform = torch.stack([draw(config_of(), target, NAMES, step).uniform for step in range(1000)])
    assert ((uniform.float().mean(0) - 0.8).abs() < 0.06).all()
    assert not torch.equal(uniform[:, 0], uniform[:, 1])


# training


@pytest.mark.slow
@pytest.mark.parametrize("error", ["exact", "fast"])
def test_a_stack_is_trained_as_each_predictor_alone(error):
    config = config_of(error=error)
    target = target_for(config, dtype=torch.float64)
    (stack,) = reconstruct(config, target, NAMES)
    for n, name in enumerate(NAMES):
        (alone,) = reconstruct(config, target.of([n]), [name])
        torch.testing.assert_close(stack.weights[n : n + 1], alone.weights, rtol=1e-9, atol=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [4, 10, 4096])
@pytest.mark.parametrize("error", ["exact", "fast"])
def test_predictors_of_originals_of_several_sizes_are_trained_as_each_size_alone(error, batch):
    config = config_of(error=error, kernel_batch=batch, rounds=2, norm_weighted_share=0.5)
    targets, names = unlike_targets(), [("test", n) for n in range(6)]
    whole = reconstruct(config, joined(targets), names)
    begin = 0
    for target in targets:
        models, num = slice(begin, begin := begin + len(target.kernels)), target.kernels.shape[1]
        for together, alone in zip(whole, reconstruct(config, target, names[models]), strict=True):
            torch.testing.assert_close(together.weights[models], alone.weights, rtol=1e-7, atol=1e-9)
            torch.testing.assert_close(together.kernels[models, :num], alone.kernels, rtol=1e-7, atol=1e-9)
            assert not together.kernels[models, num:].any()


@pytest.mark.parametrize("batch", [4, 10, 4096])
def test_a_smaller_original_of_a_stack_has_draws_of_its_own_kernels_and_zeros_for_the_rest(batch):
    targets, config = unlike_targets(), config_of(kernel_batch=batch, norm_weighted_share=0.5)
    target, names = joined(targets), [("test", n) for n in range(6)]
    alone = [own for own in targets for _ in own.kernels]
    for step in range(20):
        batches = draw(config, target, names, step)
        for n, own in enumerate(alone):
            rows = draw(
                config, own.of([0])._replace(norms=target.norms[n : n + 1, : own.kernels.shape[1]]), [names[n]], step
            ).rows[0]
            assert torch.equal(batches.rows[n, : len(rows)], rows)
            assert not target.mask[n, batches.rows[n, len(rows) :]].any()


def test_what_is_joined_can_be_taken_out_again():
    targets = unlike_targets()
    target, begin = joined(targets), 0
    assert target.num_weights == tuple(int(own.sum()) for own in target.mask)
    for one in targets:
        models, num = range(begin, begin + len(one.kernels)), one.kernels.shape[1]
        own, begin = target.of(models), models.stop
        assert (own.num_kernels, own.num_weights) == (one.num_kernels, one.num_weights)
        assert torch.equal(own.kernels[:, :num], one.kernels)
        assert torch.equal(own.mask[:, :num], one.mask)
        assert torch.equal(own.table[own.rank[:, :num]], one.table[one.rank])
        assert own.rank.max() - own.rank.min() < len(one.table)  # where there are zeros too


def test_predictors_that_put_out_kernels_of_other_sizes_share_no_stack():
    sizes = [target_for(config_of(order="none"), shapes={"conv1.weight": (2, 2, side, side)}) for side in (3, 5)]
    with pytest.raises(InputError, match="9 and 25 numbers cannot share a stack"):
        joined(sizes)


@pytest.mark.slow
def test_a_wide_predictor_reconstructs_a_small_network():
    config = config_of(hidden=64, steps=1500, embedding_levels=20, kernel_batch=4096)
    target = target_for(config, models=1)
    (done,) = reconstruct(config, target, NAMES[:1])
    error = (done.kernels - target.kernels)[:, target.mask[0]].square().mean().sqrt()
    assert error < 0.02  # weights have deviation 1
    assert (done.kernels[~target.mask] == 0).all()


@pytest.mark.slow
def test_each_round_fits_fresh_predictors_to_what_the_one_before_has_put_out():
    config = config_of(rounds=3)
    target = target_for(config)
    rounds, wanted, firsts = reconstruct(config, target, NAMES), target.kernels, []
    for number, done in enumerate(rounds, start=1):
        own = target_of(LAYOUT, wanted, target.rank, config)  # the first round's order
        names = [(*name, number) for name in NAMES]
        firsts.append(start_descent(config, own, names).weights)
        *_, last = steps(config, own, names, start_descent(config, own, names))
        assert torch.equal(done.weights, last.weights)
        wanted = predict_all(spec_of(config, own), done.weights, own.table, own.rank) * own.mask
        assert torch.equal(done.kernels, wanted)
    assert not torch.equal(firsts[0], firsts[1])
    assert not torch.equal(firsts[1], firsts[2])


@pytest.mark.slow
@pytest.mark.parametrize("saves", [4, 10, 13])
def test_a_killed_run_goes_on_bit_for_bit(tmp_path, saves):
    config = config_of(rounds=2, steps=10)
    target = target_for(config)
    whole = reconstruct(config, target, NAMES)
    path = tmp_path / "state"
    with suppress(KilledError):
        reconstruct(config, target, NAMES, DyingState(path, saves))
        pytest.fail("was not killed")
    resumed = reconstruct(config, target, NAMES, TrainingState(path, "key"))
    for ours, theirs in zip(resumed, whole, strict=True):
        assert torch.equal(ours.weights, theirs.weights)
        assert torch.equal(ours.kernels, theirs.kernels)
