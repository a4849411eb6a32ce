"""Train one autoencoder over the checkpoints of a zoo, or of several."""

from math import inf, isfinite, nan
from statistics import fmean
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightspace.autoencoder.batches import (
    all_views,
    draw_batch,
    draw_starts,
    draw_views,
    noised,
    turn,
    view_sequences,
)
from weightspace.autoencoder.losses import LOSSES, UNSCALED, Step, losses_of, total_loss
from weightspace.autoencoder.model import Autoencoder, as_measured, parameter_groups, start_at_principal_directions
from weightspace.autoencoder.problem import AutoencoderData
from weightspace.autoencoder.schedule import learning_rate, momentum
from weightspace.autoencoder.settings import AutoencoderSettings
from weightspace.errors import InputError
from weightspace.progress import Progress
from weightspace.rng import generator_for
from weightspace.seeds import seed_for
from weightspace.store import TrainingState
from weightspace.table import Source

REPORTS = 50  # rows of each loss curve


def batch_losses(data: AutoencoderData, model: Autoencoder, step: int, seed: int) -> dict[str, Float[Tensor, ""]]:
    """Losses of one step by name: a batch of checkpoints in one or two views, one draw of queries for all of them."""
    config, device = data.config, data.weights.device
    generator = generator_for("autoencoder", seed, step)
    batch = draw_batch(data, step, seed, generator)
    query = torch.randperm(len(data.queries), generator=generator)[: config.num_queries].to(device)
    views, starts = draw_views(data, batch, generator), draw_starts(data, generator)
    if not config.contrast_weight and config.reconstruct == "first":
        views = views[:1]
    seen = all_views([view_sequences(data, batch, view, starts) for view in views])
    inputs = noised(seen.tokens, config.noise, generator)
    if config.noise_target == "noised":
        seen = seen._replace(tokens=inputs)
    if config.decoder_dropout:  # the same after a resume; dropout draws from nothing but torch's own generator
        torch.manual_seed(seed_for("dropout", seed, step))
    embeddings = model.encode(inputs, seen.positions)
    rebuilt = seen.first(config.batch_size if config.reconstruct == "first" else len(seen.tokens))
    decoded = model.decode(embeddings[: len(rebuilt.tokens)], rebuilt.positions)
    query = query[: data.targets.shape[1]]
    queries, targets = data.queries[query], data.targets[batch.unsqueeze(1), query]
    specs = data.specs and [data.specs[checkpoint] for checkpoint in batch.tolist()]
    return losses_of(Step(config, data.codec, model, embeddings, rebuilt, decoded, queries, targets, specs))


class Trained(NamedTuple):
    """A trained autoencoder with the scales of its losses and their curves, of each zoo."""

    model: Autoencoder
    loss_scales: list[dict[str, float]] | None  # first value of each loss, where the settings divide by it
    curves: Float[Tensor, "zoo report part"]  # the losses, in order, and their total: mean since the last report
    turns: Int[Tensor, "zoo report"]  # steps that these are means over
    steps: list[int]  # of the reports
    flat: "Flat | None" = None  # where the settings say until_flat


class Flat(NamedTuple):
    """How the loss of val networks went, and when it was flat."""

    losses: Float[Tensor, " look"]  # weighted as trained, mean over the zoos; not a number at looks that were not made
    at: Int[Tensor, ""]  # steps after which it was flat; -1 before

    @property
    def step(self) -> int | None:
        """When it was flat, if it was."""
        return None if int(self.at) < 0 else int(self.at)

    def look(self, data: list[AutoencoderData], model: Autoencoder, scales: list[dict] | None, step: int, seed: int) -> None:
        """After every so many steps, see what val networks' loss is, and whether that has flattened."""
        config = data[0].config
        rule, num = config.until_flat, step // config.until_flat.every
        if self.step is not None or (step % rule.every and step < rule.latest(config.steps)):
            return
        if step % rule.every == 0:
            self.losses[num - 1] = val_loss(data, model, scales, seed)
        if rule.is_flat(self.losses[:num].tolist()) or step >= rule.latest(config.steps):
            self.at.fill_(step)


@torch.no_grad()
def val_loss(data: list[AutoencoderData], model: Autoencoder, scales: list[dict] | None, seed: int) -> float:
    """Total loss of val networks, weighted as trained, mean over fixed batches and over zoos."""
    config, totals = data[0].config, []
    for place, each in enumerate(data):
        for batch in range(config.until_flat.batches):
            losses = batch_losses(each.val, model, batch, seed)
            totals.append(float(total_loss(losses, config, scales[place] if scales else None)))
    return fmean(totals)


