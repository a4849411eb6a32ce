"""Train one autoencoder over the checkpoints of a zoo."""

from math import inf
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from weightspace.autoencoder.data import Checkpoints, query_pool
from weightspace.autoencoder.losses import LOSSES, UNSCALED, Step, losses_of, total_loss
from weightspace.autoencoder.model import Autoencoder, parameter_groups, start_at_principal_directions, without_dropout
from weightspace.autoencoder.schedule import learning_rate, momentum
from weightspace.autoencoder.settings import VIEWS, AutoencoderSettings
from weightspace.autoencoder.views import StoredPermutations, stored_permutations
from weightspace.ensemble import outputs
from weightspace.errors import InputError
from weightspace.images.tensors import ImageSet
from weightspace.nets.spec import NetSpec
from weightspace.nets.symmetry import permutation_map, sample_permutations
from weightspace.progress import Progress
from weightspace.rng import generator_for
from weightspace.seeds import seed_for
from weightspace.store import TrainingState
from weightspace.table import Source
from weightspace.tokens import Codec, make_codec

REPORTS = 50  # rows of each loss curve


class AutoencoderData(NamedTuple):
    """What an autoencoder is trained on, all on one device; constant over the steps."""

    config: AutoencoderSettings
    codec: Codec
    weights: Float[Tensor, "checkpoint weight"]
    queries: Float[Tensor, "query channel height width"]
    targets: Float[Tensor, "checkpoint query class"]  # the checkpoints' logits, of no query where behavior has no weight
    stored: StoredPermutations | None = None  # where the settings say views: stored


def autoencoder_data(config: AutoencoderSettings, spec: NetSpec, train: Checkpoints, images: ImageSet | None) -> AutoencoderData:
    """Measure the scale of the weights, draw the pool of queries from the training images, run every checkpoint on it once.

    Without images there is no query, which a loss without weight does not need.

    Raises InputError where a checkpoint answers a query with a number that is not finite, or where there are fewer checkpoints
    than in a batch that is to hold each once.
    """
    if config.batches == "epochs" and len(train.weights) < config.batch_size:
        told = f"batch_size {config.batch_size} is more than its {len(train.weights)} train checkpoints"
        raise InputError(f"zoo {config.zoo!r}: {told}, so batches: epochs has none")
    weights = train.weights
    queries = query_pool(config.query_pool, images) if images else weights.new_zeros(0, *spec.image_shape)
    targets = outputs(spec, weights, queries if config.behavior_weight else queries[:0])
    broken = (~targets.isfinite()).flatten(1).any(1)
    if broken.any():
        model, epoch = train.properties[["model", "epoch"]].iloc[int(broken.int().argmax())]
        told = f"model {model} at epoch {epoch} has outputs on the query images that are not finite"
        raise InputError(f"zoo {config.zoo!r}: {told}")
    codec = make_codec(spec, weights, config.token_size, config.standardize, deviation=config.scale_deviation)
    stored = stored_permutations(spec, config.stored_permutations, len(weights)) if config.views == "stored" else None
    return AutoencoderData(config, codec.to(weights.device), weights, queries, targets, stored)


def batch_losses(data: AutoencoderData, model: Autoencoder, step: int, seed: int) -> dict[str, Float[Tensor, ""]]:
    """Losses of one step by name: a batch of checkpoints in one or two views, one draw of queries for all of them."""
    config, device = data.config, data.weights.device
    generator = generator_for("autoencoder", seed, step)
    batch = draw_batch(data, step, seed, generator)
    query = torch.randperm(len(data.queries), generator=generator)[: config.num_queries].to(device)
    views = draw_views(data, batch, generator)
    if not config.contrast_weight and config.reconstruct == "first":
        views = views[:1]
    tokens = torch.cat([view_tokens(data, batch, view) for view in views])
    if config.decoder_dropout:  # the same after a resume; dropout draws from nothing but torch's own generator
        torch.manual_seed(seed_for("dropout", seed, step))
    embeddings = model.encode(tokens)
    rebuilt = slice(config.batch_size if config.reconstruct == "first" else len(tokens))
    decoded = model.decode(embeddings[rebuilt])
    query = query[: data.targets.shape[1]]
    queries, targets = data.queries[query], data.targets[batch.unsqueeze(1), query]
    return losses_of(Step(config, data.codec, model, embeddings, tokens[rebuilt], decoded, queries, targets))


