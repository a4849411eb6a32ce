"""Verdict: from the metrics of a recovery, what became of each teacher, as a number and as a sentence; without torch."""

from collections.abc import Iterable
from math import isfinite
from typing import NamedTuple

SAME = 1e-6  # error over deviation of the answers on held-out inputs up to which answers are the same
AS_GOOD = 1.5**0.5  # factor of the error up to which one network answers as well as another
VERDICTS = ("recovered", "same answers, not unique", "not recovered", "not representable by these layers")
RECOVERED, NOT_UNIQUE, NOT_RECOVERED, NOT_REPRESENTABLE = range(len(VERDICTS))


class Evidence(NamedTuple):
    """What is known of one teacher's recovery."""

    relative_error: float  # root mean squared error over the deviation of the answers, on held-out inputs
    student_error: float  # the same of the best student
    precision: float  # the same of answers that count as equal
    solved: bool | None  # all units found and none in excess; None of a black box
    same_layers: bool | None  # the network has the teacher's activation and number of layers; None of a black box
    from_clusters: bool  # the students agreed in the units


def best_student_better(evidence: Evidence) -> bool:
    """Whether the best student answers held-out inputs better than the network, by more than AS_GOOD."""
    return not evidence.relative_error <= max(AS_GOOD * evidence.student_error, evidence.precision)


def verdict_of(evidence: Evidence) -> int:
    """Index of the word in VERDICTS.

    recovered: the teacher's own units, or of a black box equal answers by units that students agree in; not unique: equal
    answers by other units; not representable: other answers, where the layers are known to differ from the teacher's.
    """
    same = evidence.relative_error <= evidence.precision
    if evidence.solved or (evidence.solved is None and same and evidence.from_clusters):
        return RECOVERED
    if same:
        return NOT_UNIQUE
    return NOT_REPRESENTABLE if evidence.same_layers is False else NOT_RECOVERED


def verdict_metrics(measures: dict[str, float], precision: float) -> dict[str, float]:
    """The metrics that judge one teacher's recovery, from its others; `precision` as in Evidence, constant answers have none."""
    deviation = measures["output_deviation"]
    solved = measures.get("solved")
    evidence = Evidence(
        relative_error=_over(measures["rmse_held_out"], deviation),
        student_error=_over(measures["rmse_student_best"], deviation),
        precision=max(SAME, precision),
        solved=None if solved is None else solved == 1.0,
        same_layers=None if solved is None else measures.get("activation_right") == 1.0,
        from_clusters=measures["from_students"] == 0.0,
    )
    return {
        "held_out_error_relative": evidence.relative_error,
        "best_student_better": float(best_student_better(evidence)),
        "verdict": float(verdict_of(evidence)),
    }


def _over(error: float, deviation: float) -> float:
    """The error over the deviation, or 1 of constant answers: there is nothing to say of them that a constant does not."""
    return error / deviation if deviation > 0 else 1.0


def sentences(rows: Iterable[dict]) -> list[str]:
    """One sentence per teacher of a cell and seed, from their rows of metrics, and a summary at last."""
    judged = judged_teachers(rows)
    return [*(sentence(subject, measures) for subject, measures in judged.items()), summary(judged)]


def judged_teachers(rows: Iterable[dict]) -> dict[str, dict[str, float]]:
    """Metrics of each teacher of a cell and seed that has a verdict, by the teacher's index."""
    teachers: dict[str, dict[str, float]] = {}
    for row in rows:
        teachers.setdefault(row["subject"], {})[row["metric"]] = row["value"]
    return {subject: measures for subject, measures in teachers.items() if "verdict" in measures}


def sentence(subject: str, measures: dict[str, float]) -> str:
    """What became of one teacher."""
    error = measures["held_out_error_relative"]
    text = (
        f"teacher {subject}: {VERDICTS[int(measures['verdict'])]}: {measures['size_recovered']:.0f} units, "
        f"error on held-out inputs {error:.2g} of the answers' deviation, {measures['reached']:.0%} of the students exact"
    )
    if measures["best_student_better"]:
        student = measures["rmse_student_best"] / measures["output_deviation"]
        text += f"; the best student answers better ({student:.2g})"
    if not isfinite(error):
        text += "; the network's answers are not finite"
    if not measures["teacher_learned"]:
        text += "; the teacher has not learned"
    return text


def summary(judged: dict[str, dict[str, float]]) -> str:
    """How many teachers have which verdict, and which ones are not recovered."""
    by_word = {word: [subject for subject, own in judged.items() if own["verdict"] == n] for n, word in enumerate(VERDICTS)}
    parts = [f"{len(by_word[VERDICTS[RECOVERED]])} of {len(judged)} teachers recovered"]
    parts += [f"{word}: {', '.join(by_word[word])}" for word in VERDICTS[NOT_UNIQUE:] if by_word[word]]
    if dull := [subject for subject, own in judged.items() if not own["teacher_learned"]]:
        parts.append(f"have not learned: {', '.join(dull)}")
    return "; ".join(parts)
