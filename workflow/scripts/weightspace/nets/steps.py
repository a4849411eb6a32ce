"""What a step of a network is, as data: its numbers, its shapes, how its units are told, what it is run with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


Step = tuple[str, dict[str, Any]]  # kind and sizes of a layer


class Level(NamedTuple):
    """A factor of an index that permutations move: index = (group, unit within it), say, has two.

    `word` names what moves it: "in" stands for the levels of the incoming units, "" for what stays where it is, any other for
    a permutation of this layer's own. Levels of one word move together.
    """

    word: str
    size: int = 0  # of "in": as many as come in


IN = (Level("in"),)


class Parameter(NamedTuple):
    """Numbers of one name."""

    name: str  # with its layer's, such as conv1.weight; in an entry its own alone
    shape: tuple[int, ...]
    units: tuple[Level, ...]  # of its flat index
    start: str | float  # "init" or "bias", which are drawn, or the number itself
    learned: bool = True  # not measured
    beside: bool = False  # its numbers stand in the rows of the parameter before it, one row per entry of the first axis


class Weights(NamedTuple):
    """Shape of one layer's weights, and where they lie in the flat vector: weights first, then biases."""

    name: str
    out: int
    fan_in: tuple[int, ...]  # (in,) or (in / groups, height, width)
    offset: int
    has_bias: bool = True

    @property
    def weight_shape(self) -> tuple[int, ...]:
        return (self.out, *self.fan_in)

    @property
    def row(self) -> int:
        """Numbers of one unit: incoming weights and bias."""
        return prod(self.fan_in) + self.has_bias

    @property
    def size(self) -> int:
        return self.out * self.row

    @property
    def slides(self) -> bool:
        """Whether it is a convolution's."""
        return len(self.fan_in) > 1


class Place(NamedTuple):
    """Where a layer stands."""

    text: str  # the layer as written
    shape: tuple[int, ...]  # of what goes in: (channel, height, width), (feature, position) or (feature,)
    kept: tuple[tuple[int, ...], ...]  # shapes that branches remember
    shifted: bool  # a batch norm follows: a bias would do nothing


class Made(NamedTuple):
    """A layer at its place."""

    shape: tuple[int, ...]  # of what it puts out
    parameters: tuple[Parameter, ...] = ()
    takes: tuple[Level, ...] = IN  # how the incoming units are divided
    gives: tuple[Level, ...] = IN  # the units that it puts out
    mapped: bool = False  # puts out a feature map: a convolution with its batch norm, or a sum; nothing of a shortcut


class Op(NamedTuple):
    """One step of the forward pass."""

    kind: str  # of LAYERS
    place: int  # among the steps
    sizes: dict[str, Any]  # as written, by the words of the notation
    inside: tuple[int, ...]  # shape of what goes in
    made: Made
    weights: Weights | None  # of layers whose units have incoming weights: conv and linear


class Training(NamedTuple):
    """What layers do in training alone."""

    statistics: dict[str, Tensor] | None = None  # batch norms use the batch's and leave them here
    seeds: Sequence[int] | None = None  # of each model's dropout
    step: tuple[int, ...] = ()  # number of the step, so that a resumed training draws the same


class Run(NamedTuple):
    """What a forward pass is asked for."""

    activation: Callable[[Tensor], Tensor]
    training: Training


class Printed(NamedTuple):
    """A step in plain torch, as text."""

    module: str = ""  # what makes its torch.nn module; empty if it needs none
    call: str = "{layer}({x})"  # what comes out, of what goes in and the module


class Layer(NamedTuple):
    """An entry.

    Images of a stack run as [batch, model * channel, h, w], sequences as [model, batch, position, feature], vectors as
    [model or 1, batch, feature].
    """

    notation: str  # words of sizes, with what they are where they are left out; empty if users cannot write it
    make: Callable[[Place, dict[str, Any]], Made]
    apply: Callable[[Op, Tensor, list[Tensor], Run], Tensor] | None = None  # None where there is a route
    ranks: tuple[int, ...] = (3,)  # of the shapes that it takes: 3 an image, 2 a sequence, 1 a vector
    names: tuple[str, str] = ("", "")  # of its parameters, and of those within a shortcut
    # What goes on, of what comes in, of all that branches remember (a list, changed in place), and of how two are joined.
    # The same way for tensors, shapes and units.
    route: Callable[[Any, list, Callable[[Any, Any], Any]], Any] | None = None
    before: Callable[[Place], list[Step]] = lambda place: []  # a shortcut
    plain: Callable[[dict[str, Any]], bool] = lambda sizes: False  # part of the chains that recovery reads
    maxima: bool = False  # takes maxima, so that signs of units cannot be turned
    shifts: bool = False  # shifts each channel, so that a layer directly before it has no bias
    printed: Callable[[Op], Printed] | None = None  # the same in plain torch; None where there is a route
