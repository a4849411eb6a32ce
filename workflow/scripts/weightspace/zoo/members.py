"""Who is in a zoo: each model's identity, its init tensor and its split, from the settings alone; groups of models."""

from collections.abc import Hashable, Mapping
from itertools import product
from math import ceil
from typing import NamedTuple

from weightspace.recipe import Recipe
from weightspace.seeds import seed_for
from weightspace.zoo.settings import ZooConfig
from weightspace.zoo.sources import CheckpointsConfig

SHAPING = ("architecture", "biases")  # settings that a model's first weights depend on


class Member(NamedTuple):
    """One model of a zoo: its index, and the identity that all its seeds come from."""

    model: int
    init: str
    learning_rate: float
    weight_decay: float
    seed: int
    stack: int = 0  # which of the zoo's stacks it is in
    varied: tuple[str, ...] = ()  # what it has of the settings that vary, as in `activation=tanh`

    def init_identity(self, config: ZooConfig) -> tuple:
        """What the model's init tensor is drawn from; models that share it start from the same weights."""
        if config.shared_inits is None:
            return (self.init, *self.identity)
        return (self.init, self.seed % config.shared_inits, *(each for each in self.varied if each.startswith(SHAPING)))

    @property
    def identity(self) -> tuple[str | int | float, ...]:
        """All that tells it from other models, whatever zoo they are in; of what the zoo does not vary, nothing."""
        return (self.init, self.learning_rate, self.weight_decay, self.seed, *self.varied)


def members(config: ZooConfig) -> list[Member]:
    """All models of a zoo; seeds vary slowest, so that a strided shard holds every combination."""
    stacks = [tuple(f"{name}={spelled(getattr(stack, name))}" for name in config.choices) for stack in config.stacks]
    grid = product(range(config.num_seeds), enumerate(stacks), config.inits, config.learning_rates, config.weight_decays)
    return [Member(n, *each, seed, *stack) for n, (seed, stack, *each) in enumerate(grid)]


def stacks_of(config: ZooConfig, models: list[int] | None) -> list[ZooConfig]:
    """The stacks that some models of a zoo are in, or all; models that it does not have are in none."""
    stacks, wanted = config.stacks, set(models or [])
    if models is None or len(stacks) == 1:
        return stacks
    return [stacks[n] for n in sorted({member.stack for member in members(config) if member.model in wanted})]


def spelled(value: object) -> object:
    """A value of a setting as it stands in tables: lists as text."""
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def recipe_of(config: ZooConfig, models: list[int] | None) -> dict[str, object]:
    """How some models of one stack of a zoo are trained, or all: what they have in common, and lists of what each has."""
    own = members(config) if models is None else [members(config)[model] for model in models]
    stack = config.stacks[own[0].stack]
    same = {key: value for key, value in stack.model_dump(mode="json").items() if key in Recipe.model_fields}
    rates = {f"{key}s": [getattr(member, key) for member in own] for key in ("init", "learning_rate", "weight_decay")}
    return same | rates | {"epochs": config.epochs[-1]}


def split_of(member: Member, config: ZooConfig) -> str:
    """train, val or test: a hash of the model's identity, the same whoever else is in the zoo."""
    return drawn_split(config, *member.identity)


def drawn_split(config: ZooConfig | CheckpointsConfig, *identity: str | int | float) -> str:
    """train, val or test: a hash of whatever `identity` names."""
    draw = seed_for("split", *identity) / 2**32
    return "test" if draw < config.test_share else "val" if draw < config.test_share + config.val_share else "train"


def too_few(config: ZooConfig) -> str | None:
    """Why the zoo is too small to have two models of every split, if it is."""
    splits = [split_of(model, config) for model in members(config)]
    for split in ("train", "val", "test"):
        if splits.count(split) < 2:
            return f"{len(splits)} models give {splits.count(split)} {split} models: raise num_seeds or the shares"
    return None


def lonely_init(config: ZooConfig) -> tuple | None:
    """The init tensor of a test model which no train model starts from, if there is one."""
    inits: dict[str, list[tuple]] = {"train": [], "val": [], "test": []}
    for model in members(config):
        inits[split_of(model, config)].append(model.init_identity(config))
    return next(iter(sorted(set(inits["test"]) - set(inits["train"]))), None)


def groups_of(inits: Mapping[int, Hashable], size: int, kind: str) -> list[list[int]]:
    """Groups of `size` models, none of them in two, by each model's init tensor; as many as first fit finds.

    `same_init`: all of one tensor. `different_init`: none of a tensor more often than it must be, so that two never share one;
    no groups where all models have the same. Models come in the order of a hash of their index.
    """
    num_inits, alike = len(set(inits.values())), kind == "same_init"
    if num_inits < 2 and not alike:
        return []
    most = size if alike else ceil(size / num_inits)
    groups: list[list[int]] = []
    for model in sorted(inits, key=lambda model: (seed_for("group", model), model)):
        for group in groups:
            shared = sum(inits[other] == inits[model] for other in group)
            if len(group) < size and (shared == len(group) if alike else shared < most):
                group.append(model)
                break
        else:
            groups.append([model])
    return [group for group in groups if len(group) == size]
