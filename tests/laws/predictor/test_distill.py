"""Distillation's gradients are those of textbook losses, on the inputs that settings promise; killed runs go on."""

from itertools import product
from math import cos, log, pi

import pytest
import torch
import torch.nn.functional as F
from killing import DyingState, KilledError
from planted_predictors import (
    RESIDUAL,
    planted_images,
    planted_originals,
    predictor_config,
    random_net,
    target_for,
)
from weightspace.images.augment import FRAME, moved
from weightspace.images.tensors import normalize
from weightspace.losses import divergence
from weightspace.nets.forward import flatten, forward, unflatten
from weightspace.nets.init import initial_weights
from weightspace.nets.spec import build_spec
from weightspace.predictor import distill as module
from weightspace.predictor import learn
from weightspace.predictor.distill import (
    DistillationData,
    distillation_loss,
    floored_divergence,
    inputs,
    joint_gradient,
    map_distance,
    rebuilt,
    shown,
    train_afterwards,
    train_jointly,
)
from weightspace.predictor.model import predict, predict_all
from weightspace.predictor.reconstruct import draw, reconstruct, spec_of, start_descent
from weightspace.predictor.settings import DistillationConfig
from weightspace.store import TrainingState
from weightspace.training import DistillationTeachers

NAMES = [("test", n) for n in range(3)]
IN_ROUND = [(*name, 1) for name in NAMES]  # as a reconstruction calls its first round
JOINTLY = {"when": "jointly", "batch_size": 8, "logit_weight": 0.5, "feature_weight": 0.02}
AFTERWARDS = {"when": "afterwards", "batch_size": 8, "logit_weight": 1.0, "feature_weight": 0.0, "steps": 10}


def config_of(distillation, **changes):
    return predictor_config(error="exact", distillation=distillation, **changes)


def lesson_for(config, models=3, dtype=torch.float64, teacher=None):
    """Untrained originals, which teach themselves if nobody else does."""
    spec, weights = random_net(RESIDUAL, models, dtype)
    layout, target = target_for(config, spec, weights)
    return target, DistillationData(
        spec, weights, layout, teacher or DistillationTeachers(spec, weights), planted_images(), (("test",),)
    )


@pytest.fixture
def fixed_inputs(monkeypatch):
    """Inputs in float64 that depend on the step alone."""

    def draw_inputs(config, images, identity, step):
        return torch.randn(1, 8, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(step))

    monkeypatch.setattr(module, "inputs", draw_inputs)
    return draw_inputs


@pytest.fixture
def gradients(monkeypatch):
    """Of the predictors' weights, step by step, with the weights before the step."""
    seen, step = [], learn.ranger_step
    monkeypatch.setattr(learn, "ranger_step", lambda *args: seen.append((args[1].clone(), args[2].clone())) or step(*args))
    return seen


# textbook


