"""Losses: agreement with slow loops."""

import pytest
import torch
from weightspace.losses import neighbor_similarity
from weightspace.nets.forward import unflatten
from weightspace.nets.spec import build_spec


def slow_similarity(kernels):
    """One layer's sum, pair by pair."""
    filters, channels, *size = kernels.shape
    total, norm = 0, kernels.norm()
    for f in range(filters):
        for c in range(channels):
            for other in [(f + 1, c)] * (f + 1 < filters) + [(f, c + 1)] * (c + 1 < channels):
                a, b = kernels[f, c].flatten(), kernels[other].flatten()
                total = total + (-(a - b).abs().sum() / norm if size == [1, 1] else a @ b / (a.norm() * b.norm()))
    return total


@pytest.mark.usefixtures("float64")
def test_the_similarity_of_neighbors_and_its_gradient_are_those_of_a_loop_over_pairs():
    spec = build_spec(
        ["conv 4 3", "activation", "conv 5 1", "activation", "conv 3 2", "flatten", "linear classes"], "relu", (2, 6, 6), 3
    )
    weights = torch.randn(2, spec.num_weights, requires_grad=True)
    similarity = neighbor_similarity(spec, weights)
    slow = torch.stack([
        sum(slow_similarity(tensor) for tensor in unflatten(spec, row).values() if tensor.dim() == 4) for row in weights
    ])  # fmt: skip
    torch.testing.assert_close(similarity, slow)
    (ours,), (theirs,) = (torch.autograd.grad(value.sum(), weights) for value in (similarity, slow))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.usefixtures("float64")
def test_the_similarity_knows_no_scale_and_is_largest_for_equal_kernels():
    spec = build_spec(["conv 4 3", "activation", "conv 5 1", "flatten", "linear classes"], "relu", (2, 6, 6), 3)
    weights = torch.randn(2, spec.num_weights)
    torch.testing.assert_close(neighbor_similarity(spec, 3 * weights), neighbor_similarity(spec, weights))
    pairs = 3 * 2 + 4 * 1  # of the first layer; the second has differences, 0 where equal
    torch.testing.assert_close(neighbor_similarity(spec, torch.ones_like(weights)), torch.full((2,), float(pairs)))
    assert (neighbor_similarity(spec, weights) < pairs).all()
