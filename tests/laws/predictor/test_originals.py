"""Originals: stacks against torch's own modules and SGD, killed runs, averages, recalibration, smoothness, digits."""

from contextlib import suppress
from math import log

import pytest
import torch
import torch.nn.functional as F
import weightspace.ensemble
import weightspace.predictor.originals
from torch import nn
from weightspace.ensemble import evaluate, recalibrated
from weightspace.errors import InputError
from weightspace.images.build import build_image_set
from weightspace.images.settings import ImagesConfig
from weightspace.images.tensors import ImageSet, normalize
from weightspace.nets.forward import forward, unflatten
from weightspace.nets.init import initial_weights
from weightspace.nets.spec import build_spec
from weightspace.nets.steps import Training
from weightspace.predictor.originals import (
    FRAME,
    DistillationTeachers,
    batches,
    draw_moves,
    moved,
    neighbor_similarity,
    read_originals,
    train_originals,
    write_originals,
)
from weightspace.predictor.settings import OriginalsConfig
from weightspace.store import TrainingState

LAYERS = ["conv 4 3", "batch_norm", "activation", "conv 6 3 1 2", "batch_norm", "activation", "flatten", "linear classes"]


def config_of(**changes):
    return OriginalsConfig(**{
        "images": "planted", "architecture": LAYERS, "num": 3, "learning_rate": 0.05, "weight_decay": 0.05, "batch_size": 8,
        "epochs": 4, "milestones": [1, 3], "averaged_epochs": 2,
    } | changes)  # fmt: skip


def planted_images():
    """Three classes that differ in the brightness of a corner."""
    generator = torch.Generator().manual_seed(1)
    y = torch.arange(30) % 3
    x = torch.randint(0, 100, (30, 1, 6, 6), generator=generator)
    x[:, :, :3, :3] += 60 * y.view(-1, 1, 1, 1)
    splits = [x.to(torch.uint8), y] * 3
    return ImageSet(*splits, mean=(0.2,), std=(0.15,), classes=["a", "b", "c"], source="planted", source_sha256="0")


def train(config, state=None, identity=("planted",)):
    return train_originals(config, planted_images(), identity, state)


def torch_net(spec, weights):
    """LAYERS as plain torch modules."""
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
        nn.Conv2d(4, 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(24, 3),
    )  # fmt: skip
    with torch.no_grad():
        for tensor, ours in zip(tensors_of(net), unflatten(spec, weights).values(), strict=True):
            tensor.copy_(ours)
    return net


def tensors_of(net):
    return [tensor for name, tensor in net.state_dict().items() if "num_batches" not in name]


# training


def torchs_sgd(config, model, loss):
    """Weights of one model before and after four epochs of torch's SGD on the same batches."""
    start = train(config.model_copy(update={"learning_rate": 1e-30}))  # weights that did not move
    net = torch_net(start.spec, start.weights[model])
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
    optimizer = torch.optim.SGD(net.parameters(), 0.05, momentum=0.9, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 3])
    for epoch in range(1, 5):
        for x, labels in batches(config, planted_images(), ("planted",), epoch):
            optimizer.zero_grad()
            loss(net(x[model]), x[model], labels[model]).backward()
            optimizer.step()
        schedule.step()
    return start.weights[model], torch.cat([tensor.flatten() for tensor in tensors_of(net)])


