"""Layers of sequences: position embeddings and attention (Vaswani et al. 2017; Dosovitskiy et al. 2021)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from einops import rearrange

from weightspace.errors import InputError
from weightspace.lazily import F
from weightspace.nets.steps import IN, Level, Made, Op, Parameter, Place, Printed, Run

if TYPE_CHECKING:
    from torch import Tensor


def position_embedding(place: Place, sizes: dict[str, int]) -> Made:
    """Numbers that are added, for each position and feature; they start at 0."""
    features, positions = place.shape
    return Made(place.shape, (Parameter("embedding", (positions, features), (Level("", positions), *IN), 0.0),))


def attention(place: Place, sizes: dict[str, int]) -> Made:
    """Attention among positions, of features that are queries, keys and values, each of them head after head.

    Heads may be permuted, and features within a head, in all heads the same way, and queries, keys and values alike.
    """
    features, positions, heads = *place.shape, sizes["heads"]
    if features % (3 * heads):
        raise InputError(f"layer {place.text!r} cannot divide {features} features into three times {heads} heads")
    units = Level("head", heads), Level("within", features // (3 * heads))
    return Made((features // 3, positions), takes=(Level("", 3), *units), gives=units)


def run_attention(op: Op, hidden: Tensor, values: list[Tensor], run: Run) -> Tensor:
    """softmax(q k' / sqrt(width of a head)) v for all models and heads at once."""
    folded = rearrange(hidden, "m b n (three h d) -> three (m b) h n d", three=3, h=op.sizes["heads"])
    return rearrange(F.scaled_dot_product_attention(*folded), "(m b) h n d -> m b n (h d)", m=len(hidden))


def print_position_embedding(op: Op) -> Printed:
    """A parameter of that name, added to every image's sequence."""
    (positions, features), *_ = (parameter.shape for parameter in op.made.parameters)
    made = f'nn.ParameterDict({{"embedding": torch.zeros({positions}, {features})}})'
    return Printed(made, '{x} + {layer}["embedding"]')


def print_attention(op: Op) -> Printed:
    """Queries, keys and values as [image, head, position, feature]."""
    folded = f"{{x}}.unflatten(2, (3, {op.sizes['heads']}, -1)).permute(2, 0, 3, 1, 4)"
    return Printed(call=f"F.scaled_dot_product_attention(*{folded}).transpose(1, 2).flatten(2)")
