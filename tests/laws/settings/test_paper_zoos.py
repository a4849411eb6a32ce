"""Zoos of the papers have the models, weights and epochs that the papers state."""

import pytest
from conftest import ROOT
from weightspace.checks import check_scenario
from weightspace.nets.spec import build_spec
from weightspace.options import Options, read_scenario
from weightspace.stored import stored_epochs

LEARNED_FROM, RESNET_EPOCHS = [20, 30, 40, 50], [21, 22, 23, 24, 25]
PUBLISHED = {  # models, learned weights of each, last epoch, epochs whose weights are needed
    "paper-structure-behavior": {  # Meynent et al. 2025, model zoos
        "svhn": (1_200, 10_853, 50, LEARNED_FROM), "cifar10": (1_200, 10_853, 50, LEARNED_FROM),
        "eurosat": (1_200, 10_853, 50, LEARNED_FROM), "cifar10_lenet5": (1_200, 62_006, 50, LEARNED_FROM),
        **{f"{name}_lenet5_multi": (480, 62_006, 50, LEARNED_FROM) for name in ("svhn", "cifar10", "eurosat")},
    },
    "paper-sane": {  # Schürholt et al. 2024, section 3 and its code; sizes of Schürholt et al. 2022
        "mnist": (1_000, 2_464, 50, RESNET_EPOCHS), "svhn": (1_000, 2_464, 50, RESNET_EPOCHS),
        "cifar10": (1_000, 10_853, 50, RESNET_EPOCHS), "stl10": (1_000, 10_853, 50, RESNET_EPOCHS),
        "resnet18_cifar10": (200, 11_173_962, 50, RESNET_EPOCHS), "resnet18_cifar100": (200, 11_220_132, 60, RESNET_EPOCHS),
        "resnet18_tiny_imagenet": (200, 11_271_432, 60, RESNET_EPOCHS),
    },
}  # fmt: skip
IMAGES = {  # that are left for training, and those held out of the train images for validation
    ("paper-structure-behavior", "cifar10"): (45_000, 5_000), ("paper-structure-behavior", "svhn"): (65_931, 7_326),
    ("paper-sane", "mnist"): (50_000, 10_000), ("paper-sane", "svhn"): (60_000, 13_257), ("paper-sane", "stl10"): (4_200, 800),
    ("paper-sane", "cifar10"): (42_000, 8_000), ("paper-sane", "cifar10_resnet"): (40_000, 10_000),
    ("paper-sane", "cifar100"): (40_000, 10_000),
}  # fmt: skip


def scenario_of(name):
    return read_scenario([ROOT / "config" / "scenarios"], Options(scenario=name))


@pytest.mark.parametrize("name", PUBLISHED)
def test_zoos_of_a_paper_are_of_the_published_sizes(name):
    scenario = scenario_of(name)
    check_scenario(scenario, name)
    assert scenario.zoos.keys() == PUBLISHED[name].keys()
    for zoo, (num_models, num_weights, last, needed) in PUBLISHED[name].items():
        cell, images = scenario.zoos[zoo], scenario.images[scenario.zoos[zoo].images]
        spec = build_spec(cell.architecture, cell.activation, images.image_shape, images.num_classes)
        assert (cell.num_models, spec.num_learned, cell.epochs[-1]) == (num_models, num_weights, last), zoo
        assert set(needed) <= set(stored_epochs(scenario, zoo)), zoo


@pytest.mark.parametrize(("name", "images"), IMAGES)
def test_so_many_images_are_held_out_as_published(name, images):
    train, val = IMAGES[name, images]
    share = scenario_of(name).images[images].val_share
    assert abs(share * (train + val) - val) <= 1
