"""The trainer: each model of a stack as torch trains it alone, whatever stack, death or lack of memory it was trained through."""

import re
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
import weightspace.training
from corner_images import planted_images
from killing import Eager, killed
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, MultiStepLR, OneCycleLR
from weightspace.errors import InputError
from weightspace.images.tensors import normalize
from weightspace.losses import neighbor_similarity, total_loss
from weightspace.nets.forward import forward, unflatten
from weightspace.nets.spec import build_spec
from weightspace.optimizers import OPTIMIZERS
from weightspace.recipe import SCHEDULES, OptimizerName, Recipe, When
from weightspace.store import TrainingState
from weightspace.training import DistillationTeachers, Trainee, batches, new_stack, parts_of_step, task_of, train, train_stack
from weightspace.zoo.settings import ZooConfig
from weightspace.zoo.train import make_task, members, shard_writer, train_models

NORMED = ["conv 4 3", "batch_norm", "activation", "conv 6 3 1 2", "batch_norm", "activation", "flatten", "linear classes"]
PLAIN = ["conv 3 3", "activation", "flatten", "dropout 0.3", "linear classes"]
EPOCHS = 3
RATES, DECAYS = (0.01, 0.03, 0.002, 0.05), (0.0, 0.1, 0.01, 0.3)


def recipe_of(**changes):
    settings = {"images": "planted", "architecture": NORMED, "activation": "tanh", "batch_size": 8}
    if changes.get("schedule") == "steps":
        settings["milestones"] = [1, 2]
    return Recipe(**settings | changes)


def planted_task(recipe, epochs=(0, EPOCHS), **about):
    return task_of(recipe, planted_images(), epochs, **about)


def models_of(num=4):
    """Networks that differ in their draws, rates and decays."""
    return [
        Trainee("kaiming_uniform", ("start", n), ("order", n), ("dropout", n), *own)
        for n, own in enumerate(zip(RATES[:num], DECAYS[:num], strict=True))
    ]


@pytest.fixture
def exact(float64, monkeypatch):
    """Training in float64."""
    monkeypatch.setattr(weightspace.training, "normalize", lambda x, images: normalize(x, images).double())


# each model as torch trains it alone


def tensors_of(net):
    return [tensor for name, tensor in net.state_dict().items() if "num_batches" not in name]


def module_of(spec, weights):
    """NORMED as plain torch modules."""
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Tanh(),
        nn.Conv2d(4, 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6), nn.Tanh(), nn.Flatten(), nn.Linear(24, 3),
    )  # fmt: skip
    with torch.no_grad():
        for tensor, ours in zip(tensors_of(net), unflatten(spec, weights).values(), strict=True):
            tensor.copy_(ours)
    return net


def optimizer_of(recipe, model, parameters):
    about = {"lr": model.learning_rate, "weight_decay": model.weight_decay}
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(parameters, momentum=recipe.momentum, **about)
    return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimizer](parameters, **about)


def scheduler_of(recipe, model, optimizer, steps):
    """torch's schedule, and whether it moves with every step and not with every epoch."""
    return {
        "constant": lambda: (MultiStepLR(optimizer, []), False),
        "steps": lambda: (MultiStepLR(optimizer, recipe.milestones), False),
        "one_cycle": lambda: (OneCycleLR(optimizer, model.learning_rate, steps), True),
        "cosine": lambda: (CosineAnnealingLR(optimizer, steps), True),
    }[recipe.schedule]()


def trained_alone(task, model, number, net, loss):
    """One model of `models_of()` by a plain loop; `loss` is of logits, images and labels. Flat weights, statistics too."""
    optimizer = optimizer_of(task.recipe, model, net.parameters())
    scheduler, each_step = scheduler_of(task.recipe, model, optimizer, EPOCHS * task.num_batches)
    for epoch in range(1, EPOCHS + 1):
        for x, labels in batches(task, models_of(), epoch):
            optimizer.zero_grad()
            loss(net(x[number]), x[number], labels[number]).backward()
            optimizer.step()
            if each_step:
                scheduler.step()
        if not each_step:
            scheduler.step()
    return torch.cat([tensor.flatten() for tensor in tensors_of(net)])


