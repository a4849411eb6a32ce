"""Controls on generated networks and on their rivals: what each network is measured by, and the verdict on each set."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from weightspace.generation.code_tests import reconstruction_test, symmetry_test
from weightspace.generation.novelty import (
    Known,
    Matched,
    answers_of,
    candidates,
    disagreement,
    ensemble_gain,
    learned_distance,
    matched,
    similarity,
)
from weightspace.generation.over_runs import MEASURED, Measured, attribution
from weightspace.generation.problem import NetworkSet, Problem
from weightspace.generation.verdict import Evidence, evidence_of, verdict_of
from weightspace.images.tensors import normalize
from weightspace.nets.canonical import canonical

MOST_MEMBERS = 16  # of an ensemble
FEWEST_ENSEMBLES = 4  # of a set, which has smaller ones where it has few networks
OF_ONE_ANCHOR = ("anchors", "reconstructions", "noise", "equal_noise", "line")  # made from one run of the zoo
Rows = dict[str, Tensor]


class Reference(NamedTuple):
    """What all sets are compared with."""

    problem: Problem
    images: Float[Tensor, "image channel height width"]  # test images, normalized
    train: Known
    reconstructed: Known  # the same, encoded and decoded
    members: int  # of an ensemble


def control_metrics(problem: Problem, sets: dict[str, NetworkSet], generator: Generator) -> dict[str, Rows]:
    """Metrics of each cell by name: of each network, or one number; what held-out networks have goes to the cells of samples.

    Of `scratch` the trained networks are judged, for the others those before fine-tuning.
    """
    fewest = min(len(problem.held_out), *(len(own.weights) for own in sets.values()))
    reference = _reference(problem, max(2, min(MOST_MEMBERS, fewest // FEWEST_ENSEMBLES)))
    held_out = _held_out(reference, generator)
    rows = {cell: _measured(reference, _judged(own), generator) for cell, own in sets.items()}
    measured = {cell: measured_of(own) for cell, own in rows.items()}
    by_kind: dict[str, list[Measured]] = {}
    for cell, own in sets.items():
        by_kind.setdefault(own.kind, []).append(measured[cell])
    for cell, own in sets.items():
        evidence = evidence_of(measured[cell], measured_of(held_out), by_kind, own.kind)
        verdict = verdict_of(evidence)
        print(f"{cell}: {verdict.sentence}")
        rows[cell] |= _judgment(measured[cell], rows[cell], evidence) | {"verdict": torch.tensor(float(verdict.number))}
        if own.kind == "samples":
            rows[cell] |= {f"{name}_held_out": values for name, values in held_out.items()}
            rows[cell] |= symmetry_test(problem, generator) | reconstruction_test(problem)
    return rows


def measured_of(rows: Rows) -> Measured:
    """What verdicts are made from, of the metrics of one set."""
    return Measured(**{field: rows[metric].double().cpu().numpy() for field, metric in MEASURED.items()})


def _reference(problem: Problem, members: int) -> Reference:
    images = normalize(problem.images.test_x, problem.images)
    decoded = problem.with_statistics(problem.decode(problem.encode(problem.train)))
    known = [Known(weights, answers_of(problem.spec, weights, images)) for weights in (problem.train, decoded)]
    return Reference(problem, images, *known, members)


def _judged(own: NetworkSet) -> NetworkSet:
    """The same; of what starts untrained the trained networks, before and after."""
    if own.kind != "scratch":
        return own
    last = own.test_accuracy[:, -1:].expand_as(own.test_accuracy)
    return own._replace(weights=own.tuned, test_accuracy=last)


def _held_out(reference: Reference, generator: Generator) -> Rows:
    """The same measures of held-out networks, which are not fine-tuned."""
    problem = reference.problem
    answers = answers_of(problem.spec, problem.held_out, reference.images)
    accuracy = (answers == problem.images.test_y).float().mean(1, keepdim=True)
    return _measured(reference, NetworkSet("held_out", problem.held_out, problem.held_out, accuracy, accuracy), generator)


def _measured(reference: Reference, own: NetworkSet, generator: Generator) -> Rows:
    """Metrics of each network of a set."""
    problem, labels, train = reference.problem, reference.problem.images.test_y, reference.train
    ours, tuned = (Known(weights, answers_of(problem.spec, weights, reference.images)) for weights in (own.weights, own.tuned))
    to_train = _to(problem, ours, train, generator)
    runs = _runs(own, to_train)
    alike = similarity(ours.answers, train.answers, labels)
    train_accuracy = (train.answers == labels).float().mean(1)
    return {
        "run": runs.float(),
        "distance_train_plain": learned_distance(problem.spec, ours.weights, train.weights).amin(1),
        "distance_train": to_train.nearest(),
        "distance_other_run": to_train.nearest(to_train.others != runs.unsqueeze(1)),
        "distance_train_canonical": _to(problem, *(_canonical(problem, each) for each in (ours, train)), generator).nearest(),
        "distance_reconstructed": _to(problem, ours, reference.reconstructed, generator).nearest(),
        "similarity": alike.amax(1),
        "similarity_class": similarity(ours.answers, train.answers, labels, same_class=True).amax(1),
        "accuracy_judged": own.test_accuracy[:, 0],
        "similarity_tuned": similarity(tuned.answers, train.answers, labels).amax(1),
        "accuracy_tuned": own.test_accuracy[:, -1],
        "accuracy_nearest": train_accuracy[to_train.nearest_other()],
        "disagreement": disagreement(ours.answers),
        "ensemble_gain": ensemble_gain(ours.answers, labels, reference.members),
    }


def _to(problem: Problem, ours: Known, theirs: Known, generator: Generator) -> Matched:
    return matched(problem.spec, ours.weights, theirs.weights, candidates(problem.spec, ours, theirs), generator)


def _canonical(problem: Problem, known: Known) -> Known:
    return known._replace(weights=canonical(problem.spec, known.weights))


def _runs(own: NetworkSet, to_train: Matched) -> Int[Tensor, " network"]:
    """Place in `train` of the run that a network is made from, where it is one; else a number of its own, below 0."""
    if own.parents is not None:
        return own.parents
    if own.kind in OF_ONE_ANCHOR:
        return to_train.nearest_other()
    return -1 - torch.arange(len(own.weights), device=own.weights.device)


def _judgment(measured: Measured, rows: Rows, evidence: Evidence) -> Rows:
    """Numbers of a set as a whole."""
    slope, r2 = attribution(measured.accuracy, rows["accuracy_nearest"].double().cpu().numpy())
    numbers = {
        "u_share": evidence.copying.u_share,
        "u_share_low": evidence.u_share.low,
        "u_share_high": evidence.u_share.high,
        "z_u": evidence.copying.z,
        "z_u_floor": evidence.copying.floor,
        "similarity_over_percentile": evidence.over_percentile.mean,
        "similarity_over_median": evidence.over_median.mean,
        "attribution_slope": slope,
        "attribution_r2": r2,
    }
    gaps = {"gap": evidence.gaps, "gap_tuned": evidence.tuned_gaps}
    numbers |= {f"{name}_{front.lower()}": each.mean for name, own in gaps.items() for front, each in own.items()}
    return {name: torch.tensor(float(value)) for name, value in numbers.items()}