def train_autoencoder(data: list[AutoencoderData], source: Source, state: TrainingState) -> Trained:
    """Train with AdamW for `config.steps`, each on one zoo; a killed run goes on from `state` with the same numbers.

    Raises InputError that names `source` where a loss or a parameter is not finite.
    """
    config, device, seed = data[0].config, data[0].weights.device, source.seed
    model = new_autoencoder(data, seed)
    optimizer = torch.optim.AdamW(parameter_groups(model, config.weight_decay), fused=True)
    scales = _first_losses(data, seed) if config.loss_scale == "first_batch" else None
    every = max(1, config.steps // REPORTS)
    curves = torch.zeros(len(data), -(-config.steps // every), len(LOSSES) + 1, device=device)
    turns = torch.zeros(curves.shape[:2], dtype=torch.long)
    looks = config.steps // config.until_flat.every if config.until_flat else 0
    flat = Flat(torch.full((looks,), nan, dtype=torch.float64), torch.tensor(-1))
    kept = {"curves": curves, "turns": turns} | (flat._asdict() if config.until_flat else {})
    step = _restore(state.load(), model, optimizer, kept)
    progress = Progress("step", config.steps, step)
    while step < _last_step(config, flat):
        own, report = turn(data, step, seed), step // every
        losses = batch_losses(data[own.zoo], model, own.step, seed)
        total = total_loss(losses, config, scales[own.zoo] if scales else None)
        for group in optimizer.param_groups:
            group["lr"], group["betas"] = learning_rate(config, step, flat.step), (momentum(config, step), 0.999)
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm or inf)
        optimizer.step()
        curves[own.zoo, report] += torch.stack([*losses.values(), total]).detach() / every
        turns[own.zoo, report] += 1
        step += 1
        if config.until_flat:
            flat.look(data, model, scales, step, seed)
        if step % every == 0 or step == _last_step(config, flat):
            _check_finite([curves[:, report], *model.parameters()], source, step - 1)
        progress.update(step)
        state.save_if_due(lambda: _snapshot(model, optimizer, kept), step=step)
    full = config.steps // every
    means = curves[:, :full].cpu() * (every / turns[:, :full, None].clamp(min=1))
    reports = [every * (n + 1) for n in range(full)]
    return Trained(model, scales, means, turns[:, :full], reports, flat if config.until_flat else None)


def _last_step(config: AutoencoderSettings, flat: Flat) -> int:
    """Steps in all, as far as is known."""
    return config.steps if flat.step is None else min(config.steps, config.until_flat.end(flat.step))


def new_autoencoder(data: list[AutoencoderData], seed: int) -> Autoencoder:
    """An autoencoder before its first step."""
    generator = generator_for("autoencoder", "init", seed)
    model = Autoencoder(data[0].config, [each.codec.layout for each in data], generator).to(data[0].weights.device)
    if data[0].config.linear_code:
        start_at_principal_directions(model, data[0].codec.to_tokens(data[0].weights))
    return model


def _check_finite(tensors: list[Tensor], source: Source, step: int) -> None:
    """Raises InputError if the losses since the last report, or the parameters that they left, are not finite at a step.

    The published code (Structure Is Not Enough, 727c3a9) goes on: with `l2` it counts probabilities that are not finite as 0,
    with `distillation` it drops the network from the loss, and its gradient is not finite either way.
    """
    if not all(bool(tensor.isfinite().all()) for tensor in tensors):
        told = f"a loss or a weight is not finite by step {step}; lower the learning_rate or raise the temperature"
        raise InputError(f"{source.stage} {source.cell!r}, seed {source.seed} diverged: {told}")


@torch.no_grad()
def _first_losses(data: list[AutoencoderData], seed: int) -> list[dict[str, float]]:
    """Losses before the first step by which later ones of each zoo are divided, without dropout."""
    data = [each._replace(config=as_measured(each.config)) for each in data]
    model = new_autoencoder(data, seed)
    first = [batch_losses(each, model, 0, seed) for each in data]
    return [{name: float(loss) for name, loss in losses.items() if name not in UNSCALED} for losses in first]


def _snapshot(model: Autoencoder, optimizer: torch.optim.Optimizer, kept: dict[str, Tensor]) -> dict[str, Tensor]:
    """All tensors that training goes on from, by name; `kept` are those of neither model nor optimizer."""
    moments = optimizer.state_dict()["state"]
    return (
        {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
        | {f"optimizer.{n}.{name}": tensor for n, entry in moments.items() for name, tensor in entry.items()}
        | kept
    )


def _restore(
    saved: tuple[dict, dict] | None, model: Autoencoder, optimizer: torch.optim.Optimizer, kept: dict[str, Tensor]
) -> int:
    """Put a snapshot back in place; returns the number of steps that it is from."""
    if saved is None:
        return 0
    tensors, place = saved
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "optimizer":
            number, _, entry = rest.partition(".")
            moments.setdefault(int(number), {})[entry] = tensor
    model.load_state_dict({name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")})
    optimizer.load_state_dict(optimizer.state_dict() | {"state": moments})
    for name, tensor in kept.items():
        tensor.copy_(tensors[name])
    return place["step"]


def loss_metrics(source: Source, trained: Trained, config: AutoencoderSettings) -> list[dict]:
    """Rows of the loss curves of each zoo; of a loss outside the scaled total only where it has a weight."""
    names = [*LOSSES, "total"]
    unused = [name for name in UNSCALED if not config.loss_weights[name]]
    rows = []
    for cell, curves, turns in zip(config.cells(source.cell).values(), trained.curves, trained.turns, strict=True):
        own = source._replace(cell=cell)
        rows += [
            own.row(f"loss_{name}", value, split="train", at=step)
            for step, values, num in zip(trained.steps, curves.tolist(), turns.tolist(), strict=True)
            for name, value in zip(names, values, strict=True)
            if num and name not in unused
        ]
        rows += _rows_of_flat(own, trained.flat, config) if trained.flat else []
    return rows


def _rows_of_flat(source: Source, flat: Flat, config: AutoencoderSettings) -> list[dict]:
    """Steps that were done, whether they were enough, and the losses of val networks by which that was judged."""
    rule, losses = config.until_flat, [loss for loss in flat.losses.tolist() if isfinite(loss)]
    said = {"training_steps": _last_step(config, flat), "flattened": rule.is_flat(losses)}
    rows = [source.row(name, float(value), split="train") for name, value in said.items()]
    return rows + [source.row("loss_val", loss, split="val", at=rule.every * (n + 1)) for n, loss in enumerate(losses)]