def assert_each_trains_alone(task, loss_of):
    weights = train(task, models_of()).weights
    for number, model in enumerate(models_of()):
        start, ours = weights[number]
        alone = trained_alone(task, model, number, module_of(task.spec, start), loss_of(number))
        assert not torch.allclose(alone, start, atol=1e-3)
        torch.testing.assert_close(ours, alone, rtol=1e-8, atol=1e-9)


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_stack_trains_each_model_as_torch_trains_it_alone(optimizer, schedule):
    recipe = recipe_of(optimizer=optimizer, schedule=schedule, label_smoothing=0.1, augment=schedule == "steps", momentum=0.8)
    task = planted_task(recipe)
    assert_each_trains_alone(task, lambda number: lambda logits, x, labels: F.cross_entropy(logits, labels, label_smoothing=0.1))


@pytest.mark.usefixtures("exact")
def test_a_taught_stack_trains_as_torch_on_each_teachers_answers_to_the_same_images():
    spec = build_spec(["flatten", "linear classes"], "relu", (1, 6, 6), 3)
    teacher = DistillationTeachers(spec, torch.randn(len(RATES), spec.num_weights))

    def loss_of(number):
        weight, bias = unflatten(spec, teacher.weights[number]).values()
        answers = lambda x: F.linear(x.flatten(1), weight, bias).softmax(1)  # noqa: E731
        return lambda logits, x, labels: F.kl_div(logits.log_softmax(1), answers(x), reduction="batchmean")

    assert_each_trains_alone(planted_task(recipe_of(optimizer="sgd", augment=True), teacher=teacher), loss_of)


def test_settings_name_every_optimizer():
    assert set(get_args(OptimizerName)) == set(OPTIMIZERS)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 5, 7, 100])
def test_schedules_are_torchs_however_few_the_steps(schedule, steps):
    recipe = recipe_of(schedule=schedule, optimizer="sgd", momentum=0.9)
    leaf = torch.zeros(1, requires_grad=True)
    model = models_of()[1]
    optimizer = optimizer_of(recipe, model, [leaf])
    scheduler, each_step = scheduler_of(recipe, model, optimizer, steps)
    for step in range(steps):
        when = When(epoch=step + 1, step=step, steps=steps)  # epochs of one step
        group = optimizer.param_groups[0]
        assert group["lr"] == pytest.approx(SCHEDULES[schedule](recipe, when) * model.learning_rate, abs=1e-12)
        assert group["momentum"] == pytest.approx(recipe.momentum_at(when))
        optimizer.step()
        scheduler.step()


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_the_loss_is_torchs_and_gives_each_model_the_gradient_that_it_gets_alone(smoothing):
    spec = build_spec(["conv 3 3", "pool 2", "activation", "flatten", "linear classes"], "tanh", (2, 6, 6), 3)
    weights, images, labels = torch.randn(4, spec.num_weights), torch.randn(4, 5, 2, 6, 6), torch.randint(3, (4, 5))
    leaf = weights.requires_grad_()
    (gradient,) = torch.autograd.grad(total_loss(forward(spec, leaf, images), labels, smoothing), leaf)
    for model in range(4):
        own = weights[model].detach().requires_grad_()
        logits = forward(spec, own[None], images[model][None])[0]
        loss = F.cross_entropy(logits, labels[model], label_smoothing=smoothing)
        torch.testing.assert_close(gradient[model], torch.autograd.grad(loss, own)[0], rtol=1e-9, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(("size", "normed", "plain"), [(8, 4, 4), (29, 1, 2), (30, 1, 1), (50, 1, 1), (7, 5, 5), (2, 15, 15)])
def test_a_last_batch_of_one_image_is_left_out_where_a_norm_would_need_its_variance(size, normed, plain):
    for layers, num in ((NORMED, normed), (PLAIN, plain)):
        task = planted_task(recipe_of(architecture=layers, batch_size=size))
        shown = list(batches(task, models_of(), 1))
        assert len(shown) == task.num_batches == num
        assert sum(labels.shape[1] for _, labels in shown) == 30 - (size == 29 and layers is NORMED)
        assert train(task, models_of()).weights.isfinite().all()


# stacks


def assert_same(ours, theirs, rounding=0.0):
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=rounding, atol=rounding)


