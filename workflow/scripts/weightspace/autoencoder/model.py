"""The transformer autoencoder over tokens (Meynent et al. 2025, section 2.2; SANE, section 3.1)."""

from collections.abc import Sequence
from math import sqrt

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from weightspace.autoencoder.settings import AutoencoderSettings
from weightspace.autoencoder.settings_within import Extent, PositionTables
from weightspace.errors import InputError
from weightspace.tokens import TokenLayout

ENCODING = ("tokenizer.", "encoder.", "compress.", "head.", "linear.analysis")  # parameters that decoding does not need


class Autoencoder(nn.Module):
    """Tokens to one embedding per token, and back; a head projects all embeddings of a sequence for the contrast.

    A sequence is a network's tokens, or a window of them, with their positions; only the head needs as many as in training.
    Encoder and decoder share the learned positions: sequence and layer in one half of the width, unit in the other.
    With `attention: tokens` a model attends over its own tokens; with `batch`, each token attends over the same token of
    the other models in the batch. The published code (Structure Is Not Enough, 727c3a9, def_AE.py) has two kinds of layers:
    torch's (`attention: batch`, `layers: post_norm`, `layer_init: copied`, `decoder_dropout: 0.1`, `feedforward: 2048`), and
    those of GPT-2, which SANE uses (`layers: gpt2`, `layer_init: gpt2`, `feedforward` 4 x width). Neither has a `final_norm`.

    Networks may be of several layouts, with tokens of one size. Raises InputError if `position_tables` have fewer rows than
    these have positions, or if the contrast would compare sequences of several lengths.
    """

    def __init__(self, config: AutoencoderSettings, layouts: Sequence[TokenLayout], generator: Generator) -> None:
        super().__init__()
        self.precision, token_size = config.precision, layouts[0].index.shape[1]
        extents = [Extent(*(layout.positions.amax(0) + 1).tolist()) for layout in layouts]
        needed = Extent(*map(max, zip(*extents, strict=True)))
        tables = config.position_tables or PositionTables(**needed._asdict())
        for name, problem in tables.too_small(needed).items():
            raise InputError(f"position_tables.{name}: {problem}")
        for problem in config.unlike_lengths(extents):
            raise InputError(f"window: {problem}")
        self.sequence, self.layer = (nn.Embedding(size, config.width // 2) for size in (tables.sequence, tables.layer))
        self.unit = nn.Embedding(tables.unit, config.width // 2)
        self.tokenizer = nn.Linear(token_size, config.width)
        self.encoder = _transformer(config)
        self.compress = nn.Linear(config.width, config.latent)
        self.expand = nn.Linear(config.latent, config.width)
        self.decoder = _transformer(config, config.decoder_dropout)
        self.detokenizer = nn.Linear(config.width, token_size)
        self.linear = LinearCode(layouts[0], config.latent) if config.linear_code else None
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(max(config.sequence_lengths(extents)) * config.latent, config.projection, bias=False),
            nn.LayerNorm(config.projection),
            nn.ReLU(),
            nn.Linear(config.projection, config.projection, bias=False),
            nn.LayerNorm(config.projection),
            nn.ReLU(),
        )
        _initialize(self, config, generator)

    def encode(
        self, tokens: Float[Tensor, "model token feature"], positions: Int[Tensor, "*model token 3"]
    ) -> Float[Tensor, "model token embedding"]:
        """Codes of tokens; `positions` are those of all sequences, or of each."""
        with self._precision(tokens):
            codes = self.compress(self.encoder(self.tokenizer(tokens) + self._position(positions)))
        return codes.to(tokens) if self.linear is None else codes.to(tokens) + self.linear.encode(tokens)

    def decode(
        self, embeddings: Float[Tensor, "model token embedding"], positions: Int[Tensor, "*model token 3"]
    ) -> Float[Tensor, "model token feature"]:
        """Tokens of codes."""
        with self._precision(embeddings):
            tokens = self.detokenizer(self.decoder(self.expand(embeddings) + self._position(positions)))
        return tokens.to(embeddings) if self.linear is None else tokens.to(embeddings) + self.linear.decode(embeddings)

    @property
    def decoder_size(self) -> int:
        """Numbers that decoding needs."""
        return sum(each.numel() for name, each in self.named_parameters() if not name.startswith(ENCODING))

    def _precision(self, given: Tensor) -> torch.autocast:
        return torch.autocast(given.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    def _position(self, positions: Int[Tensor, "*model token 3"]) -> Float[Tensor, "*model token width"]:
        sequence, layer, unit = positions.unbind(-1)
        return torch.cat([self.sequence(sequence) + self.layer(layer), self.unit(unit)], dim=-1)


NEGLIGIBLE = 1e-6  # of the largest singular value


class LinearCode(nn.Module):
    """A linear code of whole networks, of one layout: its numbers are spread over the tokens' codes as they come."""

    def __init__(self, layout: TokenLayout, latent: int) -> None:
        super().__init__()
        self.register_buffer("entries", layout.mask.flatten().nonzero().squeeze(1), persistent=False)
        self.shape, self.latent = layout.mask.shape, latent
        num_numbers = len(layout.mask) * latent
        self.center = nn.Parameter(torch.zeros(len(self.entries)))
        self.analysis = nn.Parameter(torch.zeros(num_numbers, len(self.entries)))
        self.synthesis = nn.Parameter(torch.zeros(len(self.entries), num_numbers))

    def encode(self, tokens: Float[Tensor, "model token feature"]) -> Float[Tensor, "model token embedding"]:
        numbers = (tokens.flatten(1)[:, self.entries] - self.center) @ self.analysis.T
        return numbers.unflatten(1, (-1, self.latent))

    def decode(self, embeddings: Float[Tensor, "model token embedding"]) -> Float[Tensor, "model token feature"]:
        entries = self.center + embeddings.flatten(1) @ self.synthesis.T
        return entries.new_zeros(len(entries), self.shape.numel()).index_copy(1, self.entries, entries).unflatten(1, self.shape)

    @torch.no_grad()
    def fit(self, tokens: Float[Tensor, "checkpoint token feature"]) -> None:
        """Take the mean and the principal directions of some networks; numbers for which there is no direction left are 0."""
        entries = tokens.flatten(1)[:, self.entries]
        self.center.copy_(entries.mean(0))
        _, singular, directions = torch.linalg.svd((entries - self.center).double(), full_matrices=False)
        basis = directions[: len(self.analysis)][singular[: len(self.analysis)] > singular[0] * NEGLIGIBLE].to(entries)
        for matrix in (self.analysis, self.synthesis.T):
            matrix.zero_()[: len(basis)] = basis


@torch.no_grad()
def start_at_principal_directions(model: Autoencoder, tokens: Float[Tensor, "checkpoint token feature"]) -> None:
    """Start as the best linear code of some networks, with the transformer's own part of code and tokens at 0."""
    model.linear.fit(tokens)
    for layer in (model.compress, model.detokenizer):
        nn.init.zeros_(layer.weight)


def _transformer(config: AutoencoderSettings, dropout: float = 0.0) -> nn.TransformerEncoder:
    post_norm, biases = config.layers == "post_norm", config.layers != "gpt2"
    layer = nn.TransformerEncoderLayer(
        config.width,
        config.heads,
        config.feedforward,
        dropout=dropout,
        activation="relu" if post_norm else "gelu",
        norm_first=not post_norm,
        batch_first=config.attention == "tokens",
        bias=biases,
    )
    last = nn.LayerNorm(config.width, bias=biases) if config.final_norm else None
    return nn.TransformerEncoder(layer, config.depth, last, enable_nested_tensor=False)


@torch.no_grad()
def _initialize(model: Autoencoder, config: AutoencoderSettings, generator: Generator) -> None:
    """As published: matrices and tables N(0, 0.02), biases 0; attention's input and the layers' outputs by `layer_init`."""
    of_gpt2 = config.layer_init == "gpt2"
    for name, parameter in model.named_parameters():
        if name.endswith("in_proj_weight") and not of_gpt2:
            nn.init.xavier_uniform_(parameter, generator=generator)
        elif parameter.ndim > 1:
            is_output = of_gpt2 and name.endswith(("out_proj.weight", "linear2.weight"))
            nn.init.normal_(parameter, std=0.02 / sqrt(2 * config.depth) if is_output else 0.02, generator=generator)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
    if config.layer_init == "copied":  # as torch's TransformerEncoder copies its one layer; the rest is drawn for each
        for stack in (model.encoder, model.decoder):
            for layer in stack.layers:
                layer.self_attn.in_proj_weight.copy_(stack.layers[0].self_attn.in_proj_weight)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """AdamW's groups: decay on matrices, tables of positions among them, none on vectors, as published."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]


def as_measured(config: AutoencoderSettings) -> AutoencoderSettings:
    """Settings of an autoencoder that is measured: dropout and fewer bits belong to training."""
    return config.model_copy(update={"decoder_dropout": 0.0, "precision": "float32"})
