"""Samples that are kept: anchors, subsampling and bootstrapping, all by val images; no test image is ever asked."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from weightspace.coded import CodedZoo
from weightspace.ensemble import evaluate
from weightspace.generation.samplers import draw_codes
from weightspace.generation.settings import GenerationSettings
from weightspace.images.tensors import ImageSet, normalize
from weightspace.nets.spec import NetSpec


class Samples(NamedTuple):
    """Generated networks, best first by val images where they were chosen."""

    codes: Float[Tensor, "network token feature"]
    weights: Float[Tensor, "network weight"]
    val_accuracy: Float[Tensor, " network"]
    parents: Int[Tensor, " network"] | None  # place in `train` of the anchor that each is made from, if it is one

    def best(self, num: int) -> "Samples":
        """So many, the highest val accuracy first; of equal ones those that were drawn first."""
        order = self.val_accuracy.argsort(descending=True, stable=True)[:num]
        return Samples(*(None if values is None else values[order] for values in self))


def val_accuracy(spec: NetSpec, weights: Float[Tensor, "network weight"], images: ImageSet) -> Float[Tensor, " network"]:
    """Accuracy on val images, a fraction; 0 of networks with a weight that is not finite, so that others are chosen first."""
    accuracy = evaluate(spec, weights, normalize(images.val_x, images), images.val_y)[1]
    return accuracy * weights.isfinite().all(1)


def with_anchors(zoo: CodedZoo, best_share: float) -> CodedZoo:
    """The zoo with a share of its train networks as anchors, those of the highest val accuracy, at least two, in their order."""
    num = max(2, round(best_share * len(zoo.train)))
    best = val_accuracy(zoo.spec, zoo.train, zoo.images).argsort(descending=True, stable=True)[:num]
    return zoo._replace(anchors=best.sort().values)


@torch.no_grad()
def sample_networks(zoo: CodedZoo, generator: Generator, config: GenerationSettings) -> Samples:
    """Networks as the settings say: drawn, in further rounds drawn from the best, and the best of them kept.

    Each round's anchors are the codes of the best samples, of the round before or of all rounds.
    """
    found = _drawn(zoo, zoo.encode(zoo.anchor_weights), zoo.anchors, generator, config)
    if config.bootstrap is None:
        return found.best(config.num) if config.chooses else found
    again = config.model_copy(update={"sampler": config.bootstrap.sampler or config.sampler})
    for _ in range(config.bootstrap.rounds):
        kept = found.best(config.bootstrap.keep)
        drawn = _drawn(zoo, kept.codes, kept.parents, generator, again)
        found = _joined(found, drawn) if config.bootstrap.kind == "elitist" else drawn
    return found.best(config.num)


def _drawn(
    zoo: CodedZoo, codes: Tensor, origins: Int[Tensor, " anchor"] | None, generator: Generator, config: GenerationSettings
) -> Samples:
    """One round; `origins` are the places in `train` that the codes it draws from come from, if they come from one each."""
    drawn = draw_codes(codes, generator, config.num_drawn, config)
    weights = zoo.with_statistics(zoo.decode(drawn.codes))
    known = origins is not None and drawn.parents is not None
    return Samples(drawn.codes, weights, val_accuracy(zoo.spec, weights, zoo.images), origins[drawn.parents] if known else None)


def _joined(one: Samples, other: Samples) -> Samples:
    both = zip(one, other, strict=True)
    return Samples(*(None if a is None or b is None else torch.cat([a, b]) for a, b in both))
