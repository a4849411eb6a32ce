"""Networks longer than an autoencoder's sequences: windows that overlap by a halo, computed one by one and joined again."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightspace.autoencoder.model import Autoencoder
from weightspace.autoencoder.settings import AutoencoderSettings

Run = Callable[[Tensor, Tensor], Tensor]  # of tokens and their positions, something for each token


class Window(NamedTuple):
    """Successive tokens that are computed together, and those of them whose result is kept; ends are not included."""

    start: int
    end: int
    first: int  # kept
    last: int


def windows(num_tokens: int, size: int | None = None, halo: int = 0) -> list[Window]:
    """Windows whose kept tokens are all tokens in order (SANE, section 2, haloing); one window where `size` is None.

    Each kept token has at least `halo` others on either side in its window, but for where the sequence itself ends: there the
    window moves inside, so that all windows are of `size` tokens, or of all where there are fewer. So every length works.
    """
    if size is None or size >= num_tokens:
        return [Window(0, num_tokens, 0, num_tokens)]
    step, latest = size - 2 * halo, num_tokens - size
    starts = {first: min(max(0, first - halo), latest) for first in range(0, num_tokens, step)}
    return [Window(start, start + size, first, min(first + step, num_tokens)) for first, start in starts.items()]


def windows_of(config: AutoencoderSettings, num_tokens: int) -> list[Window]:
    """Windows in which an autoencoder encodes and decodes whole networks."""
    return windows(num_tokens, config.window, config.halo)


def joined(
    run: Run, tokens: Float[Tensor, "model token _"], positions: Int[Tensor, "token 3"], parts: list[Window]
) -> Float[Tensor, "model token _"]:
    """What `run` makes of whole sequences: of each window, the part that is kept."""
    results = [run(tokens[:, part.start : part.end], positions[part.start : part.end]) for part in parts]
    kept = [each[:, part.first - part.start : part.last - part.start] for each, part in zip(results, parts, strict=True)]
    return torch.cat(kept, dim=1)


def embed(
    model: Autoencoder, tokens: Float[Tensor, "model token feature"], positions: Int[Tensor, "token 3"], parts: list[Window]
) -> Float[Tensor, "model embedding"]:
    """One vector per model: the mean of its tokens' embeddings."""
    return joined(model.encode, tokens, positions, parts).mean(dim=1)
