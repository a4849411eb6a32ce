"""Settings of rivals: what generated networks have to be compared with, at equal budget."""

from itertools import product
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from weightspace.settings import Cell, CellName, Once, Settings

RivalKind = Literal[
    "scratch", "anchors", "reconstructions", "noise", "equal_noise", "soup", "line", "gaussian", "pca_gaussian", "flow"
]  # fmt: skip
KINDS = (
    "scratch: untrained networks; anchors: as they are; reconstructions: decoded codes of anchors; noise: anchors under noise; "
    "equal_noise: as far from the anchors as their reconstructions are; soup: means of anchors; line: the best point between "
    "two anchors, by val images; gaussian: of each weight; pca_gaussian: in principal directions; flow: flow matching in "
    "these; null: the rival's name"
)
NoiseUnit = Literal["deviation", "one"]
UNITS = "of noise, what its size is a multiple of. deviation: of each parameter tensor's own deviation; one: the same everywhere"
Members = Annotated[int, Field(ge=2)]


class RivalConfig(Settings):
    """What generated networks are compared with; a list of numbers makes several."""

    kind: RivalKind | None = Field(None, description=KINDS)
    size: PositiveFloat | Annotated[list[PositiveFloat], Field(min_length=1), Once] | None = Field(
        None, description="of noise: its deviation, in its unit"
    )
    unit: NoiseUnit = Field("deviation", description=UNITS)
    members: Members | Annotated[list[Members], Field(min_length=1), Once] | None = Field(
        None, description="of soup: networks that are averaged"
    )
    aligned: bool = Field(True, description="of soup, line, gaussian, pca_gaussian, flow: units are first permuted alike")
    reset: bool = Field(True, description="of soup, where there are batch norms: their statistics are measured anew")


class RivalSettings(Cell):
    """One rival of a cell of generated networks, for any seed of it."""

    generation: CellName = Field(description="cell of the section generations")
    kind: RivalKind = Field(description="as in its table of rivals")
    num: PositiveInt = Field(description="networks, as many as are generated")
    size: PositiveFloat | None = Field(None, description="as there")
    unit: NoiseUnit = Field("deviation", description="as there")
    members: Members | None = Field(None, description="as there")
    aligned: bool = Field(True, description="as there")
    reset: bool = Field(True, description="as there")

    @model_validator(mode="after")
    def _has_its_number(self) -> "RivalSettings":
        if (self.size is not None) != (self.kind == "noise") or (self.members is not None) != (self.kind == "soup"):
            raise ValueError("noise needs size, soup needs members, and neither is for another kind")
        return self


def named_rivals(rivals: dict[str, RivalConfig], generation: str, num: int) -> dict[str, RivalSettings]:
    """Rivals by name, one for each number where there are several: `soup_16`, `noise_0_02`, `scratch`."""
    made = {}
    for name, rival in rivals.items():
        for size, members in product(_listed(rival.size), _listed(rival.members)):
            number = f"_{size:g}".replace(".", "_") if size else f"_{members}" if members else ""
            if name + number in made:
                raise ValueError(f"rivals: two have the name {name + number!r}")
            rest = rival.model_dump(include={"unit", "aligned", "reset"})
            made[name + number] = RivalSettings(
                generation=generation, kind=rival.kind or name, num=num, size=size, members=members, **rest
            )
    return made


def _listed(value: object) -> list:
    return value if isinstance(value, list) else [value]