def stacks_of(recipe):
    """What becomes of two models among four, in two stacks of two, and alone together."""
    task = planted_task(recipe, averaged_epochs=2)
    trained = [train(task, models_of(num), None, size) for num, size in ((4, 4), (4, 2), (2, 4))]
    assert len(set(map(tuple, trained[0].weights[:, -1].tolist()))) == 4
    return [tuple(tensor[:2] for tensor in each) for each in trained]


@pytest.mark.parametrize("schedule", ["constant", "one_cycle"])
def test_a_model_is_the_same_bit_for_bit_in_every_stack_of_two_or_more(schedule):
    together, apart, two = stacks_of(recipe_of(architecture=PLAIN, schedule=schedule, augment=True, smoothness=0.01))
    assert_same(apart, together)
    assert_same(two, together)


@pytest.mark.parametrize("num", [1, 2, 3, 5, 8, 34])
@pytest.mark.parametrize("cached", [1, 3000, 10**9])
def test_each_model_is_in_one_part_of_a_step_and_in_none_alone_but_where_the_stack_is_one(num, cached, monkeypatch):
    monkeypatch.setattr(weightspace.training, "CHUNK", {"cpu": cached})
    parts = parts_of_step(planted_task(recipe_of()), num)
    assert [n for part in parts for n in range(num)[part]] == list(range(num))
    assert min(len(range(num)[part]) for part in parts) >= min(num, 2)


@pytest.mark.parametrize("taught", [False, True], ids=["labels", "teachers"])
def test_steps_in_parts_are_the_same_bit_for_bit(taught, monkeypatch):
    spec = build_spec(["flatten", "linear classes"], "relu", (1, 6, 6), 3)
    teacher = DistillationTeachers(spec, torch.randn(4, spec.num_weights)) if taught else None
    task = planted_task(recipe_of(architecture=PLAIN, augment=True, smoothness=0.01), teacher=teacher)
    together = train(task, models_of())
    monkeypatch.setattr(weightspace.training, "CHUNK", {"cpu": 1})
    assert len(parts_of_step(task, 4)) == 2
    assert_same(train(task, models_of()), together)


@pytest.mark.usefixtures("exact")
def test_steps_in_parts_move_running_statistics_as_those_of_the_whole_stack(monkeypatch):
    task = planted_task(recipe_of())
    together = train(task, models_of())
    monkeypatch.setattr(weightspace.training, "CHUNK", {"cpu": 1})
    assert_same(train(task, models_of()), together, 1e-9)


@pytest.mark.usefixtures("exact")
def test_a_model_with_norms_is_the_same_to_rounding_in_every_stack():
    """torch sums over pixels in another order where channels do not fill its blocks."""
    together, apart, two = stacks_of(recipe_of(schedule="one_cycle", augment=True))
    assert_same(apart, together, 1e-9)
    assert_same(two, together, 1e-9)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("break_it", ["learning rate 1e30", "weight nan"])
