"""Rivals: networks that need no autoencoder, or no sampler, made of the same anchors at equal budget; one entry each."""

from collections.abc import Callable
from math import ceil, sqrt
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from weightspace.behavior import distance
from weightspace.ensemble import evaluate
from weightspace.errors import InputError
from weightspace.generation.flow import flow_samples
from weightspace.generation.problem import Problem
from weightspace.generation.rival_settings import RivalKind, RivalSettings
from weightspace.images.tensors import normalize
from weightspace.nets.align import align
from weightspace.nets.between import aligned_to_first, interpolate, soup
from weightspace.nets.forward import learned, unflatten
from weightspace.nets.init import initial_weights
from weightspace.nets.spec import NetSpec

Weights = Float[Tensor, "network weight"]
New = Float[Tensor, "new weight"]
SHARES = torch.arange(1, 10) / 10  # of the way between two networks, that are tried


# operations on networks alone


def deviations(spec: NetSpec, weights: Weights) -> Weights:
    """Deviation of each weight's parameter tensor over its own numbers; 0 for running statistics, and for a tensor of one."""
    parameters = unflatten(spec, weights).values()
    own = [tensor.flatten(1).std(1, correction=0, keepdim=True).expand(-1, tensor[0].numel()) for tensor in parameters]
    return torch.cat(own, dim=1) * learned(spec).to(weights.device)


def noised(weights: Weights, unit: Weights, size: float, generator: Generator) -> Weights:
    """Networks plus normal noise whose deviation is `size` times each weight's unit."""
    return weights + size * unit * torch.randn(weights.shape, generator=generator).to(weights)


def noised_by(weights: Weights, unit: Weights, norms: Float[Tensor, " network"], generator: Generator) -> Weights:
    """Networks plus noise of these norms, in a direction drawn in proportion to each weight's unit."""
    noise = unit * torch.randn(weights.shape, generator=generator).to(weights)
    lengths = noise.norm(dim=1)
    return weights + noise * (norms / torch.where(lengths > 0, lengths, 1.0)).unsqueeze(1)


def gaussian(weights: Weights, num: int, generator: Generator) -> New:
    """Each weight drawn by itself, with its mean and deviation over the networks."""
    deviation = weights.std(0, correction=min(1, len(weights) - 1))
    return weights.mean(0) + deviation * torch.randn(num, weights.shape[1], generator=generator).to(weights)


class Principal(NamedTuple):
    """Networks as standardized coordinates in their principal directions."""

    mean: Float[Tensor, " weight"]
    directions: Float[Tensor, "direction weight"]  # each as long as the networks' deviation along it
    coordinates: Float[Tensor, "network direction"]  # of mean 0 and variance 1

    def weights(self, coordinates: Float[Tensor, "new direction"]) -> Float[Tensor, "new weight"]:
        """Networks at coordinates."""
        return self.mean + coordinates @ self.directions


def principal(weights: Weights, most: int | None = None) -> Principal:
    """Principal directions with any variance, or the first `most` of them."""
    mean, scale = weights.mean(0), sqrt(max(1, len(weights) - 1))
    left, lengths, right = torch.linalg.svd(weights - mean, full_matrices=False)
    rank = int((lengths > lengths.max() * len(weights) * torch.finfo(lengths.dtype).eps).sum())
    kept = slice(min(rank, most or rank))
    return Principal(mean, right[kept] * lengths[kept].unsqueeze(1) / scale, left[:, kept] * scale)


def pca_gaussian(weights: Weights, num: int, generator: Generator) -> New:
    """A normal distribution with the mean and the covariance of the networks."""
    found = principal(weights)
    return found.weights(torch.randn(num, len(found.directions), generator=generator).to(weights))


def by_closeness(weights: Weights) -> Int[Tensor, "network other"]:
    """For each network the others, the nearest first."""
    apart = distance(weights, weights).fill_diagonal_(-1)
    return apart.argsort(dim=1, stable=True)[:, 1:]


# rivals


def _drawn(problem: Problem, num: int, generator: Generator) -> Int[Tensor, " network"]:
    """Places of `num` anchors in `train`, in a drawn order, repeated if there are fewer."""
    order = torch.randperm(len(problem.anchors), generator=generator)
    return problem.anchors[order[torch.arange(num) % len(order)].to(problem.anchors.device)]


def _learned_part(problem: Problem, weights: Weights) -> Weights:
    return weights * learned(problem.spec).to(weights)


