"""Planted originals for predictors: small classifiers of images that differ in the brightness of a corner."""

from functools import cache

import torch
from weightspace.images.tensors import ImageSet
from weightspace.nets.forward import unflatten
from weightspace.nets.spec import build_spec
from weightspace.predictor.kernels import layout_of, to_kernels
from weightspace.predictor.originals import Originals
from weightspace.predictor.reconstruct import target_of
from weightspace.predictor.settings import PredictorConfig
from weightspace.rng import generator_for
from weightspace.training import Trainee, train
from weightspace.zoo.members import recipe_of
from weightspace.zoo.settings import ZooConfig
from weightspace.zoo.train import make_task

RESIDUAL = [
    "conv 4 3 1", "batch_norm", "activation",
    "branch", "conv 5 3 1 2", "batch_norm", "activation", "conv 5 3 1", "batch_norm", "add", "activation",
    "mean", "linear classes",
]  # fmt: skip
PLAIN = ["conv 6 3", "activation", "conv 8 3 0 2", "activation", "flatten", "linear 10", "activation", "linear classes"]
CLASSES = 3


def planted_images(num_train=48, num_test=60):
    """8 x 8 gray images."""
    splits = []
    for name, num in (("train", num_train), ("val", 3), ("test", num_test)):
        labels = torch.arange(num) % CLASSES
        x = torch.randint(0, 100, (num, 1, 8, 8), generator=generator_for("planted", name))
        x[:, :, :4, :4] += 45 * labels.view(-1, 1, 1, 1)
        splits += [x.to(torch.uint8), labels]
    return ImageSet(*splits, mean=(0.25,), std=(0.15,), classes=["a", "b", "c"], source="planted", source_sha256="0")


def zoo_config(architecture, **changes):
    return ZooConfig(**{
        "images": "planted", "architecture": architecture, "inits": ["kaiming_normal"], "biases": "uniform", "optimizer": "sgd",
        "learning_rates": [0.05], "weight_decays": [0.0001], "num_seeds": 2, "batch_size": 8, "epochs": [6], "averaged_epochs": 2,
    } | changes)  # fmt: skip


def small_recipe(architecture, epochs=6):
    """How two small networks are trained, as the rule of controls is told."""
    return recipe_of(zoo_config(RESIDUAL, epochs=[epochs]), None) | {"architecture": architecture}


@cache
def planted_networks(kind="residual", num=2):
    """Spec and weights [model, 2, weight] of networks that answer nearly always right: the last, and the mean of two epochs."""
    plain = {"architecture": PLAIN, "epochs": [20], "learning_rates": [0.01]}  # without norms, larger steps may end anywhere
    config = zoo_config(**{"residual": {"architecture": RESIDUAL}, "plain": plain}[kind], num_seeds=num)
    owns, rates = [("original", "planted", kind, n) for n in range(num)], (config.learning_rates[0], config.weight_decays[0])
    task = make_task(config, planted_images())
    return task.spec, train(task, [Trainee("kaiming_normal", own, (*own, "epoch"), own, *rates) for own in owns]).weights


def planted_originals(kind="residual", num=2):
    """The last of these networks."""
    spec, weights = planted_networks(kind, num)
    return Originals(spec, weights[:, 0], list(range(num)))


def random_net(architecture, num, dtype=torch.float64):
    """An untrained stack whose batch norms do something."""
    spec = build_spec(architecture, "relu", (1, 8, 8), CLASSES)
    weights = torch.randn(num, spec.num_weights, dtype=dtype, generator=generator_for("random", num)) / 3
    for name, tensor in unflatten(spec, weights).items():
        if name.endswith("running_var"):
            tensor.copy_(tensor.abs() + 0.5)
    return spec, weights


def predictor_config(**changes):
    settings = {"zoo": "any", "seeds": [0], "hidden": 8, "steps": 10, "kernel_batch": 16, "embedding_levels": 6}
    return PredictorConfig(**settings | changes)


def target_for(config, spec, weights):
    """Layout and target of a stack whose kernels keep their own coordinates."""
    layout = layout_of(spec.shapes, config.kernel_sizes, config.linear)
    kernels = to_kernels(layout, unflatten(spec, weights))
    return layout, target_of(layout, kernels, torch.arange(layout.num_kernels).expand(len(weights), -1), config)
