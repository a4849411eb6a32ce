"""Published claims, and the verdict that the metrics table gives on each."""

from collections.abc import Mapping
from math import inf, isfinite
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal, NamedTuple

import pandas as pd
import pyarrow as pa
from pydantic import Field, field_validator, model_validator

from weightspace.errors import InputError
from weightspace.reading import read_yaml
from weightspace.report.intervals import Interval
from weightspace.report.power import spread_of, what_decides
from weightspace.report.registry import metric_named
from weightspace.report.select import Side, cells_named, interval_of, is_reading, paired_interval, paired_samples, sample_of
from weightspace.settings import CellName, Settings, checked

CellPattern = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_*]*$")]
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("paper", pa.string()),
        ("claim", pa.string()),
        ("published", pa.string()),
        ("source", pa.string()),  # where in the paper
        ("ours", pa.float64()),  # mean, or difference of means
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("n", pa.string()),
        ("kind", pa.string()),
        ("verdict", pa.string()),
        ("reading", pa.bool_()),  # too few models, teachers or seeds vary on one side
    ]
)


class Region(Settings):
    """Values for which a claim holds: exactly one of the three."""

    above: float | None = Field(None, description="greater than this")
    below: float | None = Field(None, description="less than this")
    within: tuple[float, float] | None = Field(None, description="from the first to the second, both included")

    @model_validator(mode="after")
    def _one_region(self) -> "Region":
        if len(self.model_fields_set) != 1:
            raise ValueError("give exactly one of above, below, within")
        if self.within and self.within[0] >= self.within[1]:
            raise ValueError("within must go from low to high")
        return self

    def contains(self, value: float) -> bool:
        if self.within:
            return self.within[0] <= value <= self.within[1]
        return value > self.above if self.above is not None else value < self.below

    def distance(self, value: float) -> float:
        """How far a value is from the nearest end of the region."""
        ends = self.within or (self.above if self.above is not None else self.below,)
        return min(abs(value - end) for end in ends)

    @property
    def point(self) -> float:
        """A value inside."""
        return self.within[0] if self.within else inf if self.above is not None else -inf


class Claim(Settings):
    """One sentence of a paper, and the measurement of ours that it is held against."""

    id: CellName
    paper: str
    claim: str = Field(description="one sentence")
    published: str | float = Field(description="the published value or values")
    source: str = Field(description="where in the paper")
    metric: str
    cell: CellPattern = Field(description="autoencoder, recovery or baseline; with * all that match, pooled")
    minus: CellPattern | None = Field(None, description="the same, whose mean is subtracted; null: the same one")
    minus_metric: str | None = Field(None, description="metric that is subtracted; null: the same one")
    at: int | None = Field(None, description="the metric's round, if it is of one")
    minus_at: int | None = Field(None, description="the same of what is subtracted")
    kind: Literal["number", "in kind"] = Field(description="in kind: an order or a gap, at other sizes than published")
    rule: Region

    @field_validator("metric", "minus_metric")
    @classmethod
    def _metric_exists(cls, name: str | None) -> str | None:
        try:
            metric_named(name or "diverged")
        except InputError as error:
            raise ValueError(str(error)) from None
        return name

    @property
    def side(self) -> Side:
        """What the claim is of."""
        return Side(self.cell, self.metric, self.at)

    @property
    def subtracted(self) -> Side | None:
        """What is subtracted from it, if anything is."""
        if not (self.minus or self.minus_metric):
            return None
        return Side(self.minus or self.cell, self.minus_metric or self.metric, self.minus_at)


class ClaimsFile(Settings):
    """config/claims.yaml"""

    claims: list[Claim]

    @model_validator(mode="after")
    def _ids_are_unique(self) -> "ClaimsFile":
        ids = [claim.id for claim in self.claims]
        if repeated := {name for name in ids if ids.count(name) > 1}:
            raise ValueError(f"id {min(repeated)} is there twice")
        return self


class Verdicts(NamedTuple):
    """Judged claims, ids of those whose cells the scenario lacks, and what would decide each open one that is no reading."""

    judged: pa.Table
    left_out: list[str]
    needed: Mapping[str, str] = MappingProxyType({})  # by ids


def read_claims(path: str | Path) -> list[Claim]:
    """Checked claims; raises InputError naming the file and each wrong key."""
    try:
        content = read_yaml(Path(path))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    return checked(ClaimsFile, content, str(path)).claims


def judge_claims(metrics: pd.DataFrame, claims: list[Claim]) -> Verdicts:
    """One row per claim whose cells are in the table; raises InputError if such a cell lacks the metric."""
    judged = [claim for claim in claims if all(cells_named(metrics, name) for name in {claim.cell, claim.minus or claim.cell})]
    rows = [_row(claim, _measure(metrics, claim), _is_reading(metrics, claim)) for claim in judged]
    left_open = [row["verdict"] == "inconclusive" and not row["reading"] for row in rows]
    needed = {claim.id: _needed(metrics, claim) for claim, is_open in zip(judged, left_open, strict=True) if is_open}
    return Verdicts(pa.Table.from_pylist(rows, schema=SCHEMA), [claim.id for claim in claims if claim not in judged], needed)


def verdict(interval: Interval, rule: Region) -> str:
    """Decided by the whole interval: inside the region, outside it, or neither.

    An interval that is not finite decides nothing, nor does one without width: nothing varied that could say how much may.
    """
    if not all(map(isfinite, interval[:3])) or interval.low == interval.high:
        return "inconclusive"
    low, high = rule.contains(interval.low), rule.contains(interval.high)
    if low and high:
        return "reproduced"
    overlaps = low or high or interval.low < rule.point < interval.high
    return "inconclusive" if overlaps else "not reproduced"


def _measure(metrics: pd.DataFrame, claim: Claim) -> Interval:
    return paired_interval(metrics, claim.side, claim.subtracted) if claim.subtracted else interval_of(metrics, *claim.side)


def _is_reading(metrics: pd.DataFrame, claim: Claim) -> bool:
    """Whether a side of the claim is a reading: its interval does not hold what another seed or teacher would change."""
    return any(is_reading(metrics, *side) for side in (claim.side, claim.subtracted) if side)


def _needed(metrics: pd.DataFrame, claim: Claim) -> str:
    """What would decide an open claim, if the mean stays what it is."""
    if claim.subtracted:
        samples = paired_samples(metrics, claim.side, claim.subtracted)
    else:
        samples = [sample_of(metrics, *claim.side)]
    spread = spread_of(*samples, same_seeds=claim.subtracted is not None and claim.subtracted.cells == claim.cell)
    distance = claim.rule.distance(_measure(metrics, claim).mean)
    return what_decides(distance, spread) if isfinite(distance) else "runs that are finite"


def _row(claim: Claim, interval: Interval, reading: bool) -> dict:
    published = claim.model_dump(include={"id", "paper", "claim", "source", "kind"})
    ours = {"ours": interval.mean, "low": interval.low, "high": interval.high, "n": interval.n}
    judged = {"verdict": "inconclusive" if reading else verdict(interval, claim.rule), "reading": reading}
    return {**published, "published": str(claim.published), **ours, **judged}
