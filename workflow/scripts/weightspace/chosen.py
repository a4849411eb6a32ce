"""Which networks of a zoo a cell takes, as settings."""

from typing import Annotated

from pydantic import Field, NonNegativeInt

from weightspace.settings import Cell, CellName, Once


class ChosenNetworks(Cell):
    """Some models of a zoo, or all, at one epoch."""

    zoo: CellName = Field(description="cell of the section zoos")
    models: Annotated[list[NonNegativeInt], Once] | None = Field(None, min_length=1, description="indices in the zoo; null: all")
    epoch: NonNegativeInt | None = Field(None, description="of the zoo, whose weights are stored; null: the last of these")
