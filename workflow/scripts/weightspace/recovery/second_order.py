"""Levenberg-Marquardt for a stack of networks: each with its own damping, all in float64."""

from collections.abc import Iterator
from math import ceil
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from weightspace.nets.activations import ACTIVATIONS
from weightspace.nets.forward import forward
from weightspace.nets.spec import NetSpec
from weightspace.recovery.fit import Fit, query_chunks, squared_error
from weightspace.recovery.layers import Seen, incoming, see

JACOBIAN_BYTES = 2**28  # bytes of Jacobian at once
GIVE_UP = 1e9  # damping at which no step in sight lowers the error
TRIES = 8  # dampings tried per step
PATIENCE, SLOWEST_FALL = 25, 0.9  # a model rests whose error is not below SLOWEST_FALL times that of PATIENCE steps ago


class Damped(NamedTuple):
    """A stack under way; `error` is the mean squared error, `growth` the factor of the next rise of the damping."""

    weights: Float[Tensor, "model weight"]
    error: Float[Tensor, " model"]
    damping: Float[Tensor, " model"]
    growth: Float[Tensor, " model"]
    mark: Float[Tensor, " model"]  # the error at the last multiple of PATIENCE steps
    step: int


def start(spec: NetSpec, weights: Float[Tensor, "model weight"], fit: Fit) -> Damped:
    """Before the first step."""
    weights = weights.double().clone()
    error = squared_error(spec, weights, fit)
    return Damped(weights, error, torch.full_like(error, 1e-2), torch.full_like(error, 2.0), torch.full_like(error, torch.inf), 0)


def rows_for(fit: Fit, num_weights: int, rows_per_weight: float, least: int = 50) -> Fit:
    """As many of the first queries as give `rows_per_weight` equations per weight, and at least `least` queries."""
    return fit.first(max(least, ceil(rows_per_weight * num_weights / fit.y.shape[2])))


def levenberg_marquardt(
    spec: NetSpec, weights: Float[Tensor, "model weight"], fit: Fit, steps: int, tolerance: float, first: int = 0
) -> Float[Tensor, "model weight"]:
    """Weights after `steps` steps, as `minimize_squares` takes them."""
    state = start(spec, weights, fit)
    for _ in minimize_squares(spec, state, fit, steps, tolerance, first):
        pass
    return state.weights


