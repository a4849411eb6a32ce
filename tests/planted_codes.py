"""A zoo with a code of which everything is known: its networks' own weights, turned, and cut into tokens."""

import pandas as pd
import torch
from corner_images import planted_images
from weightspace.coded import CodedZoo
from weightspace.nets.init import initial_weights
from weightspace.nets.spec import build_spec

SPEC = build_spec(["flatten", "linear 4", "activation", "linear classes"], "tanh", (1, 6, 6), 3)  # 163 weights
TOKENS = (163, 1)


def coded_zoo(train=12, held_out=5, spec=SPEC, tokens=TOKENS, images=None):
    """Networks around their initial weights, and the code that loses nothing of them."""
    generator = torch.Generator().manual_seed(3)
    weights = torch.stack([initial_weights(spec, "kaiming_normal", generator) for _ in range(train + held_out)])
    turn, _ = torch.linalg.qr(torch.randn(spec.num_weights, spec.num_weights, generator=generator))

    def encode(weights):
        return (weights @ turn).view(-1, *tokens)

    def decode(codes):
        return codes.flatten(1) @ turn.T

    table = pd.DataFrame({"model": range(100, 100 + train + held_out), "init": "kaiming_normal"})
    return CodedZoo(
        spec, weights[:train], table[:train], weights[train:], table[train:], images or planted_images(), torch.arange(train),
        encode, decode, lambda weights: weights,
    )  # fmt: skip
