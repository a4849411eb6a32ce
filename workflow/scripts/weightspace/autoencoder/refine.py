"""Codes made better for the very networks that they stand for, by gradient: the encoder's guess is where this starts."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from weightspace.autoencoder.data import query_pool
from weightspace.autoencoder.settings_within import RefineConfig
from weightspace.behavior import DISTANCES
from weightspace.ensemble import each_by_its_own, outputs
from weightspace.errors import InputError
from weightspace.images.tensors import ImageSet
from weightspace.nets.forward import forward
from weightspace.nets.spec import NetSpec
from weightspace.rng import generator_for
from weightspace.tokens import Scale


class Refining(NamedTuple):
    """What codes are refined by."""

    config: RefineConfig
    spec: NetSpec
    scale: Scale  # in which errors of weights count
    queries: Float[Tensor, "query channel height width"]  # train images
    specs: list[NetSpec] | None = None  # of each network; None: all are of `spec`

    def of(self, networks: slice) -> "Refining":
        """The same for some of the networks."""
        return self._replace(specs=self.specs and self.specs[networks])


def refining_of(config: RefineConfig | None, spec: NetSpec, scale: Scale, images: ImageSet | None) -> Refining | None:
    """What codes are refined by, if they are; raises InputError where behavior has a weight and there are no images."""
    if config is None:
        return None
    if images is None and config.behavior_weight:
        raise InputError("refine: behavior_weight asks for images, and the zoo has none")
    queries = query_pool(config.query_pool, images) if images else torch.zeros(0, *spec.image_shape)
    return Refining(config, spec, scale, queries)


@torch.enable_grad()
def refined(
    refining: Refining,
    decode: Callable[[Float[Tensor, "*model_and_code"]], Float[Tensor, "model weight"]],
    codes: Float[Tensor, "*model_and_code"],
    weights: Float[Tensor, "model weight"],
) -> Float[Tensor, "*model_and_code"]:
    """Codes after some steps of Adam, whose rate falls to 0, on each network's own loss.

    The loss is the mean squared error of standardized weights and the distance of answers to train images, each times its
    factor. Of a network it sees the weights, as the encoder does, and those answers: no label, no test image.
    """
    config, generator = refining.config, generator_for("refine")
    codes = codes.detach().clone().requires_grad_()

    def answers(run: Callable[[NetSpec, Tensor, Tensor], Tensor], networks: Tensor, queries: Tensor) -> Tensor:
        return each_by_its_own(refining.spec, refining.specs, lambda spec, places: run(spec, networks[places], queries))

    targets = answers(outputs, weights, refining.queries) if config.behavior_weight else None
    optimizer = torch.optim.Adam([codes], lr=config.learning_rate)
    for step in range(config.steps):
        rebuilt = decode(codes)
        errors = refining.scale.apply(rebuilt) - refining.scale.apply(weights)
        loss = config.structure_weight * errors.square().mean(1).sum()
        if config.behavior_weight:
            query = torch.randperm(len(refining.queries), generator=generator)[: config.num_queries].to(weights.device)
            logits = answers(forward, rebuilt, refining.queries[query].unsqueeze(0))
            distance = DISTANCES[config.behavior_distance](logits, targets[:, query])
            loss = loss + config.behavior_weight * len(codes) * distance  # a mean over networks: of each its own
        optimizer.param_groups[0]["lr"] = config.learning_rate * (1 - step / config.steps)
        (codes.grad,) = torch.autograd.grad(loss, codes)
        optimizer.step()
    return codes.detach()