def test_a_model_that_diverges_leaves_the_others_bit_for_bit_as_they_are(optimizer, break_it):
    task, models = planted_task(recipe_of(optimizer=optimizer)), models_of()
    healthy = train(task, models).weights[:, -1]
    broken = [*models[:1], models[1]._replace(learning_rate=1e30), *models[2:]] if "rate" in break_it else models
    stack = new_stack(task, models)
    if break_it == "weight nan":
        stack.weights[1] = torch.nan
    for _ in train_stack(task, broken, stack):
        pass
    assert not stack.weights[1].isfinite().all() or stack.weights[1].abs().max() > 1e20
    assert torch.equal(stack.weights[[0, 2, 3]], healthy[[0, 2, 3]])


def test_the_average_is_the_mean_over_the_last_epochs():
    each = train(planted_task(recipe_of(), range(EPOCHS + 1)), models_of()).weights
    for averaged in (1, 2, 3):
        trained = train(planted_task(recipe_of(), [EPOCHS], averaged_epochs=averaged), models_of())
        last, mean = trained.weights.unbind(1)
        torch.testing.assert_close(mean, each[:, -averaged:].mean(1))
        assert torch.equal(last, each[:, -1])


def test_training_for_smoothness_makes_neighbors_more_alike():
    rough, smooth = (planted_task(recipe_of(smoothness=weight)) for weight in (0.0, 0.3))
    ours, theirs = (neighbor_similarity(task.spec, train(task, models_of()).weights[:, -1]) for task in (smooth, rough))
    assert (ours > theirs).all()


# killed runs and little memory


def heavy_task(**about):
    """All at once."""
    recipe = recipe_of(
        architecture=[*NORMED[:-1], "dropout 0.3", NORMED[-1]], optimizer="adamw", schedule="one_cycle", augment=True,
        label_smoothing=0.2, smoothness=0.01,
    )  # fmt: skip
    return planted_task(recipe, [1, EPOCHS], averaged_epochs=2, **about)