def minimize_squares(spec: NetSpec, state: Damped, fit: Fit, steps: int, tolerance: float, first: int = 0) -> Iterator[Damped]:
    """Yield the stack, changed in place, after each of `steps` steps; weights before index `first` stay as they are.

    A model rests when its error is at most `tolerance`, hardly falls any more, or no damping lowers it. Levenberg 1944,
    Marquardt 1963, with Nielsen's damping (1999): lambda times the mean diagonal of J'J.
    """
    for _ in range(state.step, steps):
        if state.step % PATIENCE == 0:
            state.damping[state.error > SLOWEST_FALL * state.mark] = GIVE_UP
            state.mark.copy_(state.error)
        active = ((state.error > tolerance) & (state.damping < GIVE_UP)).nonzero().flatten()
        if not len(active):
            return
        rows = fit.y.shape[1] * fit.y.shape[2] * 8 * (state.weights.shape[1] - first)
        for models in active.split(max(1, JACOBIAN_BYTES // rows)):
            _step(spec, state, fit.of(models), models, first)
        state = state._replace(step=state.step + 1)
        yield state


def _step(spec: NetSpec, state: Damped, fit: Fit, models: Tensor, first: int) -> None:
    """One accepted step of some models, or none after TRIES dampings; the state changes in place."""
    matrix, gradient = normal_equations(spec, state.weights[models], fit, first)
    scale = matrix.diagonal(dim1=1, dim2=2).mean(1)
    left = torch.arange(len(models), device=models.device)
    for _ in range(TRIES):
        chosen = models[left]
        damping = (state.damping[chosen] * scale[left]).clamp_min(1e-300)
        damped = matrix[left]
        damped.diagonal(dim1=1, dim2=2).add_(damping.unsqueeze(1))
        factor, failed = torch.linalg.cholesky_ex(damped)
        move = -torch.cholesky_solve(gradient[left].unsqueeze(2), factor).squeeze(2)
        moved = state.weights[chosen]
        moved[:, first:] += move
        error = squared_error(spec, moved, fit.of(left))
        better = (error < state.error[chosen]) & (failed == 0)
        foreseen = damping * move.square().sum(1) - (gradient[left] * move).sum(1)
        gain = (state.error[chosen] - error) / foreseen.clamp_min(1e-300)
        fall = (1 - (2 * gain - 1) ** 3).clamp_min(1 / 3)
        state.weights[chosen[better]], state.error[chosen[better]] = moved[better], error[better]
        state.damping[chosen] *= torch.where(better, fall, state.growth[chosen])
        state.damping[chosen] = state.damping[chosen].clamp_min(1e-16)
        state.growth[chosen] = torch.where(better, 2.0, 2 * state.growth[chosen])
        left = left[~better & (state.damping[chosen] < GIVE_UP)]
        if not len(left):
            return


def normal_equations(
    spec: NetSpec, weights: Float[Tensor, "model weight"], fit: Fit, first: int = 0
) -> tuple[Float[Tensor, "model free free"], Float[Tensor, "model free"]]:
    """J'J and J'r of the mean squared error, for the weights from index `first` on."""
    models, free = torch.arange(len(weights), device=weights.device), weights.shape[1] - first
    matrix, gradient = weights.new_zeros(len(weights), free, free), weights.new_zeros(len(weights), free)
    shallow = spec.one_hidden and first == 0
    add = _add_shallow if shallow else _add_general
    size = max(1, JACOBIAN_BYTES // (8 * len(weights) * weights.shape[1] * (1 if shallow else fit.y.shape[2])))
    for x, y in query_chunks(fit.inputs(models), fit.answers(models), size):
        add(spec, weights, x, y, matrix, gradient)
    count = fit.y.shape[1] * fit.y.shape[2]
    return matrix / count, gradient / count


def _add_general(spec: NetSpec, weights: Tensor, x: Tensor, y: Tensor, matrix: Tensor, gradient: Tensor) -> None:
    """Add what some queries give, from the Jacobian of every output."""
    outputs, jacobian = outputs_and_jacobian(spec, weights, x, weights.shape[1] - matrix.shape[1])
    jacobian = jacobian.flatten(1, 2)
    matrix.baddbmm_(jacobian.mT, jacobian)
    gradient += (jacobian.mT @ (outputs - y).flatten(1).unsqueeze(2)).squeeze(2)


def _add_shallow(spec: NetSpec, weights: Tensor, x: Tensor, y: Tensor, matrix: Tensor, gradient: Tensor) -> None:
    """The same for one hidden layer, without a row per output.

    Of unit u with slope s_u, the derivative of output o is a_ou s_u [x, 1], so summed over outputs two units share
    (a'a)_uv s_u s_v [x, 1][x, 1]': products of queries alone, times a small matrix.
    """
    hidden, above = spec.layers
    inputs, count = x.flatten(2), hidden.out
    first, last = incoming(spec, weights, 0), incoming(spec, weights, 1)
    z = (inputs @ first[..., :-1].mT + first[..., -1].unsqueeze(1)).requires_grad_()
    h = ACTIVATIONS[spec.activation].function(z)
    (slopes,) = torch.autograd.grad(h.sum(), z)
    h, a = h.detach(), last[..., :-1]
    residual = h @ a.mT + last[..., -1].unsqueeze(1) - y
    # Columns in the order of the flat weights: hidden weights, hidden biases, outgoing weights, output biases.
    tangent = torch.cat([(slopes.unsqueeze(3) * inputs.unsqueeze(2)).flatten(2), slopes], dim=2)
    unit = torch.arange(count, device=z.device)
    unit = torch.cat([unit.repeat_interleave(inputs.shape[2]), unit])
    outer = torch.cat([h, torch.ones_like(h[..., :1])], dim=2)
    lower = tangent.shape[2]
    gram = a.mT @ a
    matrix[:, :lower, :lower] += (tangent.mT @ tangent) * gram[:, unit][:, :, unit]
    gradient[:, :lower] += (tangent * (residual @ a)[:, :, unit]).sum(1)
    mixed, square, error = tangent.mT @ outer, outer.mT @ outer, residual.mT @ outer
    for o in range(above.out):
        own = [*range(lower + o * count, lower + (o + 1) * count), lower + above.out * count + o]
        own = torch.tensor(own, device=z.device)
        block = mixed * a[:, o, unit].unsqueeze(2)
        matrix[:, :lower, own] += block
        matrix[:, own, :lower] += block.mT
        matrix[:, own.unsqueeze(1), own] += square
        gradient[:, own] += error[:, o]


def outputs_and_jacobian(
    spec: NetSpec, weights: Float[Tensor, "model weight"], x: Float[Tensor, "set query channel height width"], first: int = 0
) -> tuple[Float[Tensor, "model query output"], Float[Tensor, "model query output free"]]:
    """Outputs and their derivatives by the weights from index `first` (a layer's offset) on.

    A layer's derivative is the outer product of the derivative by what it puts out and of what goes in, so one backward
    pass per output serves all queries and all models.
    """
    layers: list[tuple] = []
    outputs = forward(spec, weights.detach().requires_grad_(), x, lambda *seen: layers.append(seen))
    layers = [seen for seen in layers if seen[0].weights.offset >= first]
    columns = []
    for n in range(outputs.shape[2]):
        slopes = torch.autograd.grad(outputs[..., n].sum(), [seen[2] for seen in layers], retain_graph=True)
        with torch.no_grad():
            parts = [
                _by_weights(see(op, inputs, slope, len(weights)), x.shape[1])
                for (op, inputs, _), slope in zip(layers, slopes, strict=True)
            ]
            columns.append(torch.cat(parts, dim=2))
    return outputs.detach(), torch.stack(columns, dim=2)


def _by_weights(seen: Seen, num_queries: int) -> Float[Tensor, "model query weight"]:
    """Derivatives by one layer's weights, then biases: summed over the positions of a convolution's kernel."""
    if seen.outputs.shape[1] == num_queries:
        products = seen.outputs.unsqueeze(3) * seen.inputs.unsqueeze(2)
        return torch.cat([products.flatten(2), seen.outputs], dim=2)
    slopes, inputs = (rows.unflatten(1, (num_queries, -1)) for rows in (seen.outputs, seen.inputs))
    products = torch.einsum("mqpu,mqpi->mqui", slopes, inputs.expand(len(slopes), -1, -1, -1))
    return torch.cat([products.flatten(2), slopes.sum(2)], dim=2)
