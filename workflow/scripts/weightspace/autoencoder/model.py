"""The transformer autoencoder over tokens (Meynent et al. 2025, section 2.2; SANE, section 3.1)."""

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from weightspace.autoencoder.settings import AutoencoderSettings
from weightspace.tokens import TokenLayout


class Autoencoder(nn.Module):
    """Tokens to one embedding per token, and back; a head projects all embeddings of a model for the contrast.

    Encoder and decoder share the learned positions: sequence and layer in one half of the width, unit in the other.
    With `attention: tokens` a model attends over its own tokens; with `batch`, each token attends over the same token of
    the other models in the batch: the axis of the published code (Structure Is Not Enough, 727c3a9), and nothing else of its
    transformers. Its torch layers are post-norm with ReLU, have no last layer norm, dropout of 0.1 in the decoder, a feedforward
    of 2048 whatever the width, and the same input projection in all layers. Its GPT-2 layers have no biases, no last layer norm,
    and attention in N(0, 0.02).
    """

    def __init__(self, config: AutoencoderSettings, layout: TokenLayout, generator: Generator) -> None:
        super().__init__()
        num_tokens, token_size = layout.index.shape
        self.register_buffer("positions", layout.positions, persistent=False)
        sizes = (layout.positions.amax(0) + 1).tolist()
        self.sequence, self.layer = (nn.Embedding(size, config.width // 2) for size in sizes[:2])
        self.unit = nn.Embedding(sizes[2], config.width // 2)
        self.tokenizer = nn.Linear(token_size, config.width)
        self.encoder = _transformer(config)
        self.compress = nn.Linear(config.width, config.latent)
        self.expand = nn.Linear(config.latent, config.width)
        self.decoder = _transformer(config)
        self.detokenizer = nn.Linear(config.width, token_size)
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(num_tokens * config.latent, config.projection, bias=False),
            nn.LayerNorm(config.projection),
            nn.ReLU(),
            nn.Linear(config.projection, config.projection, bias=False),
            nn.LayerNorm(config.projection),
            nn.ReLU(),
        )
        _initialize(self, generator)

    def encode(self, tokens: Float[Tensor, "model token feature"]) -> Float[Tensor, "model token embedding"]:
        return self.compress(self.encoder(self.tokenizer(tokens) + self._position()))

    def decode(self, embeddings: Float[Tensor, "model token embedding"]) -> Float[Tensor, "model token feature"]:
        return self.detokenizer(self.decoder(self.expand(embeddings) + self._position()))

    def _position(self) -> Float[Tensor, "token width"]:
        sequence, layer, unit = self.positions.unbind(1)
        return torch.cat([self.sequence(sequence) + self.layer(layer), self.unit(unit)], dim=1)


def _transformer(config: AutoencoderSettings) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(
        config.width,
        config.heads,
        config.feedforward,
        dropout=0.0,
        activation="gelu",
        norm_first=True,
        batch_first=config.attention == "tokens",
    )
    return nn.TransformerEncoder(layer, config.depth, nn.LayerNorm(config.width), enable_nested_tensor=False)


@torch.no_grad()
def _initialize(module: nn.Module, generator: Generator) -> None:
    """As published: matrices and tables N(0, 0.02), the attention's input projection Xavier-uniform, biases 0."""
    for name, parameter in module.named_parameters():
        if name.endswith("in_proj_weight"):
            nn.init.xavier_uniform_(parameter, generator=generator)
        elif parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.02, generator=generator)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)


def embed(model: Autoencoder, tokens: Float[Tensor, "model token feature"]) -> Float[Tensor, "model embedding"]:
    """One vector per model: the mean of its tokens' embeddings."""
    return model.encode(tokens).mean(dim=1)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """AdamW's groups: decay on matrices, none on vectors."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
