"""Originals: they learn labels or their teachers' answers, each by its own draws."""

from math import log

import pytest
import torch
from planted_predictors import DyingState, KilledError
from weightspace.ensemble import evaluate
from weightspace.errors import InputError
from weightspace.images.build import build_image_set
from weightspace.images.settings import ImagesConfig
from weightspace.images.tensors import ImageSet, normalize
from weightspace.losses import neighbor_similarity
from weightspace.nets.forward import forward, unflatten
from weightspace.nets.spec import build_spec
from weightspace.predictor.originals import read_originals, train_originals, write_originals
from weightspace.predictor.settings import OriginalsConfig
from weightspace.training import DistillationTeachers

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


def test_training_that_died_goes_on_to_the_same_originals(tmp_path):
    config = config_of(architecture=[*LAYERS[:-1], "dropout 0.3", LAYERS[-1]])
    with pytest.raises(KilledError):
        train(config, DyingState(tmp_path / "state", 3))
    resumed, whole = train(config, DyingState(tmp_path / "state", 3)), train(config)  # epochs 3 and 4 alone
    assert torch.equal(resumed.weights, whole.weights)
    assert torch.equal(resumed.averaged, whole.averaged)


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


def test_training_for_smoothness_makes_neighbors_more_alike():
    spec = build_spec(LAYERS, "relu", (1, 6, 6), 3)
    rough, smooth = (neighbor_similarity(spec, train(config_of(smoothness=weight)).weights) for weight in (0.0, 0.1))
    assert (smooth > rough + 1).all()
