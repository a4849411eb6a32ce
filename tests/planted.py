"""Planted students: wider networks that are a teacher's function exactly, built by hand."""

from typing import NamedTuple

import torch
from torch import Tensor
from weightspace.nets.activations import ACTIVATIONS
from weightspace.nets.forward import forward
from weightspace.nets.spec import build_spec
from weightspace.recovery.fit import Fit
from weightspace.recovery.layers import incoming, symmetry_of, trace, with_layers
from weightspace.recovery.problem import Problem
from weightspace.recovery.students import Students

SIGNED = {"odd": -1.0, "odd_constant": -1.0, "even_linear": 1.0}  # sign of the outgoing weights of a mirrored copy
KINDS = ("copies", "mirrored", "zero", "constant", "pairs", "scales")


class Units(NamedTuple):
    """One hidden layer: what goes into its units, what the next layer takes of them, and the next layer's biases."""

    rows: Tensor  # [unit, fan_in + 1]
    columns: Tensor  # [next unit, unit, block]
    bias: Tensor  # [next unit]

    def plus(self, rows, columns, shift=0.0):
        return Units(torch.cat([self.rows, rows]), torch.cat([self.columns, columns], 1), self.bias + shift)


def teacher_of(architecture, activation, shape, classes, generator):
    """A network in generic position, every unit of which bends and is heard."""
    spec = build_spec(architecture, activation, shape, classes)
    weights = torch.zeros(1, spec.num_weights, dtype=torch.float64)
    x = torch.randn(1, 200, *shape, generator=generator, dtype=torch.float64)
    for n, layer in enumerate(spec.layers):
        rows = torch.randn(1, layer.out, layer.row, generator=generator, dtype=torch.float64)
        rows[..., :-1] *= 1.5 / rows[..., :-1].norm(dim=2, keepdim=True)
        outputs = trace(spec, with_layers(spec, weights, {n: rows})[1], x)[n].outputs
        rows[..., -1] *= 1.4
        rows[..., -1] -= outputs.mean(1)
        spec, weights = with_layers(spec, weights, {n: rows})
    return spec, weights


def _mirrored(spec, layer, units, k, share, draw):
    """Part of a unit's say goes to its mirror image; constants and affine functions are made good."""
    symmetry = symmetry_of(spec, layer)
    row, column = units.rows[[k]], units.columns[:, [k]] * share
    units = units._replace(columns=units.columns.clone())
    units.columns[:, k] *= 1 - share
    sign = SIGNED[symmetry.symmetry]
    units = units.plus(-row, sign * column, symmetry.constant * column.sum((1, 2)))
    if symmetry.symmetry == "even_linear":  # add share a slope z, as two pairs whose sum is z
        half = draw(1, row.shape[1])
        halves = torch.cat([half, -half, row - half, half - row])
        units = units.plus(halves, torch.cat([column, -column] * 2, 1))
    return units


def _pairs(spec, layer, units, draw):
    """Mirrored pairs that add nothing, a constant, or affine functions of sum 0."""
    symmetry = symmetry_of(spec, layer)
    column = draw(len(units.bias), 1, units.columns.shape[2])
    row = draw(1, units.rows.shape[1])
    if symmetry.symmetry == "even_linear":
        other = draw(1, units.rows.shape[1])
        rows = torch.cat([part for u in (row, other, -row - other) for part in (u, -u)])
        return units.plus(rows, torch.cat([column, -column] * 3, 1))
    if symmetry.symmetry == "none":
        return units.plus(torch.cat([row, row]), torch.cat([column, -column], 1))
    return units.plus(torch.cat([row, -row]), torch.cat([column, column], 1), -symmetry.constant * column.sum((1, 2)))


def widened(spec, weights, layer, kinds, generator):
    """The network with more units in a hidden layer, of the given kinds, in another order."""

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    rows, above, num = incoming(spec, weights, layer)[0], incoming(spec, weights, layer + 1)[0], spec.layers[layer].out
    units = Units(rows, above[:, :-1].unflatten(1, (num, -1)), above[:, -1])
    function, fan_in, block = ACTIVATIONS[spec.activation].function, rows.shape[1], units.columns.shape[2]
    if "copies" in kinds:
        for k in torch.randperm(num, generator=generator)[: max(1, num // 2)].tolist():
            share = 0.3 + 0.4 * float(torch.rand(1, generator=generator))
            columns = units.columns.clone()
            columns[:, k] *= 1 - share
            units = Units(units.rows, columns, units.bias).plus(units.rows[[k]], units.columns[:, [k]] * share)
    if "mirrored" in kinds and symmetry_of(spec, layer).symmetry != "none":
        for k in torch.randperm(num, generator=generator)[: max(1, num // 2)].tolist():
            share = 1.0 if torch.rand(1, generator=generator) < 0.5 else 0.4
            units = _mirrored(spec, layer, units, k, share, draw)
    if "zero" in kinds:
        row, column = draw(1, fan_in), draw(len(units.bias), 1, block)
        units = units.plus(draw(2, fan_in), torch.zeros(len(units.bias), 2, block, dtype=torch.float64))
        units = units.plus(torch.cat([row, row]), torch.cat([column, -column], 1))
    if "constant" in kinds:
        row, column = draw(2, fan_in), draw(len(units.bias), 2, block)
        row[:, :-1] = 0.0
        units = units.plus(row, column, -(column.sum(2) @ function(row[:, -1])))
    if "pairs" in kinds:
        units = _pairs(spec, layer, units, draw)
    if "scales" in kinds and ACTIVATIONS[spec.activation].scaling:
        scale = 0.5 + torch.rand(len(units.rows), generator=generator, dtype=torch.float64)
        units = Units(units.rows * scale.unsqueeze(1), units.columns / scale.view(1, -1, 1), units.bias)
    order = torch.randperm(len(units.rows), generator=generator)
    above = torch.cat([units.columns[:, order].flatten(1), units.bias.unsqueeze(1)], 1)
    return with_layers(spec, weights, {layer: units.rows[order].unsqueeze(0), layer + 1: above.unsqueeze(0)})


def students_of(spec, teacher, kinds, num, generator):
    """Exact students of one width per layer."""
    stack = []
    for _ in range(num):
        wide, weights = spec, teacher
        for layer in range(len(spec.layers) - 1):
            wide, weights = widened(wide, weights, layer, kinds, generator)
        stack.append(weights)
    return wide, torch.cat(stack)


def imitated(spec, teacher, num_students, num_queries, generator):
    """Queries, a teacher's answers, and `num_students` models that all imitate it."""
    x = torch.randn(1, num_queries, *spec.image_shape, generator=generator, dtype=torch.float64)
    return Fit(x, forward(spec, teacher, x), torch.zeros(num_students, dtype=torch.long))


def as_students(weights):
    """Students that fit exactly."""
    return Students(weights, torch.full((len(weights),), 1e-28, dtype=torch.float64))


def as_problem(fit):
    """Students are validated on what they were fitted to."""
    return Problem(None, fit, fit)