def residual_net(parameters, x, strides):
    """Logits of one residual network, and its feature maps: each convolution after its batch norm, each sum."""
    stems, maps = list(dict.fromkeys(name.partition(".")[0] for name in parameters)), []

    def normed(hidden, stride=1):
        weight, norm = parameters[f"{stems.pop(0)}.weight"], stems.pop(0)
        hidden = F.conv2d(hidden, weight, None, stride, weight.shape[-1] // 2)
        mean, variance = (parameters[f"{norm}.{name}"].detach() for name in ("running_mean", "running_var"))
        return F.batch_norm(hidden, mean, variance, parameters[f"{norm}.weight"], parameters[f"{norm}.bias"])

    maps.append(normed(x))
    hidden = maps[-1].relu()
    for stride in strides:
        maps.append(normed(hidden, stride))
        maps.append(normed(maps[-1].relu()))
        shortcut = normed(hidden, stride) if stems[0].startswith("shortcut") else hidden
        maps.append(maps[-1] + shortcut)
        hidden = maps[-1].relu()
    (last,) = stems
    return F.linear(hidden.mean((2, 3)), parameters[f"{last}.weight"], parameters[f"{last}.bias"]), maps


def textbook_distance(ours, theirs):
    """Sum over maps, mean over images, of || a / (|a| + 1e-3) - b / (|b| + 1e-3) ||^2."""
    total = 0.0
    for one, other in zip(ours, theirs, strict=True):
        for a, b in zip(one, other, strict=True):
            total = total + (a / (a.norm() + 1e-3) - b / (b.norm() + 1e-3)).square().sum() / len(one)
    return total


def textbook_divergence(target, logits, floor=1e-4):
    """Mean over images of sum p log(p / (q + floor))."""
    p, q = target.softmax(1), logits.softmax(1) + floor
    return (p * (p / q).log()).sum(1).mean()


def textbook_gradient(config, target, lesson, weights, x, rows):
    """Of each predictor's weights: error over all kernels plus distillation, kernels outside the batch being constants."""
    spec, result = spec_of(config, target), []
    for n, own in enumerate(weights):
        leaf = own.clone().unsqueeze(0).requires_grad_()
        kernels = predict(spec, leaf, target.table[target.rank[n : n + 1]])[0]
        inside = torch.zeros(len(kernels), 1, dtype=torch.bool)
        inside[rows[n]] = True
        kernels = torch.where(inside, kernels, kernels.detach())
        parameters = {name: tensor[n] for name, tensor in unflatten(lesson.spec, lesson.originals).items()}
        answers, maps = residual_net(parameters, x[0], [2])
        for part in lesson.layout.parts:
            whole = kernels[part.rows].view(part.filters, part.channels, 3, 3)
            parameters[part.name] = whole if part.kernel == 3 else whole[:, :, 1:2, 1:2]
        logits, ours = residual_net(parameters, x[0], [2])
        how = config.distillation
        loss = how.logit_weight * textbook_divergence(answers, logits) + how.feature_weight * textbook_distance(ours, maps)
        if how.when == "jointly":
            error = (kernels - target.kernels[n])[target.mask[n]].square().sum() / int(target.mask[n].sum())
            loss = loss + error.sqrt()
        result.append(torch.autograd.grad(loss, leaf)[0][0])
    return torch.stack(result)


# jointly


@pytest.mark.slow
@pytest.mark.parametrize("silent", [(), ("logit_weight",), ("feature_weight",)], ids=["both", "features", "logits"])
def test_the_joint_gradient_is_autograds_of_the_textbook_loss(fixed_inputs, gradients, silent):
    config = config_of(JOINTLY | dict.fromkeys(silent, 0.0), norm_weighted_share=0.0, steps=3)
    target, lesson = lesson_for(config)
    train_jointly(config, target, lesson, NAMES)
    for step, (weights, gradient) in enumerate(gradients, start=1):
        rows = draw(config, target, NAMES, step).rows
        expected = textbook_gradient(config, target, lesson, weights, fixed_inputs(None, None, None, step), rows)
        torch.testing.assert_close(gradient, expected, rtol=1e-8, atol=1e-12)
    assert len(gradients) == 3


def test_a_kernel_that_is_drawn_twice_has_the_whole_gradient_twice():
    config = config_of(JOINTLY)
    target, lesson = lesson_for(config)
    kernels, x = target.kernels + 0.1 * torch.randn(target.kernels.shape).double(), torch.randn(1, 8, 1, 8, 8).double()
    once = joint_gradient(config.distillation, lesson, kernels, torch.tensor([[0, 7, 30]] * 3), x)
    twice = joint_gradient(config.distillation, lesson, kernels, torch.tensor([[0, 7, 7, 30]] * 3), x)
    torch.testing.assert_close(twice, once[:, [0, 1, 1, 2]])


def test_the_distillation_has_a_gradient_and_had_none_as_published_in_2022():
    config = config_of(JOINTLY)
    target, lesson = lesson_for(config)
    kernels, x = target.kernels + 0.1 * torch.randn(target.kernels.shape).double(), torch.randn(1, 8, 1, 8, 8).double()
    rows = torch.arange(10).expand(3, -1)
    gradient = joint_gradient(config.distillation, lesson, kernels, rows, x)
    assert (gradient.flatten(1).norm(dim=1) > 1e-3).all()
    published = config.distillation.model_copy(update={"as_published_2022": True})
    assert torch.equal(joint_gradient(published, lesson, kernels, rows, x), torch.zeros_like(gradient))


@pytest.mark.slow
def test_as_published_in_2022_joint_training_is_reconstruction_bit_for_bit():
    ends = {}
    for published in (True, False):
        config = config_of(JOINTLY | {"as_published_2022": published}, steps=20)
        target, lesson = lesson_for(config, dtype=torch.float32)
        ends[published] = train_jointly(config, target, lesson, IN_ROUND)
    (done,) = reconstruct(config, target, NAMES)
    assert torch.equal(ends[True], done.weights)
    assert not torch.allclose(ends[False], done.weights, atol=1e-4)


def test_steps_of_the_warmup_do_not_distill(gradients):
    for warmup in (2, 4):
        config = config_of(JOINTLY | {"warmup_steps": warmup}, steps=5)
        target, lesson = lesson_for(config, dtype=torch.float32)
        train_jointly(config, target, lesson, NAMES)
    early, late = gradients[:5], gradients[5:]
    assert [torch.equal(one[1], other[1]) for one, other in zip(early, late, strict=True)] == [True] * 2 + [False] * 3


# feature maps


def test_each_of_the_28_feature_maps_of_resnet20_counts_once():
    spec = build_spec("resnet20", "relu", (3, 8, 8), 10)
    draws = [torch.Generator().manual_seed(n) for n in range(4)]
    weights = torch.stack([initial_weights(spec, "kaiming_normal", generator, None) for generator in draws]).double()
    x = torch.randn(1, 3, 3, 8, 8, dtype=torch.float64)
    config = DistillationConfig(when="jointly", logit_weight=0.0, feature_weight=1.0)
    layout, _ = target_for(predictor_config(), spec, weights[:2])
    lesson = DistillationData(spec, weights[:2], layout, DistillationTeachers(spec, weights[2:]), planted_images(), (("test",),))
    loss = distillation_loss(config, lesson, weights[:2], x)
    for n in range(2):
        nets = ({name: tensor[m] for name, tensor in unflatten(spec, weights).items()} for m in (n, n + 2))
        maps = [residual_net(net, x[0], [1, 1, 1, 2, 1, 1, 2, 1, 1])[1] for net in nets]
        assert len(maps[0]) == 28
        torch.testing.assert_close(loss[n], textbook_distance(*maps), rtol=1e-9, atol=0)


@pytest.mark.parametrize("scale", [1.0, 1e-3, 0.0])
def test_the_distance_of_maps_is_that_of_a_loop_where_norms_are_as_small_as_epsilon(scale):
    shapes = [(2, 4, 3, 5, 5), (2, 4, 6, 2, 2)]
    ours = [scale * torch.randn(shape, dtype=torch.float64) for shape in shapes]
    theirs = [torch.randn(shape, dtype=torch.float64) for shape in shapes]
    slow = [textbook_distance([maps[n] for maps in ours], [maps[n] for maps in theirs]) for n in range(2)]
    torch.testing.assert_close(map_distance(ours, theirs), torch.stack(slow))


@pytest.mark.parametrize(("function", "floor"), [(floored_divergence, 1e-4), (divergence, 0.0)])
def test_divergences_are_the_textbooks(function, floor):
    target, logits = 3 * torch.randn(2, 5, 4, dtype=torch.float64), 3 * torch.randn(2, 5, 4, dtype=torch.float64)
    slow = torch.stack([textbook_divergence(one, other, floor) for one, other in zip(target, logits, strict=True)])
    torch.testing.assert_close(function(target, logits), slow)


@pytest.mark.parametrize("scale", [1.0, 1e9])
def test_the_divergence_and_its_slope_are_bounded_however_far_logits_are_off(scale):
    """No more than log(1 / 1e-4), and no more than 1 by a logit: of far ones, that are sure, nothing."""
    target, logits = 3 * torch.randn(2, 5, 4), (scale * torch.randn(2, 5, 4)).requires_grad_()
    loss = floored_divergence(target, logits)
    assert (loss <= log(1e4)).all()
    (slope,) = torch.autograd.grad(loss.sum(), logits)
    assert slope.abs().max() <= (1 if scale == 1 else 0)


@pytest.mark.parametrize("when", ["jointly", "afterwards"])
def test_predictors_survive_originals_under_whose_statistics_their_kernels_give_logits_of_a_million(when):
    config = config_of(JOINTLY if when == "jointly" else AFTERWARDS, steps=10)
    target, lesson = lesson_for(config, dtype=torch.float32)
    named = unflatten(lesson.spec, lesson.originals)
    named |= {name: 1e-8 * tensor for name, tensor in named.items() if name.endswith("running_var")}
    lesson = lesson._replace(originals=flatten(lesson.spec, named))
    spec, begun = spec_of(config, target), start_descent(config, target, NAMES).weights
    kernels, x = predict(spec, begun, target.table[target.rank]), shown(config.distillation, lesson, 1)
    assert forward(lesson.spec, rebuilt(lesson.spec, lesson.originals, lesson.layout, kernels), x).abs().max() > 1e6
    if when == "jointly":
        trained = train_jointly(config, target, lesson, NAMES)
    else:
        trained = train_afterwards(config, target, lesson, begun)
    assert (trained - begun).abs().max() < 1


# afterwards


def test_afterwards_the_gradient_is_that_of_every_kernel(fixed_inputs, gradients):
    config = config_of(AFTERWARDS | {"steps": 3})
    target, lesson = lesson_for(config)
    train_afterwards(config, target, lesson, start_descent(config, target, NAMES).weights)
    everything = torch.arange(target.kernels.shape[1]).expand(3, -1)
    for step, (weights, gradient) in enumerate(gradients, start=1):
        expected = textbook_gradient(config, target, lesson, weights, fixed_inputs(None, None, None, step), everything)
        torch.testing.assert_close(gradient, expected, rtol=1e-8, atol=1e-12)
    assert len(gradients) == 3


def test_afterwards_training_starts_from_the_given_weights_and_leaves_them():
    config = config_of(AFTERWARDS | {"steps": 1, "learning_rate": 1e-30})
    target, lesson = lesson_for(config, dtype=torch.float32)
    given = start_descent(config, target, NAMES).weights
    assert torch.equal(train_afterwards(config, target, lesson, given), given)
    before = given.clone()
    assert not torch.equal(train_afterwards(config_of(AFTERWARDS), target, lesson, given), given)
    assert torch.equal(given, before)


def test_afterwards_ranger_starts_anew_at_the_phases_own_rate_and_keeps_the_weight_decay(monkeypatch):
    config, seen = config_of(AFTERWARDS | {"learning_rate": 0.01}, weight_decay=0.3), []
    target, lesson = lesson_for(config, dtype=torch.float32)
    given = start_descent(config, target, NAMES).weights

    def step(spec, weights, gradient, averages, rates, number):
        if number == 1:
            assert not averages.first.any()
            assert not averages.second.any()
            assert torch.equal(averages.slow, given)
        seen.append((number, *rates))

    monkeypatch.setattr(learn, "ranger_step", step)
    train_afterwards(config, target, lesson, given)
    rates = [1e-6 + (0.01 - 1e-6) * (1 + cos(pi * n / 10)) / 2 for n in range(10)]
    assert seen == [(n + 1, pytest.approx(rate), 0.3) for n, rate in enumerate(rates)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["residual", "plain"])
def test_afterwards_networks_come_to_answer_as_their_teachers_of_any_architecture(kind):
    how = AFTERWARDS | {"steps": 100, "learning_rate": 2e-3, "batch_size": 16}
    config = config_of(how, hidden=64, steps=400, embedding_levels=20, kernel_batch=4096)
    originals, teacher, images = planted_originals(), planted_originals(kind), planted_images()
    layout, target = target_for(config, originals.spec, originals.weights)
    lesson = DistillationData(
        originals.spec, originals.weights, layout, DistillationTeachers(teacher.spec, teacher.weights), images, (("test",),)
    )
    begun = reconstruct(config, target, NAMES[:2])[0].weights
    trained = train_afterwards(config, target, lesson, begun)
    x = normalize(images.test_x, images).unsqueeze(0)
    answers, after = forward(teacher.spec, teacher.weights, x), []
    for weights in (begun, trained):
        kernels = predict_all(spec_of(config, target), weights, target.table, target.rank)
        after.append(divergence(answers, forward(originals.spec, rebuilt(originals.spec, originals.weights, layout, kernels), x)))
    assert (after[1] < 0.9 * after[0]).all()


def test_rebuilt_networks_have_predicted_kernels_and_all_else_of_the_originals():
    config = config_of(JOINTLY)
    target, lesson = lesson_for(config)
    kernels = torch.randn(target.kernels.shape).double()
    networks = unflatten(lesson.spec, rebuilt(lesson.spec, lesson.originals, lesson.layout, kernels))
    predicted = {part.name: part for part in lesson.layout.parts}
    for name, tensor in unflatten(lesson.spec, lesson.originals).items():
        if name not in predicted:
            assert torch.equal(networks[name], tensor)
    conv = predicted["conv1.weight"]
    assert torch.equal(networks["conv1.weight"].flatten(1), kernels[:, conv.rows].flatten(1))


# stacks and killed runs


def run(config, lesson_and_target, models=slice(None), state=None):
    target, lesson = lesson_and_target
    target = target.of(range(len(target.kernels))[models])
    teacher = lesson.teacher._replace(weights=lesson.teacher.weights[models])
    lesson = lesson._replace(originals=lesson.originals[models], teacher=teacher)
    if config.distillation.when == "jointly":
        return train_jointly(config, target, lesson, NAMES[models], state)
    return train_afterwards(config, target, lesson, start_descent(config, target, NAMES[models]).weights, state)


@pytest.mark.slow
@pytest.mark.usefixtures("fixed_inputs")
@pytest.mark.parametrize("how", [JOINTLY, AFTERWARDS], ids=["jointly", "afterwards"])
def test_a_stack_is_trained_as_each_of_its_predictors_alone(how):
    config = config_of(how)
    taught = lesson_for(config)
    stack = run(config, taught)
    for n in range(3):
        torch.testing.assert_close(run(config, taught, slice(n, n + 1))[0], stack[n], rtol=1e-8, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("saves", [1, 4, 6, 9])
@pytest.mark.parametrize("how", [JOINTLY, AFTERWARDS | {"augment": True}], ids=["jointly", "afterwards"])
def test_a_killed_run_goes_on_bit_for_bit(tmp_path, how, saves, gradients):
    config = config_of(how)
    taught, path = lesson_for(config, dtype=torch.float32), tmp_path / "state"
    whole = run(config, taught)
    with pytest.raises(KilledError):
        run(config, taught, state=DyingState(path, saves))
    gradients.clear()
    assert torch.equal(run(config, taught, state=TrainingState(path, "key")), whole)
    assert len(gradients) == 10 - saves


# inputs


def test_networks_of_one_seed_see_the_same_inputs_those_of_another_their_own():
    config = input_config()
    _, lesson = lesson_for(config_of(JOINTLY), models=4)
    one = shown(config, lesson, 3)
    assert torch.equal(one, inputs(config, lesson.images, ("test",), 3))
    sets = shown(config, lesson._replace(draws=(("test",), ("other",))), 3)
    other = inputs(config, lesson.images, ("other",), 3)
    assert torch.equal(sets, torch.cat([one, one, other, other]))


def input_config(**changes):
    return DistillationConfig(when="jointly", logit_weight=1.0, **{"batch_size": 16} | changes)


def test_noise_has_the_promised_distribution_whatever_the_images():
    images = planted_images()
    draws = {
        kind: torch.cat([inputs(input_config(inputs=kind, batch_size=64), images, ("a",), step) for step in range(1, 21)])
        for kind in ("uniform_noise", "gaussian_noise")
    }
    num = draws["uniform_noise"].numel()
    for kind, variance, fourth in (("uniform_noise", 4 / 3, 16 / 5), ("gaussian_noise", 1.0, 3.0)):
        x = draws[kind].double()
        assert x.shape == (20, 64, 1, 8, 8)
        assert x.mean().abs() < 5 * (variance / num) ** 0.5
        assert (x.square().mean() - variance).abs() < 5 * ((fourth - variance**2) / num) ** 0.5
        assert (x**4).mean() == pytest.approx(fourth, rel=0.1)
        assert len(x.unique(dim=0)) == 20
    assert 1.999 < draws["uniform_noise"].abs().max() <= 2


def test_an_epoch_shows_each_image_once_and_the_next_one_in_another_order():
    images, config = planted_images(), input_config()
    epochs = [torch.cat([inputs(config, images, ("a",), 3 * epoch + step)[0] for step in (1, 2, 3)]) for epoch in (0, 1)]
    for epoch in epochs:
        assert torch.equal(epoch.flatten(1).unique(dim=0), normalize(images.train_x, images).flatten(1).unique(dim=0))
    assert not torch.equal(*epochs)
    assert not torch.equal(inputs(config, images, ("b",), 1), inputs(config, images, ("a",), 1))


def test_images_that_do_not_fill_a_batch_wait_for_another_epoch_and_fewer_than_a_batch_are_all_shown():
    images = planted_images()
    shown = torch.cat([inputs(input_config(batch_size=20), images, ("a",), step)[0] for step in (1, 2)])
    assert len(shown.flatten(1).unique(dim=0)) == 40
    assert inputs(input_config(batch_size=100), images, ("a",), 7).shape == (1, 48, 1, 8, 8)


def test_augmented_images_are_the_same_images_each_moved_in_its_own_way():
    images = planted_images()
    plain, shown = (inputs(input_config(augment=augment), images, ("a",), 1)[0] for augment in (False, True))
    moves = torch.tensor(list(product(range(2), range(2 * FRAME + 1), range(2 * FRAME + 1))))
    found = []
    for before, after in zip(plain, shown, strict=True):
        (index,) = [n for n, x in enumerate(normalize(images.train_x, images)) if torch.equal(x, before)]
        variants = normalize(moved(images.train_x[index].expand(1, len(moves), -1, -1, -1), moves.unsqueeze(0)), images)[0]
        found.append(int((variants == after).flatten(1).all(1).nonzero()[0]))
    assert len(set(found)) > 10
