"""How much of a network plain compression keeps."""

from typing import Annotated, Literal

from pydantic import Field

Bits = Literal[8, 6, 4, 3, 2]  # of a weight
KeptShare = Annotated[float, Field(gt=0, le=1)]  # of weights, or of singular values
