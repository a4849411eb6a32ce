"""How new networks are: distances to others modulo symmetry, similarity of mistakes, what an ensemble gains by them."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from weightspace.behavior import distance
from weightspace.ensemble import outputs
from weightspace.nets.align import align
from weightspace.nets.forward import learned
from weightspace.nets.spec import NetSpec
from weightspace.nets.symmetry import permutation_map, sample_permutations, symmetry_of

CANDIDATES = 8  # by weights and by answers each, that a network is matched with
RESTARTS = 5  # of the matching of the nearest one, from units in other orders
AT_ONCE = 2**23  # weights that are matched together


class Known(NamedTuple):
    """Networks that others are compared with, or that are compared."""

    weights: Float[Tensor, "network weight"]
    answers: Int[Tensor, "network image"]  # classes on test images


def answers_of(
    spec: NetSpec, weights: Float[Tensor, "network weight"], images: Float[Tensor, "image channel height width"]
) -> Int[Tensor, "network image"]:
    """Class that each network gives each image."""
    return outputs(spec, weights, images).argmax(-1)


# similarity of mistakes (Zeng et al. 2025, "Generative modeling of weights: generalization or memorization?")


def similarity(
    ours: Int[Tensor, "network image"],
    theirs: Int[Tensor, "other image"],
    labels: Int[Tensor, " image"],
    same_class: bool = False,
) -> Float[Tensor, "network other"]:
    """Images that both get wrong over those that one of them does; 0 where none is. `same_class`: with the same wrong class.

    For independent mistakes at equal error e it is e / (2 - e): compare networks at equal accuracy.
    """
    wrong = [(answers != labels).float() for answers in (ours, theirs)]
    both = wrong[0] @ wrong[1].T
    either = wrong[0].sum(1, keepdim=True) + wrong[1].sum(1) - both
    if same_class:
        classes = int(max(ours.max(), theirs.max())) + 1
        both = sum(
            ((ours == n).float() * wrong[0]) @ ((theirs == n).float() * wrong[1]).T for n in range(classes)
        )  # fmt: skip
    return both / either.clamp_min(1)


# distances


def learned_distance(
    spec: NetSpec, ours: Float[Tensor, "network weight"], theirs: Float[Tensor, "other weight"]
) -> Float[Tensor, "network other"]:
    """Euclidean distances over learned weights."""
    counted = learned(spec).to(ours.device)
    return distance(ours[:, counted], theirs[:, counted])


def candidates(spec: NetSpec, ours: Known, theirs: Known) -> Int[Tensor, "network candidate"]:
    """Others that may be nearest: CANDIDATES by weights and by answers each, among which a copy in another order always is."""
    num = min(CANDIDATES, len(theirs.weights))
    by_weights = learned_distance(spec, ours.weights, theirs.weights).topk(num, largest=False).indices
    differing = torch.stack([(theirs.answers != each).sum(1) for each in ours.answers])
    return torch.cat([by_weights, differing.topk(num, largest=False).indices], dim=1)


class Matched(NamedTuple):
    """Distances of networks to some others, units permuted to match: upper bounds, for a better match may exist."""

    others: Int[Tensor, "network candidate"]
    distances: Float[Tensor, "network candidate"]

    def nearest(self, allowed: Bool[Tensor, "network candidate"] | None = None) -> Float[Tensor, " network"]:
        """Distance to the nearest, or to the nearest that is allowed; infinite where none is."""
        return self.distances.masked_fill(~allowed, torch.inf).amin(1) if allowed is not None else self.distances.amin(1)

    def nearest_other(self) -> Int[Tensor, " network"]:
        """Which other is nearest."""
        return self.others.gather(1, self.distances.argmin(1, keepdim=True)).squeeze(1)


def matched(
    spec: NetSpec,
    ours: Float[Tensor, "network weight"],
    theirs: Float[Tensor, "other weight"],
    others: Int[Tensor, "network candidate"],
    generator: Generator,
) -> Matched:
    """Distances of each network to its candidates modulo the order of units; the nearest is matched RESTARTS times.

    Exact where one hidden layer is, up to what `align` finds elsewhere. Never above the plain distance.
    """
    num, each = others.shape
    plain = _apart(spec, ours.repeat_interleave(each, 0), theirs[others.flatten()])
    found = torch.minimum(plain, _matched(spec, ours.repeat_interleave(each, 0), theirs[others.flatten()])).view(num, each)
    best = found.argmin(1, keepdim=True)
    target, least = theirs[others.gather(1, best).squeeze(1)], found.gather(1, best).squeeze(1)
    for _ in range(RESTARTS - 1 if symmetry_of(spec).free else 0):
        orders = permutation_map(spec, sample_permutations(spec, num, generator)).to(ours.device)
        least = torch.minimum(least, _matched(spec, ours.gather(1, orders), target))
    return Matched(others, found.scatter(1, best, least.unsqueeze(1)))


def _matched(spec: NetSpec, ours: Float[Tensor, "pair weight"], theirs: Float[Tensor, "pair weight"]) -> Float[Tensor, " pair"]:
    size, found = max(1, AT_ONCE // spec.num_weights), []
    for one, other in zip(ours.split(size), theirs.split(size), strict=True):
        found.append(_apart(spec, align(spec, one, other).weights, other))
    return torch.cat(found)


def _apart(spec: NetSpec, ours: Float[Tensor, "pair weight"], theirs: Float[Tensor, "pair weight"]) -> Float[Tensor, " pair"]:
    return ((ours - theirs) * learned(spec).to(ours.device)).norm(dim=1)


# ensembles


def ensemble_gain(answers: Int[Tensor, "network image"], labels: Int[Tensor, " image"], size: int) -> Float[Tensor, " group"]:
    """Accuracy of the majority's answer in groups of `size` networks in a row, minus the mean of theirs; ties: lowest class."""
    num = len(answers) // size
    groups = answers[: num * size].view(num, size, answers.shape[1])
    votes = torch.stack([(groups == n).sum(1) for n in range(int(labels.max()) + 1)], dim=-1)
    return (votes.argmax(-1) == labels).float().mean(1) - (groups == labels).float().mean((1, 2))


def disagreement(answers: Int[Tensor, "network image"]) -> Float[Tensor, " network"]:
    """Share of images that a network answers otherwise than another of the same set, mean over these; 0 of one network."""
    apart = torch.stack([(answers != each).float().mean(1) for each in answers])
    return apart.sum(1) / max(1, len(answers) - 1)
