"""Search: which students to train, by short runs, where a teacher's size or activation is not known."""

from typing import NamedTuple

import torch

from weightspace.nets.spec import NetSpec, build_spec
from weightspace.recovery.fit import finite_first
from weightspace.recovery.layers import expanded
from weightspace.recovery.problem import problem_of, validation_error
from weightspace.recovery.queries import Queries
from weightspace.recovery.settings import StudentsConfig
from weightspace.recovery.students import expand


def candidates(config: StudentsConfig, queries: Queries) -> list[list[NetSpec]]:
    """Students' layers to try: a list per activation, in rising size."""
    shape, outputs = tuple(queries.train_x.shape[2:]), queries.train_y.shape[2]
    known = queries.spec
    lists = []
    for activation in config.activations or [known.activation]:
        if config.architectures:
            lists.append([build_spec(layers, activation, shape, outputs) for layers in config.architectures])
        else:
            teacher = build_spec(known.architecture, activation, shape, outputs)
            lists.append([expanded(teacher, factor) for factor in config.expansion_factors])
    return lists


class Tried(NamedTuple):
    """A short run: the median student's validation error and the share of students at search_tolerance."""

    activation: str
    architecture: list[str]
    median: float
    reached: float


def choose_students(
    config: StudentsConfig, queries: Queries, device: torch.device, identity: tuple
) -> tuple[NetSpec, list[Tried]]:
    """Layers of the students to train, and the short runs that led there; none where there is nothing to choose.

    The activation is the one whose largest students validate best; then the size is the first at which search_share of the
    students reach search_tolerance, or the largest.
    """
    lists, tried = candidates(config, queries), []
    if len(lists) == 1 and len(lists[0]) == 1:
        return lists[0][0], tried
    if len(lists) > 1:
        tried = [_try(config, sizes[-1], queries, device, identity) for sizes in lists]
        lists = [lists[min(range(len(lists)), key=lambda n: tried[n].median)]]
    for spec in lists[0]:
        tried.append(_try(config, spec, queries, device, identity))
        if tried[-1].reached >= config.search_share:
            return spec, tried
    return lists[0][-1], tried


def _try(config: StudentsConfig, spec: NetSpec, queries: Queries, device: torch.device, identity: tuple) -> Tried:
    whole = {"epochs": config.epochs, "second_order_steps": config.second_order_steps_of(spec.num_weights)}
    steps = {name: round(number * config.search_steps_share) for name, number in whole.items()}
    problem = problem_of(spec, queries, device)
    students = expand(spec, config.model_copy(update=steps), problem.train, ("search", *identity))
    error = finite_first(validation_error(spec, students.weights, problem, config.num))
    print(f"tried {spec.activation}, {', '.join(spec.architecture)}: median validation error {error.median():.3g}")
    return Tried(
        spec.activation, list(spec.architecture), float(error.median()), float((error <= config.search_tolerance).double().mean())
    )
