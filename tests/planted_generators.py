"""A small zoo of tiny networks on the bundled digits, and planted generators, of which it is known what they make."""

from functools import lru_cache

import pandas as pd
import torch
from weightspace.coded import CodedZoo
from weightspace.ensemble import evaluate
from weightspace.generation.problem import NetworkSet
from weightspace.generation.rival_settings import RivalSettings
from weightspace.generation.rivals import RIVALS
from weightspace.images.build import build_image_set
from weightspace.images.settings import ImagesConfig
from weightspace.images.tensors import normalize
from weightspace.recipe import Recipe
from weightspace.training import Trainee, task_of, train

DIGITS = ImagesConfig(source="bundled_digits", size=8, channels=1, num_classes=10, test_share=0.4, val_share=0.1)
RECIPE = Recipe(images="digits", architecture=["flatten", "linear 10", "activation", "linear classes"], batch_size=64)
EPOCHS, NUM = 12, 80


@lru_cache
def planted_zoo(num=NUM):
    """A zoo of `num` train and as many held-out networks with a code that is the weights, and as many that are trained anew."""
    images = build_image_set(DIGITS, "")
    task = task_of(RECIPE, images, [EPOCHS])
    models = [Trainee("kaiming_uniform", ("start", n), ("order", n), ("dropout", n), 0.01, 0.0) for n in range(3 * num)]
    ours, theirs, fresh = train(task, models).weights[:, 0].split(num)
    problem = CodedZoo(
        spec=task.spec,
        train=ours,
        train_properties=properties_of(task.spec, images, ours),
        held_out=theirs,
        held_out_properties=properties_of(task.spec, images, theirs),
        images=images,
        anchors=torch.arange(num),
        encode=lambda weights: weights.unsqueeze(1),
        decode=lambda code: code.squeeze(1),
        with_statistics=lambda weights: weights,
    )
    return problem, fresh


def properties_of(spec, images, weights):
    """The columns of a zoo's table that rivals read."""
    accuracies = {
        f"{split}_accuracy": evaluate(spec, weights, normalize(x, images), y)[1].tolist()
        for split, x, y in (("val", images.val_x, images.val_y), ("test", images.test_x, images.test_y))
    }
    return pd.DataFrame({"model": range(len(weights)), "init": "kaiming_uniform", **accuracies})


def rival(problem, kind, num=None, seed=0, **settings):
    """Networks of a rival."""
    config = RivalSettings(generation="planted", kind=kind, num=num or len(problem.anchors), **settings)
    return RIVALS[kind](problem, config, torch.Generator().manual_seed(seed))


def network_set(problem, kind, weights, tuned=None, parents=None):
    """Networks as a set of a cell that no fine-tuning changed."""
    images, sides = problem.images, []
    for x, y in ((images.val_x, images.val_y), (images.test_x, images.test_y)):
        accuracy = [
            evaluate(problem.spec, each, normalize(x, images), y)[1] for each in (weights, weights if tuned is None else tuned)
        ]
        sides.append(torch.stack(accuracy, dim=1))
    return NetworkSet(kind, weights, weights if tuned is None else tuned, *sides, parents)
