"""What generated networks have to be compared with, by kind."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from weightspace.coded import CodedZoo
from weightspace.generation.rival_settings import RivalSettings
from weightspace.nets.init import initial_weights


def scratch(zoo: CodedZoo, rival: RivalSettings, generator: Generator) -> Float[Tensor, "network weight"]:
    """Untrained networks, with inits of the zoo where these are known."""
    inits = zoo.train_properties["init"].tolist() if "init" in zoo.train_properties else ["kaiming_uniform"]
    rows = [initial_weights(zoo.spec, inits[n % len(inits)], generator) for n in range(rival.num)]
    return torch.stack(rows).to(zoo.train)


def drawn_anchors(zoo: CodedZoo, num: int, generator: Generator) -> Int[Tensor, " network"]:
    """Places in `train` of so many anchors, in a drawn order, over again where there are fewer."""
    order = torch.randperm(len(zoo.anchors), generator=generator).to(zoo.anchors.device)
    return zoo.anchors[order].repeat(-(-num // len(order)))[:num]


def anchors(zoo: CodedZoo, rival: RivalSettings, generator: Generator) -> Float[Tensor, "network weight"]:
    """Anchors as they are."""
    return zoo.train[drawn_anchors(zoo, rival.num, generator)]


def reconstructions(zoo: CodedZoo, rival: RivalSettings, generator: Generator) -> Float[Tensor, "network weight"]:
    """Anchors, encoded and decoded."""
    return zoo.with_statistics(zoo.decode(zoo.encode(anchors(zoo, rival, generator))))


RIVALS: dict[str, Callable[[CodedZoo, RivalSettings, Generator], Tensor]] = {
    "scratch": scratch,
    "anchors": anchors,
    "reconstructions": reconstructions,
}