@pytest.mark.slow
@pytest.mark.parametrize("killed_after", [1, 3, 4, 6, 8])
def test_a_run_killed_at_any_epoch_goes_on_bit_for_bit(tmp_path, monkeypatch, killed_after):
    """Of two stacks, with four epochs each."""
    task, state = heavy_task(counts_anew=killed_after % 2 == 0), Eager(tmp_path / "state", "run")
    with killed(monkeypatch, weightspace.training, killed_after):
        train(task, models_of(), state, 2)
    done, original = [], weightspace.training.train_epoch
    monkeypatch.setattr(weightspace.training, "train_epoch", lambda *args: done.append(args[-1]) or original(*args))
    resumed = train(task, models_of(), state, 2)
    assert done == ([1, 2, 3] * 2)[(killed_after - 1) // 4 * 3 + (killed_after - 1) % 4 :]
    assert_same(resumed, train(task, models_of(), None, 2))


def out_of_memory(num_times):
    left, original = [num_times], weightspace.training.train_epoch

    def train_epoch(*args):
        left[0] -= 1
        if left[0] >= 0:
            raise torch.OutOfMemoryError("planted")
        return original(*args)

    return train_epoch


@pytest.mark.slow
@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("taught", [False, True], ids=["labels", "teachers"])
def test_when_memory_ends_the_stack_is_halved_and_each_model_keeps_its_draws_and_its_teacher(monkeypatch, capsys, taught):
    spec = build_spec(["flatten", "linear classes"], "relu", (1, 6, 6), 3)
    task = heavy_task(teacher=DistillationTeachers(spec, torch.randn(4, spec.num_weights)) if taught else None)
    whole = train(task, models_of())
    monkeypatch.setattr(weightspace.training, "train_epoch", out_of_memory(1))
    assert_same(train(task, models_of()), whole, 1e-9)
    assert re.findall(r"out of GPU memory: on with stacks of (\d+)", capsys.readouterr().out) == ["2"]


def test_when_not_one_model_fits_it_is_said_in_one_sentence(monkeypatch):
    monkeypatch.setattr(weightspace.training, "train_epoch", out_of_memory(10**6))
    with pytest.raises(InputError, match="not even one model"):
        train(heavy_task(), models_of())


# what networks see


@pytest.mark.parametrize("augment", [False, True], ids=["as they are", "augmented"])
def test_each_model_sees_every_image_once_per_epoch_in_its_own_order_each_time(augment):
    task, images = planted_task(recipe_of(batch_size=7, augment=augment)), planted_images()
    orders = []
    for epoch in (1, 2):
        x, labels = (torch.cat(parts, 1) for parts in zip(*batches(task, models_of(2), epoch), strict=True))
        assert all(torch.equal(row.sort().values, images.train_y.sort().values) for row in labels)
        orders += list(x.flatten(2))
        if not augment:
            every = normalize(images.train_x, images).flatten(1).sort(0).values
            assert all(torch.equal(row.flatten(1).sort(0).values, every) for row in x)
    assert all(not torch.equal(one, other) for n, one in enumerate(orders) for other in orders[:n])


def test_labels_stay_with_their_images():
    for images, labels in batches(planted_task(recipe_of()), models_of(2), 1):
        corner = images[..., :3, :3].mean((2, 3, 4))
        assert torch.equal((corner * 0.15 * 255 + 0.2 * 255 - 50).div(60).round().long(), labels)


@pytest.mark.parametrize(
    "extra", [{"label_smoothing": 0.1}, {"schedule": "cosine"}, {"augment": True}, {"biases": "uniform"}], ids=str
)
def test_a_cell_says_of_its_newer_settings_only_what_it_changes(extra):
    """So that runs and tables from before there were such settings stay those of their cells."""
    (name,) = extra
    assert name not in recipe_of().model_dump()
    assert recipe_of(**extra).model_dump()[name] == extra[name]
    assert Recipe(**recipe_of(**extra).model_dump()) == recipe_of(**extra)


# every setting


def zoo_by(state, **changes):
    rates = {f"{name}s": [changes.pop(name, default)] for name, default in (("learning_rate", 0.01), ("weight_decay", 0.1))}
    config = ZooConfig(inits=["normal"], num_seeds=2, epochs=[3], **rates, **changes)
    task, models = make_task(config, planted_images()), members(config)
    writer = shard_writer(task, f"{state.path}.parts")
    train_models(task, "planted", models, state, writer)
    return writer.finish().read(range(len(models)), config.epochs)


CHANGED = {
    "optimizer": "adamw", "momentum": 0.5, "schedule": "cosine", "milestones": [2], "batch_size": 9, "augment": True,
    "label_smoothing": 0.3, "smoothness": 0.1, "learning_rate": 0.02, "weight_decay": 0.2, "activation": "gelu",
    "architecture": PLAIN, "biases": "uniform", "draws": "original",
}  # fmt: skip


def test_every_setting_is_changed_here():
    assert set(CHANGED) == set(Recipe.model_fields) - {"images", "label", "group"} | {"learning_rate", "weight_decay", "draws"}


def test_milestones_that_nothing_reads_are_refused_in_one_sentence():
    recipe_of(schedule="cosine")
    with pytest.raises(ValueError, match="milestones are of schedule steps, and the schedule is cosine"):
        recipe_of(schedule="cosine", milestones=[3])


@pytest.mark.parametrize("name", CHANGED)
def test_every_setting_acts(tmp_path, name):
    plain = {
        "images": "planted", "architecture": ["conv 3 3", "activation", "flatten", "linear classes"], "optimizer": "sgd",
        "schedule": "steps", "milestones": [1], "batch_size": 10, "learning_rate": 0.01,
    }  # fmt: skip
    every = [plain, plain | {name: CHANGED[name]} | ({"milestones": []} if name == "schedule" else {})]
    ours, theirs = (zoo_by(TrainingState(tmp_path / f"{n}", "run"), **changes) for n, changes in enumerate(every))
    assert ours.shape != theirs.shape or not torch.equal(ours, theirs)
