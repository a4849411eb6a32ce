"""Autoencoders of SANE have the sizes, windows and steps that the paper and its code state."""

import pytest
import torch
from test_paper_zoos import RESNET_EPOCHS, scenario_of
from weightspace.autoencoder.model import Autoencoder
from weightspace.nets.spec import build_spec
from weightspace.tokens import token_layout

CNNS, RESNETS = ["mnist", "svhn", "cifar10", "stl10"], ["cifar10_resnet", "cifar100_resnet", "tiny_imagenet_resnet"]
SIZES = {  # parameters with those of the head, tokens, training sequence: sane.md, 3.1 and 1.2
    "as_code_cifar10": (202_504_068 + 35_353, 93, 64),
    "cifar100_resnet": (865_000_000, 53_704, 256),
    "cifar10": (101_700_000, 93, 32),
    "mnist": (101_700_000, 48, 32),
}


def built(name):
    """An autoencoder of the scenario without memory for its parameters, and the tokens of its networks."""
    scenario = scenario_of("paper-sane")
    config = scenario.autoencoders[name]
    zoo = scenario.zoos[config.zoo]
    images = scenario.images[zoo.images]
    spec = build_spec(zoo.architecture, zoo.activation, images.image_shape, images.num_classes)
    layout = token_layout(spec, config.token_size, config.batch_norm_tokens)
    with torch.device("meta"):
        return Autoencoder(config, [layout], torch.Generator()), len(layout.index), config.window


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
def test_autoencoders_of_sane_have_the_published_sizes(name):
    parameters, num_tokens, window = SIZES[name]
    model, tokens, seen = built(name)
    tolerance = 0 if name == "as_code_cifar10" else 0.002
    assert sum(parameter.numel() for parameter in model.parameters()) == pytest.approx(parameters, rel=tolerance)
    assert (tokens, seen) == (num_tokens, window)


def test_there_is_one_pretraining_for_each_zoo_and_one_as_the_code_has_it():
    scenario = scenario_of("paper-sane")
    assert list(scenario.autoencoders) == [*CNNS, *RESNETS, "as_code_cifar10"]
    assert [cell.zoo for cell in scenario.autoencoders.values()] == [*scenario.zoos, "cifar10"]
    assert len([stage for stage, *_ in scenario.measured() if stage == "autoencoder"]) == 8


@pytest.mark.parametrize(("names", "models", "windows"), [(CNNS, 700, 3), (RESNETS, 140, 50)])
def test_so_many_steps_see_as_many_windows_as_50_published_epochs(names, models, windows):
    scenario = scenario_of("paper-sane")
    for name in names:
        cell = scenario.autoencoders[name]
        assert cell.epochs == RESNET_EPOCHS
        assert cell.steps == pytest.approx(50 * (models * len(cell.epochs) * windows // cell.batch_size), rel=0.001)
        assert (cell.noise, cell.schedule, cell.align, cell.learning_rate) == (0.1, "one_cycle_momentum", True, 1e-4)
