"""What is compared: generated networks and their rivals, as sets of networks that are fine-tuned and measured together."""

from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor

from weightspace.coded import CodedZoo

Problem = CodedZoo  # what networks are generated from, and compared with


class NetworkSet(NamedTuple):
    """Networks of one cell, samples or a rival's, before and after fine-tuning."""

    kind: str  # `samples`, or the rival's kind
    weights: Float[Tensor, "network weight"]  # before fine-tuning
    tuned: Float[Tensor, "network weight"]  # after its last epoch
    val_accuracy: Float[Tensor, "network epoch"]  # at the epochs of fine-tuning that are measured, the first of which is 0
    test_accuracy: Float[Tensor, "network epoch"]
    parents: Int[Tensor, " network"] | None = None  # place in `train` of the anchor that a sample is made from, if it is one
