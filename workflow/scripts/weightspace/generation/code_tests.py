"""Tests of an autoencoder: is a network one in all orders and scales of its units, and could it store anything?"""

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from weightspace.errors import InputError
from weightspace.generation.novelty import answers_of, similarity
from weightspace.generation.problem import Problem
from weightspace.images.tensors import normalize
from weightspace.nets.canonical import joints, rescaled
from weightspace.nets.forward import flatten, learned, unflatten
from weightspace.nets.spec import NetSpec
from weightspace.nets.symmetry import permutation_map, sample_permutations, symmetry_of

COPIES = 20  # permuted or rescaled ones of each network
MOST_NETWORKS = 20  # that are tested


def symmetry_test(problem: Problem, generator: Generator) -> dict[str, Float[Tensor, ""]]:
    """How far the reconstructions of one function written twice are apart (Zeng et al. 2025).

    Mean absolute difference of test accuracies, and 1 minus the similarity of mistakes, of the reconstructions of a train
    network and of its permuted, or rescaled, copy; beside them pairs of different networks, as they are.
    """
    spec, images = problem.spec, normalize(problem.images.test_x, problem.images)
    weights = problem.train[:MOST_NETWORKS]
    many = weights.repeat_interleave(COPIES, 0)
    changed = {}
    if symmetry_of(spec).free:
        orders = permutation_map(spec, sample_permutations(spec, len(many), generator)).to(many.device)
        changed["permuted"] = many.gather(1, orders)
    if any(True for _ in joints(spec)):
        changed["rescaled"] = rescaled(spec, many, generator)
    first, found = _reconstructed(problem, weights).repeat_interleave(COPIES, 0), {}
    pairs = {name: (first, _reconstructed(problem, copies)) for name, copies in changed.items()}
    if len(weights) > 1:
        pairs["different"] = weights, weights.roll(1, 0)
    for name, both in pairs.items():
        apart = _apart([answers_of(spec, each, images) for each in both], problem.images.test_y)
        found |= {f"symmetry_{measure}_{name}": value for measure, value in zip(("accuracy", "mistakes"), apart, strict=True)}
    return found


def reconstruction_test(problem: Problem) -> dict[str, Float[Tensor, " network"]]:
    """Accuracy of each reconstruction, its distance to its original and the similarity of their mistakes; train and held-out."""
    images, labels, found = normalize(problem.images.test_x, problem.images), problem.images.test_y, {}
    for split, weights in (("train", problem.train), ("held_out", problem.held_out)):
        decoded = _reconstructed(problem, weights)
        ours, theirs = (answers_of(problem.spec, each, images) for each in (decoded, weights))
        found[f"reconstruction_accuracy_{split}"] = (ours == labels).float().mean(1)
        found[f"reconstruction_similarity_{split}"] = _similarity_to_own(ours, theirs, labels)
        found[f"reconstruction_distance_{split}"] = ((decoded - weights) * learned(problem.spec).to(weights)).norm(dim=1)
    return found


def _reconstructed(problem: Problem, weights: Float[Tensor, "network weight"]) -> Float[Tensor, "network weight"]:
    return problem.with_statistics(problem.decode(problem.encode(weights)))


def _apart(answers: list[Tensor], labels: Tensor) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Mean absolute difference of accuracy, and mean of 1 minus similarity, of networks side by side."""
    right = [(each == labels).float().mean(1) for each in answers]
    return (right[0] - right[1]).abs().mean(), 1 - _similarity_to_own(*answers, labels).mean()


def _similarity_to_own(ours: Tensor, theirs: Tensor, labels: Tensor) -> Float[Tensor, " network"]:
    """Similarity of mistakes of networks side by side."""
    return torch.stack([similarity(one[None], other[None], labels)[0, 0] for one, other in zip(ours, theirs, strict=True)])


def shuffled(spec: NetSpec, weights: Float[Tensor, "network weight"], generator: Generator) -> Float[Tensor, "network weight"]:
    """Networks whose every parameter tensor has its numbers in a random order: nothing is left to learn but their sizes.

    An autoencoder that stores these stores anything (the capacity test of Zeng et al. 2025).
    """
    parts = {}
    for name, tensor in unflatten(spec, weights).items():
        order = torch.rand(len(weights), tensor[0].numel(), generator=generator).argsort(1).to(weights.device)
        parts[name] = tensor.flatten(1).gather(1, order).view_as(tensor)
    return flatten(spec, parts)


def random_networks(
    spec: NetSpec, weights: Float[Tensor, "network weight"], generator: Generator
) -> Float[Tensor, "network weight"]:
    """As many networks of normal numbers, with the mean and the deviation that each parameter tensor has over all of them.

    Running statistics are shuffled, for variances are positive. Raises InputError if there is no network.
    """
    if not len(weights):
        raise InputError("a population of random networks needs one network to be like")
    mixed = shuffled(spec, weights, generator)
    drawn = torch.randn(weights.shape, generator=generator).to(weights)
    ours, theirs, parts = unflatten(spec, drawn), unflatten(spec, mixed), {}
    for parameter in spec.parameters:
        own = theirs[parameter.name]
        parts[parameter.name] = own.mean() + own.std(correction=0) * ours[parameter.name] if parameter.learned else own
    return flatten(spec, parts)
