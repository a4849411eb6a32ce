"""Verdict: whether networks are copies, perturbations or interpolations of train networks, or as new as held-out ones are."""

from math import isfinite
from typing import NamedTuple

import pandas as pd

from weightspace.generation.frontier import gaps
from weightspace.generation.over_runs import (
    MEASURED,
    Copying,
    Measured,
    copying_interval,
    data_copying,
    gain_interval,
    matched_similarity,
)
from weightspace.report.intervals import Interval

COPIES_BELOW = 0.05  # U / (m n)
NEW_FROM = 0.4  # U / (m n); .5 is as far as held-out networks are
PERCENTILE = 0.95  # of held-out networks' similarity of mistakes, which copies exceed
VERDICTS = ("copy", "perturbation or interpolation", "generalizing", "undecided")
COPY, PERTURBATION, GENERALIZING, UNDECIDED = range(len(VERDICTS))


class Evidence(NamedTuple):
    """What is known of a set of networks, each with its interval over runs."""

    copying: Copying
    u_share: Interval
    over_percentile: Interval  # median similarity of mistakes at matched accuracy, above PERCENTILE of held-out networks'
    over_median: Interval  # the same above the median
    gaps: dict[str, Interval]  # accuracy above each front of rivals at equal similarity
    tuned_gaps: dict[str, Interval]  # after fine-tuning
    gain: Interval  # of ensembles, above that of held-out networks


class Verdict(NamedTuple):
    """One of VERDICTS, and why."""

    number: int
    reason: str

    @property
    def sentence(self) -> str:
        return f"{VERDICTS[self.number]}: {self.reason}"


def evidence_of(ours: Measured, held_out: Measured, rivals: dict[str, list[Measured]], kind: str = "samples") -> Evidence:
    """What the rule needs; `rivals` are sets by their kind, the judged one among them if it is a rival.

    Networks from scratch stand for training itself: they are compared with rivals before these are trained, not after.
    """
    return Evidence(
        data_copying(ours.distance, held_out.distance),
        copying_interval(ours, held_out),
        matched_similarity(ours, held_out, PERCENTILE),
        matched_similarity(ours, held_out, 0.5),
        gaps(ours, rivals),
        gaps(ours, rivals, tuned=True) if kind != "scratch" else {},
        gain_interval(ours, held_out),
    )


def verdict_of(evidence: Evidence) -> Verdict:
    """The rule.

    copy: nearer to train networks than held-out ones in all but COPIES_BELOW of pairs, and mistakes more alike than those of
    PERCENTILE of held-out networks of equal accuracy. Perturbation or interpolation: no copy, and not shown to be above the
    front of a trivial rival, at epoch 0 or after fine-tuning. Generalizing: above all of them, as far as held-out networks
    (U / (m n) from NEW_FROM), mistakes not more alike, ensembles gain no less. Undecided: all else, and where an interval has
    both sides of a bound.
    """
    copy = _all(_below(evidence.u_share, COPIES_BELOW), _above(evidence.over_percentile, 0.0))
    if copy is not False:
        return Verdict(COPY if copy else UNDECIDED, f"{'' if copy else 'it may be a copy: '}{_told_copy(evidence)}")
    fronts = {f"{name} {when}": each for when, own in _moments(evidence) for name, each in own.items()}
    if not fronts:
        return Verdict(UNDECIDED, f"no copy, but no rival to compare with; {_told_distance(evidence)}")
    if unknown := [name for name, each in fronts.items() if not _finite(each)]:
        return Verdict(UNDECIDED, f"no copy, but too few runs to compare with {unknown[0]}")
    lowest = min(fronts, key=lambda name: fronts[name].low)
    told = f"{lowest}, at equal similarity: {_points(fronts[lowest])}"
    if fronts[lowest].low <= 0:
        return Verdict(PERTURBATION, f"no copy, but not above {told}; {_told_distance(evidence)}")
    conditions = {
        _told_distance(evidence): _above(evidence.u_share, NEW_FROM),
        f"mistakes above held-out runs' at matched accuracy by {_number(evidence.over_median)}": _at_most(evidence.over_median),
        f"ensemble gain above held-out runs' by {_points(evidence.gain)}": _at_least(evidence.gain),
    }
    if all(conditions.values()):
        return Verdict(GENERALIZING, "; ".join([f"above {told}", *conditions]))
    return Verdict(UNDECIDED, f"above {told}; but " + "; ".join(text for text, holds in conditions.items() if not holds))


