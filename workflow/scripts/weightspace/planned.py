"""Networks of a zoo as the settings tell them, before any is trained."""

from collections.abc import Sequence
from typing import NamedTuple

from weightspace.nets.spec import NetSpec, build_spec
from weightspace.scenario import Scenario
from weightspace.zoo.members import stacks_of
from weightspace.zoo.settings import ZooConfig


class Made(NamedTuple):
    """Networks, as the settings tell them."""

    layers: str | list[str]
    shape: Sequence[int]  # of an image
    num_classes: int


def made_of(scenario: Scenario, name: str, models: list[int] | None = None) -> list[Made]:
    """Networks of each architecture of a zoo, or of some models of it; none of an imported one whose files alone tell them."""
    zoo = scenario.zoos[name]
    if zoo.architecture is None or zoo.images is None:
        return []
    images = scenario.images[zoo.images]
    layers = [stack.architecture for stack in stacks_of(zoo, models)] if isinstance(zoo, ZooConfig) else [zoo.architecture]
    different = [each for n, each in enumerate(layers) if each not in layers[:n]]
    return [Made(each, images.image_shape, images.num_classes) for each in different]


def spec_of(made: Made) -> NetSpec:
    """Their spec, of whatever activation."""
    return build_spec(made.layers, "relu", made.shape, made.num_classes)


def has_hidden_layers(scenario: Scenario, name: str) -> bool:
    """Whether networks of a zoo have hidden layers, as far as the settings say."""
    return all(len(spec_of(made).layers) > 1 for made in made_of(scenario, name))
