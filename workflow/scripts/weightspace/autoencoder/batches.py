"""What an autoencoder sees in one step: which zoo's turn it is, which checkpoints, in which views, from which token on."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from weightspace.autoencoder.problem import AutoencoderData
from weightspace.autoencoder.settings import VIEWS
from weightspace.nets.symmetry import permutation_map, permuted, sample_permutations
from weightspace.rng import generator_for


class Turn(NamedTuple):
    """Whose step it is."""

    zoo: int  # its place
    step: int  # of that zoo's own steps


def turn(data: list[AutoencoderData], step: int, seed: int) -> Turn:
    """The zoo of a step: in each round, in shuffled order, as many times as it has whole batches of checkpoints, or once."""
    batches = torch.tensor([max(1, len(each.weights) // each.config.batch_size) for each in data])
    done, place = divmod(step, int(batches.sum()))
    generator = generator_for("autoencoder", "turns", seed, done)
    order = torch.arange(len(data)).repeat_interleave(batches)[torch.randperm(int(batches.sum()), generator=generator)]
    zoo = int(order[place])
    return Turn(zoo, done * int(batches[zoo]) + int((order[:place] == zoo).sum()))


def draw_batch(data: AutoencoderData, step: int, seed: int, generator: Generator) -> Int[Tensor, " model"]:
    """Checkpoints of a step: drawn anew, or the next ones of an epoch's order."""
    num, size = len(data.weights), data.config.batch_size
    if data.config.batches == "independent":
        return torch.randint(num, (size,), generator=generator).to(data.weights.device)
    epoch, place = divmod(step, num // size)
    order = torch.randperm(num, generator=generator_for("autoencoder", "epoch", seed, epoch))
    return order[place * size : (place + 1) * size].to(data.weights.device)


class Sequences(NamedTuple):
    """Tokens of a batch, and what is known of them; positions and mask are those of all, or of each."""

    tokens: Float[Tensor, "model token feature"]
    positions: Int[Tensor, "*model token 3"]
    mask: Bool[Tensor, "*model token feature"]  # True where a token holds a weight

    def first(self, num: int) -> "Sequences":
        """The first so many of them."""
        return Sequences(self.tokens[:num], *(each[:num] if each.dim() == 3 else each for each in self[1:]))


class View(NamedTuple):
    """How a step sees the checkpoints of its batch: as they are, if there are neither permutations nor maps."""

    permuted: bool
    permutations: list[Int[Tensor, "model _unit"]] | None = None  # fresh ones, of each level
    maps: Int[Tensor, "model weight"] | None = None  # stored ones, as index maps


def draw_views(data: AutoencoderData, batch: Int[Tensor, " model"], generator: Generator) -> list[View]:
    """The views of a batch; of stored ones two different slots, the same for all its checkpoints."""
    kinds = VIEWS[data.config.views]
    if data.stored is None:
        return [draw_view(data, len(batch), kind, generator) for kind in kinds]
    slots = torch.randperm(data.stored.slots.shape[1], generator=generator)[: len(kinds)].tolist()
    return [View(slot > 0, maps=data.stored.maps[data.stored.slots[batch.cpu(), slot]].to(batch.device)) for slot in slots]


def draw_view(data: AutoencoderData, num: int, kind: str, generator: Generator) -> View:
    """Checkpoints as they are (`original`), or each of `num` under its own random permutation (`permuted`)."""
    if kind == "original":
        return View(False)
    return View(True, sample_permutations(data.codec.spec, num, generator))


def weights_of(data: AutoencoderData, batch: Int[Tensor, " model"], view: View) -> Float[Tensor, "model weight"]:
    """Whole networks of a view."""
    weights, maps = data.weights[batch], view.maps
    if view.permutations is not None:
        maps = permutation_map(data.codec.spec, view.permutations).to(weights.device)
    return weights if maps is None else weights.gather(1, maps)


def draw_starts(data: AutoencoderData, generator: Generator) -> Int[Tensor, " model"] | None:
    """Where the window of each network of a batch starts; None where windows hold whole networks."""
    config, num_tokens = data.config, len(data.codec.layout.index)
    if config.window is None or config.window >= num_tokens:
        return None
    num = config.batch_size if config.window_start == "network" else 1
    starts = torch.randint(num_tokens - config.window + 1, (num,), generator=generator)
    return starts.expand(config.batch_size).to(data.weights.device)


def view_sequences(
    data: AutoencoderData, batch: Int[Tensor, " model"], view: View, starts: Int[Tensor, " model"] | None = None
) -> Sequences:
    """Tokens of a view, or a window of them; where the settings say so, padding is the original's first weight."""
    layout = data.codec.layout
    if starts is None:
        sequences = Sequences(data.codec.to_tokens(weights_of(data, batch, view)), layout.positions, layout.mask)
    else:
        chosen = starts.unsqueeze(1) + torch.arange(data.config.window, device=starts.device)
        index, inside = layout.index[chosen], layout.mask[chosen]
        sequences = Sequences(_entries(data, batch, view, index, inside), layout.positions[chosen], inside)
    if not view.permuted or data.config.permuted_padding == "zeros":
        return sequences
    mean, deviation = (each[0] for each in data.codec.scale)
    first = (data.weights[batch, 0] - mean) / deviation
    return sequences._replace(tokens=sequences.tokens.where(sequences.mask, first.view(-1, 1, 1)))


def _entries(
    data: AutoencoderData,
    batch: Int[Tensor, " model"],
    view: View,
    index: Int[Tensor, "model token feature"],
    inside: Bool[Tensor, "model token feature"],
) -> Float[Tensor, "model token feature"]:
    """Scaled numbers at these places of a view's flat weights, 0 in padding: no more of a network is touched than these."""
    index = index.clamp(max=data.codec.spec.num_weights - 1)
    source = index
    if view.permutations is not None:
        source = permuted(data.codec.spec, view.permutations, index)
    elif view.maps is not None:
        source = view.maps.gather(1, index.flatten(1)).view_as(index)
    scale = data.codec.scale
    values = (data.weights[batch.view(-1, 1, 1), source] - scale.mean[index]) / scale.std[index]
    return values.where(inside, 0)


def all_views(views: list[Sequences]) -> Sequences:
    """One view of the whole batch after the other."""
    tokens = torch.cat([view.tokens for view in views])
    if views[0].positions.dim() == 2:
        return views[0]._replace(tokens=tokens)
    return Sequences(tokens, *(torch.cat(each) for each in list(zip(*views, strict=True))[1:]))


def noised(
    tokens: Float[Tensor, "model token feature"], deviation: float, generator: Generator
) -> Float[Tensor, "model token feature"]:
    """Entries times 1 + deviation x normal noise (SANE, 3.3)."""
    if not deviation:
        return tokens
    return tokens * (1 + deviation * torch.randn(tokens.shape, generator=generator).to(tokens))