def judge(ours: Measured, held_out: Measured, rivals: dict[str, list[Measured]], kind: str = "samples") -> Verdict:
    """The verdict on a set of networks of a kind, from what is measured of it, of held-out networks and of rivals by kind."""
    return verdict_of(evidence_of(ours, held_out, rivals, kind))


class Judged(NamedTuple):
    """Networks generated in one cell, their rivals, and held-out networks, as rows tell of them."""

    sets: dict[str, Measured]  # by cell, the generated ones first
    kinds: dict[str, str]  # of each cell
    held_out: Measured

    @property
    def by_kind(self) -> dict[str, list[Measured]]:
        found: dict[str, list[Measured]] = {}
        for cell, own in self.sets.items():
            found.setdefault(self.kinds[cell], []).append(own)
        return found

    def verdict(self, cell: str) -> Verdict:
        """The verdict on one of the sets."""
        return judge(self.sets[cell], self.held_out, self.by_kind, self.kinds[cell])


def judged_from(rows: pd.DataFrame, cell: str) -> Judged:
    """What is measured of a cell of generated networks and of its rivals, those of all seeds together.

    `rows` as `weightspace.table.read` gives them. What comes of one run in several seeds is resampled together.
    """
    rivals = rows[(rows["stage"] == "generation_rival") & (rows["of"] == cell)].drop_duplicates("cell")
    own = rows[rows["stage"] == "generation"]
    sets = {cell: _measured(own, cell)} | {rival: _measured(rows, rival) for rival in rivals["cell"]}
    kinds = {cell: "samples"} | dict(zip(rivals["cell"], rivals["kind"], strict=True))
    return Judged(sets, kinds, _measured(own, cell, "_held_out"))


def _measured(rows: pd.DataFrame, cell: str, of: str = "") -> Measured:
    own, values = rows[rows["cell"] == cell], {}
    for field, metric in MEASURED.items():
        found = own[own["metric"] == metric + of]
        values[field] = found.sort_values(["seed", "subject"], key=lambda keys: keys.astype(int))["value"].to_numpy()
    return Measured(**values)


def _moments(evidence: Evidence) -> list[tuple[str, dict[str, Interval]]]:
    return [("at epoch 0", evidence.gaps), ("after fine-tuning", evidence.tuned_gaps)]


def _all(*truths: bool | None) -> bool | None:
    """False if one is, True if all are, else None: not known."""
    return False if False in truths else None if None in truths else True


def _below(interval: Interval, bound: float) -> bool | None:
    return True if interval.high < bound else False if interval.low >= bound else None


def _above(interval: Interval, bound: float) -> bool | None:
    return True if interval.low > bound else False if interval.high <= bound else None


def _at_most(interval: Interval) -> bool:
    """Not shown to be above 0."""
    return _finite(interval) and interval.low <= 0


def _at_least(interval: Interval) -> bool:
    """Not shown to be below 0."""
    return _finite(interval) and interval.high >= 0


def _finite(interval: Interval) -> bool:
    return all(map(isfinite, interval[:3]))


def _told_copy(evidence: Evidence) -> str:
    return (
        f"{_told_distance(evidence)}; mistakes above the {PERCENTILE:.0%} quantile of held-out runs at matched accuracy by "
        f"{_number(evidence.over_percentile)}"
    )


def _told_distance(evidence: Evidence) -> str:
    z, floor = evidence.copying[1:]
    return f"U/(mn) {_number(evidence.u_share)}, Z_U {z:.1f} (at least {floor:.1f})"


def _number(interval: Interval) -> str:
    return f"{interval.mean:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


def _points(interval: Interval) -> str:
    mean, low, high = (100 * each for each in interval[:3])
    return f"{mean:+.1f} points [{low:.1f}, {high:.1f}]"