def draw_batch(data: AutoencoderData, step: int, seed: int, generator: Generator) -> Int[Tensor, " model"]:
    """Checkpoints of a step: drawn anew, or the next ones of an epoch's order."""
    num, size = len(data.weights), data.config.batch_size
    if data.config.batches == "independent":
        return torch.randint(num, (size,), generator=generator).to(data.weights.device)
    epoch, place = divmod(step, num // size)
    order = torch.randperm(num, generator=generator_for("autoencoder", "epoch", seed, epoch))
    return order[place * size : (place + 1) * size].to(data.weights.device)


class View(NamedTuple):
    """Checkpoints of a batch as an autoencoder may see them."""

    weights: Float[Tensor, "model weight"]
    permuted: bool


def draw_views(data: AutoencoderData, batch: Int[Tensor, " model"], generator: Generator) -> list[View]:
    """The views of a batch; of stored ones two different slots, the same for all its checkpoints."""
    kinds = VIEWS[data.config.views]
    if data.stored is None:
        return [View(draw_view(data, batch, kind, generator), kind == "permuted") for kind in kinds]
    slots = torch.randperm(data.stored.slots.shape[1], generator=generator)[: len(kinds)].tolist()
    maps = [data.stored.maps[data.stored.slots[batch.cpu(), slot]].to(batch.device) for slot in slots]
    return [View(data.weights[batch].gather(1, each), slot > 0) for each, slot in zip(maps, slots, strict=True)]


def view_tokens(data: AutoencoderData, batch: Int[Tensor, " model"], view: View) -> Float[Tensor, "model token feature"]:
    """Tokens of a view; where the settings say so, what pads a permuted one is the first weight of the original."""
    tokens = data.codec.to_tokens(view.weights)
    if not view.permuted or data.config.permuted_padding == "zeros":
        return tokens
    first = data.codec.scale.apply(data.weights[batch])[:, 0]
    return tokens.where(data.codec.layout.mask, first.view(-1, 1, 1))


def draw_view(
    data: AutoencoderData, batch: Int[Tensor, " model"], kind: str, generator: Generator
) -> Float[Tensor, "model weight"]:
    """Checkpoints of a batch as they are (`original`), or each under its own random permutation (`permuted`)."""
    view = data.weights[batch]
    if kind == "original":
        return view
    maps = permutation_map(data.codec.spec, sample_permutations(data.codec.spec, len(batch), generator))
    return view.gather(1, maps.to(view.device))


class Trained(NamedTuple):
    """A trained autoencoder with the scale of its losses and their curves."""

    model: Autoencoder
    loss_scale: dict[str, float] | None  # first value of each loss, where the settings divide by it
    curves: Float[Tensor, "report part"]  # the losses, in order, and their total: mean since the last report
    steps: list[int]  # of the reports


def train_autoencoder(data: AutoencoderData, source: Source, state: TrainingState) -> Trained:
    """Train with AdamW for `config.steps`; a killed run goes on from `state` with the same numbers.

    Raises InputError that names `source` where a loss or a parameter is not finite.
    """
    config, device, seed = data.config, data.weights.device, source.seed
    model = _new_model(data, config, seed)
    optimizer = torch.optim.AdamW(parameter_groups(model, config.weight_decay), fused=True)
    scale = _first_losses(data, seed) if config.loss_scale == "first_batch" else None
    every = max(1, config.steps // REPORTS)
    curves = torch.zeros(-(-config.steps // every), len(LOSSES) + 1, device=device)
    start = _restore(state.load(), model, optimizer, curves)
    progress = Progress("step", config.steps, start)
    for step in range(start, config.steps):
        losses = batch_losses(data, model, step, seed)
        total = total_loss(losses, config, scale)
        for group in optimizer.param_groups:
            group["lr"], group["betas"] = learning_rate(config, step), (momentum(config, step), 0.999)
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm or inf)
        optimizer.step()
        curves[step // every] += torch.stack([*losses.values(), total]).detach() / every
        if (step + 1) % every == 0 or step + 1 == config.steps:
            _check_finite([curves[step // every], *model.parameters()], source, step)
        progress.update(step + 1)
        state.save_if_due(lambda: _snapshot(model, optimizer, curves), step=step + 1)
    full = config.steps // every
    return Trained(model, scale, curves[:full].cpu(), [every * (n + 1) for n in range(full)])


def _new_model(data: AutoencoderData, config: AutoencoderSettings, seed: int) -> Autoencoder:
    """The autoencoder before its first step."""
    model = Autoencoder(config, data.codec.layout, generator_for("autoencoder", "init", seed)).to(data.weights.device)
    if config.linear_code:
        start_at_principal_directions(model, data.codec.to_tokens(data.weights))
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
def _first_losses(data: AutoencoderData, seed: int) -> dict[str, float]:
    """Losses before the first step by which later ones are divided, without dropout."""
    config = without_dropout(data.config)
    model = _new_model(data, config, seed)
    losses = batch_losses(data._replace(config=config), model, 0, seed)
    return {name: float(loss) for name, loss in losses.items() if name not in UNSCALED}


def _snapshot(model: Autoencoder, optimizer: torch.optim.Optimizer, curves: Tensor) -> dict[str, Tensor]:
    """All tensors that training goes on from, by name."""
    moments = optimizer.state_dict()["state"]
    return (
        {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
        | {f"optimizer.{n}.{name}": tensor for n, entry in moments.items() for name, tensor in entry.items()}
        | {"curves": curves}
    )


def _restore(saved: tuple[dict, dict] | None, model: Autoencoder, optimizer: torch.optim.Optimizer, curves: Tensor) -> int:
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
    curves.copy_(tensors["curves"])
    return place["step"]


def loss_metrics(source: Source, trained: Trained, config: AutoencoderSettings) -> list[dict]:
    """Rows of the loss curves; of a loss outside the scaled total only where it has a weight."""
    names = [*LOSSES, "total"]
    unused = [name for name in UNSCALED if not config.loss_weights[name]]
    return [
        source.row(f"loss_{name}", value, split="train", at=step)
        for step, values in zip(trained.steps, trained.curves.tolist(), strict=True)
        for name, value in zip(names, values, strict=True)
        if name not in unused
    ]
