"""Networks trained further: samples and rivals as one stack, with the same images in the same order."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from weightspace.ensemble import evaluate
from weightspace.generation.settings import FineTuneConfig
from weightspace.images.tensors import ImageSet, normalize
from weightspace.nets.spec import NetSpec
from weightspace.recipe import Recipe
from weightspace.store import TrainingState
from weightspace.training import Task, Trainee, train


class FineTuned(NamedTuple):
    """Networks at the epochs that are measured, the first of which is 0."""

    weights: Float[Tensor, "network epoch weight"]  # on the CPU
    val_accuracy: Float[Tensor, "network epoch"]
    test_accuracy: Float[Tensor, "network epoch"]


def fine_tune(
    spec: NetSpec,
    weights: Float[Tensor, "network weight"],
    images: ImageSet,
    config: FineTuneConfig,
    seed: int,
    state: TrainingState | None = None,
) -> FineTuned:
    """Train all networks from where they are; a killed run goes on from `state`.

    No network's numbers depend on the others, but to rounding.
    """
    same = config.model_dump(exclude={"epochs", "learning_rate", "weight_decay"})
    recipe = Recipe(images="images", architecture=list(spec.architecture), activation=spec.activation, **same)
    task = Task(spec, recipe, images, config.epochs, config.epochs, measure=accuracies, num_measures=2, start=weights)
    draws = [("fine_tune", what, seed) for what in ("start", "order", "dropout")]
    trainee = Trainee("", *draws, config.learning_rate, config.weight_decay)
    trained = train(task, [trainee] * len(weights), state)
    return FineTuned(trained.weights, *trained.measures.unbind(-1))


def accuracies(spec: NetSpec, images: ImageSet, weights: Float[Tensor, "network weight"]) -> Float[Tensor, "network 2"]:
    """Accuracy on val and on test images."""
    splits = ((images.val_x, images.val_y), (images.test_x, images.test_y))
    return torch.stack([evaluate(spec, weights, normalize(x, images), y)[1] for x, y in splits], dim=1)