def _together(problem: Problem, weights: Weights, aligned: bool) -> Weights:
    """Networks with their units in the places of the first one's, or as they are."""
    return align(problem.spec, weights, weights[:1]).weights if aligned else weights


def _scratch(problem: Problem, rival: RivalSettings, generator: Generator) -> Weights:
    known = "init" in problem.train_properties  # not of every imported zoo
    inits = problem.train_properties["init"].tolist() if known else ["kaiming_uniform"]
    rows = [initial_weights(problem.spec, inits[n % len(inits)], generator) for n in range(rival.num)]
    return torch.stack(rows).to(problem.train)


def _anchors(problem: Problem, rival: RivalSettings, generator: Generator) -> Weights:
    return problem.train[_drawn(problem, rival.num, generator)]


def _reconstructions(problem: Problem, rival: RivalSettings, generator: Generator) -> Weights:
    return problem.with_statistics(problem.decode(problem.encode(_anchors(problem, rival, generator))))


def _noise(problem: Problem, rival: RivalSettings, generator: Generator) -> Weights:
    own = _anchors(problem, rival, generator)
    unit = deviations(problem.spec, own) if rival.unit == "deviation" else _learned_part(problem, torch.ones_like(own))
    return problem.with_statistics(noised(own, unit, rival.size, generator))


def _equal_noise(problem: Problem, rival: RivalSettings, generator: Generator) -> Weights:
    own = _anchors(problem, rival, generator)
    error = problem.decode(problem.encode(own)) - own
    norms = _learned_part(problem, error).norm(dim=1)
    return problem.with_statistics(noised_by(own, deviations(problem.spec, own), norms, generator))


def _soup(problem: Problem, rival: RivalSettings, generator: Generator) -> Weights:
    num, size = len(problem.anchors), rival.members
    if num < size:
        raise InputError(f"rivals: a soup of {size} networks needs as many anchors, there are {num}")
    groups = torch.stack([torch.randperm(num, generator=generator)[:size] for _ in range(rival.num)])
    members = problem.anchor_weights[groups.to(problem.anchors.device)]
    made = soup(aligned_to_first(problem.spec, members) if rival.aligned else members)
    return problem.with_statistics(made) if rival.reset else made


def _line(problem: Problem, rival: RivalSettings, generator: Generator) -> Weights:
    """Anchors towards the nearest other; an anchor that is drawn again goes towards the next one."""
    if len(problem.anchors) < 2:
        raise InputError("rivals: a line needs two anchors, there is one")
    own = problem.anchor_weights[torch.randperm(len(problem.anchors), generator=generator).to(problem.anchors.device)]
    others = by_closeness(_learned_part(problem, _together(problem, own, rival.aligned)))
    rounds = ceil(rival.num / len(own))
    starts = own.repeat(rounds, 1)[: rival.num]
    ends = own[torch.cat([others[:, n % others.shape[1]] for n in range(rounds)])[: rival.num]]
    if rival.aligned:
        ends = align(problem.spec, ends, starts).weights
    made = problem.with_statistics(interpolate(starts, ends, SHARES).flatten(0, 1))
    images = problem.images
    _, accuracy = evaluate(problem.spec, made, normalize(images.val_x, images), images.val_y)
    best = accuracy.view(rival.num, -1).argmax(1)
    return made.unflatten(0, (rival.num, -1))[torch.arange(rival.num), best]


def _from_all(draw: Callable[[Weights, int, Generator], New]) -> Callable[[Problem, RivalSettings, Generator], Weights]:
    """A rival that is drawn from the distribution of all train networks."""
    return lambda problem, rival, generator: problem.with_statistics(
        draw(_together(problem, problem.train, rival.aligned), rival.num, generator)
    )


def _flow(weights: Weights, num: int, generator: Generator) -> New:
    found = principal(weights)
    return found.weights(flow_samples(found.coordinates, num, generator))


RIVALS: dict[RivalKind, Callable[[Problem, RivalSettings, Generator], Weights]] = {
    "scratch": _scratch,  # before training
    "anchors": _anchors,
    "reconstructions": _reconstructions,
    "noise": _noise,
    "equal_noise": _equal_noise,
    "soup": _soup,
    "line": _line,
    "gaussian": _from_all(gaussian),
    "pca_gaussian": _from_all(pca_gaussian),
    "flow": _from_all(_flow),
}