@pytest.mark.slow
@pytest.mark.parametrize("augment", [False, True], ids=["as they are", "augmented"])
def test_a_stack_trains_each_model_as_torchs_sgd_trains_it_alone(augment):
    config = config_of(augment=augment)
    originals = train(config)
    for model in range(config.num):
        before, alone = torchs_sgd(config, model, lambda logits, _, labels: F.cross_entropy(logits, labels))
        assert not torch.allclose(alone, before, atol=1e-2)
        torch.testing.assert_close(originals.weights[model], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("augment", [False, True], ids=["as they are", "augmented"])
def test_a_taught_stack_trains_as_torchs_sgd_on_each_teachers_answers_to_the_same_images(augment):
    config, spec = config_of(augment=augment), build_spec(["flatten", "linear classes"], "relu", (1, 6, 6), 3)
    teacher = DistillationTeachers(spec, torch.randn(config.num, spec.num_weights))
    taught = train_originals(config, planted_images(), ("planted",), teacher=teacher)
    for model in range(config.num):
        weight, bias = unflatten(spec, teacher.weights[model]).values()

        def loss(logits, x, _, weight=weight, bias=bias):
            answers = F.linear(x.flatten(1), weight, bias)
            return F.kl_div(logits.log_softmax(1), answers.softmax(1), reduction="batchmean")

        before, alone = torchs_sgd(config, model, loss)
        assert not torch.allclose(alone, before, atol=1e-2)
        torch.testing.assert_close(taught.weights[model], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_taught_network_learns_its_teachers_answers_and_no_labels():
    images, spec = planted_images(), build_spec(LAYERS, "relu", (1, 6, 6), 3)
    knowing = train(config_of(epochs=20, milestones=[15], num=2, weight_decay=1e-3)).weights
    for model, shift in enumerate((1, 2)):  # calls each class by another's name
        for name in ("linear5.weight", "linear5.bias"):
            parameter = unflatten(spec, knowing[model])[name]
            parameter.copy_(parameter.roll(shift, 0))
    config = config_of(epochs=20, milestones=[15], num=2, weight_decay=1e-3)
    taught = train_originals(config, images, ("taught",), teacher=DistillationTeachers(spec, knowing))
    answers = forward(spec, taught.weights, normalize(images.train_x, images).unsqueeze(0)).argmax(2)
    for model, shift in enumerate((1, 2)):
        assert (answers[model] == (images.train_y + shift) % 3).float().mean() > 0.9


def test_a_model_is_the_same_whoever_is_trained_with_it():
    many, few = train(config_of(num=4)), train(config_of(num=2))
    torch.testing.assert_close(many.weights[:2], few.weights, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(many.weights[0], many.weights[1], atol=1e-2)
    assert not torch.allclose(train(config_of(), identity=("other",)).weights, train(config_of()).weights, atol=1e-2)


def test_the_average_is_the_mean_over_the_last_epochs():
    weights = [train(config_of(epochs=epochs, averaged_epochs=1)).weights for epochs in (2, 3, 4)]
    torch.testing.assert_close(train(config_of(averaged_epochs=3)).averaged, sum(weights) / 3)
    assert torch.equal(train(config_of(averaged_epochs=1)).averaged, weights[-1])


def test_an_epoch_shows_each_model_every_image_once():
    config, images = config_of(), planted_images()
    for model in range(config.num):
        shown = torch.cat([x[model] for x, _ in batches(config, images, (), 1)])
        assert torch.equal(shown.flatten(1).sort(0).values, normalize(images.train_x, images).flatten(1).sort(0).values)


def test_a_network_that_diverges_is_said_to_and_so_is_an_average_of_too_many_epochs():
    with pytest.raises(InputError, match="originals 0, 1, 2 diverged"):
        train(config_of(learning_rate=1e30))
    with pytest.raises(ValueError, match="averaged_epochs is 5, and there are only 4 epochs"):
        config_of(averaged_epochs=5)


def test_written_originals_come_back(tmp_path):
    originals = train(config_of(epochs=2))
    write_originals(tmp_path / "file", originals)
    back = read_originals(tmp_path / "file")
    assert back.spec == originals.spec
    assert torch.equal(back.weights, originals.weights)
    assert torch.equal(back.averaged, originals.averaged)


@pytest.mark.slow
def test_digits_are_learned_by_a_residual_network():
    images = build_image_set(ImagesConfig(source="bundled_digits"), "")
    config = config_of(architecture="resnet8", num=2, learning_rate=0.1, weight_decay=1e-4, batch_size=64, epochs=3)
    originals = train_originals(config, images, ("digits",))
    loss, accuracy = evaluate(originals.spec, originals.weights, normalize(images.test_x, images), images.test_y)
    assert loss.max() < log(10) / 10
    assert accuracy.min() > 0.9


# killed runs


class KilledError(Exception):
    """Stands for kill -9: nothing after it runs."""


class Eager(TrainingState):
    """Saves whenever asked."""

    def save_if_due(self, tensors, **metadata):
        self.next_save = 0.0
        super().save_if_due(tensors, **metadata)


@pytest.mark.parametrize("killed_after", [1, 2, 3])
def test_killed_training_goes_on_bit_for_bit_and_does_not_do_again_what_is_saved(tmp_path, monkeypatch, killed_after):
    class Deadly:
        def __init__(self, *_):
            pass

        def update(self, done):
            if done == killed_after:
                raise KilledError

    config = config_of(augment=True, architecture=[*LAYERS[:-1], "dropout 0.3", LAYERS[-1]])
    whole, done = train(config), []
    with monkeypatch.context() as patch, suppress(KilledError):
        patch.setattr(weightspace.predictor.originals, "Progress", Deadly)
        train(config, Eager(tmp_path / "state", "run"))
    monkeypatch.setattr(weightspace.predictor.originals, "batches", lambda *args: done.append(args[-1]) or batches(*args))
    resumed = train(config, Eager(tmp_path / "state", "run"))
    assert done == list(range(killed_after + 1, 5))
    assert torch.equal(resumed.weights, whole.weights)
    assert torch.equal(resumed.averaged, whole.averaged)


# flips and crops


def test_moved_images_are_flips_and_crops_from_a_frame_of_zeros():
    x = torch.randint(1, 256, (2, 40, 3, 5, 7), dtype=torch.uint8)
    moves = torch.stack([draw_moves(40, torch.Generator().manual_seed(seed)) for seed in (0, 1)])
    for images, ours, own in zip(x, moved(x, moves), moves.tolist(), strict=True):
        for image, result, (flipped, top, left) in zip(images, ours, own, strict=True):
            frame = F.pad(image, (FRAME,) * 4)
            frame = frame.flip(2) if flipped else frame
            assert torch.equal(result, frame[:, top : top + 5, left : left + 7])


def test_moves_are_uniform():
    moves = draw_moves(9000, torch.Generator().manual_seed(0))
    for column, ends in zip(moves.unbind(1), (2, 9, 9), strict=True):
        counts = column.bincount(minlength=ends)
        assert len(counts) == ends
        assert ((counts - 9000 / ends).abs() < 5 * (9000 / ends) ** 0.5).all()


def test_the_middle_of_the_frame_is_the_image():
    x = torch.randint(0, 256, (1, 3, 1, 6, 6), dtype=torch.uint8)
    assert torch.equal(moved(x, torch.tensor([[[0, FRAME, FRAME]] * 3])), x)
    assert torch.equal(moved(x, torch.tensor([[[1, FRAME, FRAME]] * 3])), x.flip(4))


# recalibration


@pytest.mark.usefixtures("float64")
def test_recalibrated_networks_answer_in_use_as_in_training_on_the_same_images():
    spec = build_spec("resnet8", "relu", (1, 8, 8), 10)
    weights = torch.stack([initial_weights(spec, "kaiming_normal", torch.Generator().manual_seed(n), None) for n in (1, 2)])
    images = 3 * torch.randn(200, 1, 8, 8) + 1
    changed = recalibrated(spec, weights.double(), images)
    in_training = forward(spec, weights.double(), images.unsqueeze(0), training=Training({}))
    # variances in use are unbiased, over at least 200 * 4 values: at most 1/800 more
    torch.testing.assert_close(forward(spec, changed, images.unsqueeze(0)), in_training, rtol=0.01, atol=0.01)
    for name, before in unflatten(spec, weights.double()).items():
        assert torch.equal(unflatten(spec, changed)[name], before) != ("running" in name)


@pytest.mark.usefixtures("float64")
def test_recalibration_over_many_batches_is_torchs_cumulative_average(monkeypatch):
    monkeypatch.setattr(weightspace.ensemble, "RECALIBRATION_BATCH", 10)
    spec = build_spec(LAYERS, "relu", (1, 6, 6), 3)
    weights, images = torch.randn(2, spec.num_weights), torch.randn(40, 1, 6, 6)
    changed = recalibrated(spec, weights, images)
    for model in range(2):
        net = torch_net(spec, weights[model])
        torch.optim.swa_utils.update_bn(images.split(10), net)
        torch.testing.assert_close(changed[model], torch.cat([tensor.flatten() for tensor in tensors_of(net)]))


@pytest.mark.usefixtures("float64")
def test_recalibration_changes_nothing_where_statistics_are_right():
    spec = build_spec(LAYERS, "relu", (1, 6, 6), 3)
    images = torch.randn(50, 1, 6, 6)
    once = recalibrated(spec, torch.randn(2, spec.num_weights), images)
    assert torch.equal(recalibrated(spec, once, images), once)


# smoothness


def slow_similarity(kernels):
    """One layer's sum, pair by pair."""
    filters, channels, *size = kernels.shape
    total, norm = 0, kernels.norm()
    for f in range(filters):
        for c in range(channels):
            for other in [(f + 1, c)] * (f + 1 < filters) + [(f, c + 1)] * (c + 1 < channels):
                a, b = kernels[f, c].flatten(), kernels[other].flatten()
                total = total + (-(a - b).abs().sum() / norm if size == [1, 1] else a @ b / (a.norm() * b.norm()))
    return total


@pytest.mark.usefixtures("float64")
def test_the_similarity_of_neighbors_and_its_gradient_are_those_of_a_loop_over_pairs():
    spec = build_spec(
        ["conv 4 3", "activation", "conv 5 1", "activation", "conv 3 2", "flatten", "linear classes"], "relu", (2, 6, 6), 3
    )
    weights = torch.randn(2, spec.num_weights, requires_grad=True)
    similarity = neighbor_similarity(spec, weights)
    slow = torch.stack([
        sum(slow_similarity(tensor) for tensor in unflatten(spec, row).values() if tensor.dim() == 4) for row in weights
    ])  # fmt: skip
    torch.testing.assert_close(similarity, slow)
    (ours,), (theirs,) = (torch.autograd.grad(value.sum(), weights) for value in (similarity, slow))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.usefixtures("float64")
def test_the_similarity_knows_no_scale_and_is_largest_for_equal_kernels():
    spec = build_spec(["conv 4 3", "activation", "conv 5 1", "flatten", "linear classes"], "relu", (2, 6, 6), 3)
    weights = torch.randn(2, spec.num_weights)
    torch.testing.assert_close(neighbor_similarity(spec, 3 * weights), neighbor_similarity(spec, weights))
    pairs = 3 * 2 + 4 * 1  # of the first layer; the second has differences, 0 where equal
    torch.testing.assert_close(neighbor_similarity(spec, torch.ones_like(weights)), torch.full((2,), float(pairs)))
    assert (neighbor_similarity(spec, weights) < pairs).all()


def test_training_for_smoothness_makes_neighbors_more_alike():
    spec = build_spec(LAYERS, "relu", (1, 6, 6), 3)
    rough, smooth = (neighbor_similarity(spec, train(config_of(smoothness=weight)).weights) for weight in (0.0, 0.1))
    assert (smooth > rough + 1).all()
