"""Tokens: exact both ways, with the papers' counts and positions."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from weightspace.nets.forward import unflatten
from weightspace.nets.spec import ARCHITECTURES, build_spec
from weightspace.nets.symmetry import permutation_map, sample_permutations
from weightspace.tokens import detokenize, identity_scale, layer_scale, make_codec, token_layout, tokenize

SHAPES = {"cnn": (1, 28, 28), "cnn3": (3, 32, 32), "lenet5": (3, 32, 32), "mlp": (2, 5, 4), "cnn_digits": (1, 8, 8)}
TOKEN_SIZES = [None, 256, 50, 1]


SUMS = ["conv 4 3 1", "branch", "conv 4 3 1 1 2", "activation", "dropout 0.1", "add", "avg_pool 2", "conv 8 3 1 2 4", "mean"]


def spec_of(architecture):
    layers = [*SUMS, "linear classes"] if architecture == "sums" else architecture
    return build_spec(layers, "relu", (SHAPES | {"sums": (2, 6, 6)})[architecture], 10)


def slow_tokens(spec, weights, token_size):
    """Tokens, their mask and positions of one model, entry by entry (SANE, 2.2)."""
    tokens, mask, positions = [], [], []
    parameters = unflatten(spec, weights)
    for number, layer in enumerate(spec.layers):
        for unit in range(layer.out):
            row = parameters[f"{layer.name}.weight"][unit].flatten().tolist() + [parameters[f"{layer.name}.bias"][unit].item()]
            for start in range(0, len(row), token_size):
                piece = row[start : start + token_size]
                padding = token_size - len(piece)
                tokens.append(piece + [0.0] * padding)
                mask.append([True] * len(piece) + [False] * padding)
                positions.append([len(positions), number, unit])
    return torch.tensor(tokens), torch.tensor(mask), torch.tensor(positions)


# layout


@pytest.mark.parametrize("token_size", TOKEN_SIZES)
@pytest.mark.parametrize("architecture", ["cnn", "mlp", "cnn_digits", "sums"])
def test_tokens_masks_and_positions_are_those_of_a_slow_loop(architecture, token_size):
    spec = spec_of(architecture)
    layout, weights = token_layout(spec, token_size), torch.randn(spec.num_weights)
    tokens, mask, positions = slow_tokens(spec, weights, token_size or max(layer.row for layer in spec.layers))
    assert torch.equal(tokenize(weights, layout), tokens)
    assert torch.equal(layout.mask, mask)
    assert torch.equal(layout.positions, positions)


@pytest.mark.parametrize(
    ("architecture", "token_size", "tokens", "entries", "padding"),
    [
        ("cnn", None, 48, 201, 1 - 0.255),  # SANE, 1.2
        ("cnn", 289, 48, 289, 1 - 0.178),
        ("cnn3", None, 93, 289, 0.596),  # Meynent et al. 2025, 1.2
        ("lenet5", 256, 356, 256, 0.320),
    ],
)
def test_token_counts_and_padding_are_the_published_ones(architecture, token_size, tokens, entries, padding):
    layout = token_layout(spec_of(architecture), token_size)
    assert layout.index.shape == (tokens, entries)
    assert round(1 - layout.mask.double().mean().item(), 3) == pytest.approx(padding)


def test_pieces_of_a_long_unit_are_adjacent_at_one_unit_position():
    spec = spec_of("lenet5")
    layer = 2  # 120 units of 401 numbers: two tokens of 256 each
    positions = token_layout(spec, 256).positions
    units = positions[positions[:, 1] == layer, 2]
    assert torch.equal(units, torch.arange(120).repeat_interleave(2))
    assert torch.equal(positions[:, 0], torch.arange(len(positions)))


# both ways


@pytest.mark.slow
@pytest.mark.parametrize("stack", [(), (2,), (2, 3)], ids=str)
@pytest.mark.parametrize("token_size", TOKEN_SIZES)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_weights_come_back_exactly_whatever_stands_in_the_padding(architecture, token_size, stack):
    spec = spec_of(architecture)
    layout, weights = token_layout(spec, token_size), torch.randn(*stack, spec.num_weights)
    tokens = tokenize(weights, layout)
    assert tokens[..., ~layout.mask].abs().sum() == 0
    assert torch.equal(detokenize(tokens, layout), weights)
    assert torch.equal(detokenize(tokens.masked_fill(~layout.mask, torch.nan), layout), weights)


@pytest.mark.slow
@given(st.lists(st.integers(1, 7), max_size=3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 40))
def test_weights_of_any_net_come_back_at_any_token_size(widths, channels, kernel, token_size):
    hidden = [layer for width in widths for layer in (f"linear {width}", "activation")]
    spec = build_spec([f"conv {channels} {kernel}", "flatten", *hidden, "linear classes"], "relu", (2, 5, 4), 3)
    layout, weights = token_layout(spec, token_size), torch.arange(1.0, spec.num_weights + 1)
    assert torch.equal(detokenize(tokenize(weights, layout), layout), weights)
    assert torch.equal(layout.index[layout.mask].sort().values, torch.arange(spec.num_weights))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_permuting_hidden_units_permutes_the_first_layers_tokens(architecture):
    spec = spec_of(architecture)
    layout, permutations = token_layout(spec), sample_permutations(spec, 1, torch.Generator().manual_seed(0))
    weights = torch.randn(1, spec.num_weights)
    before = tokenize(weights, layout)[0]
    after = tokenize(weights.gather(1, permutation_map(spec, permutations)), layout)[0]
    first = spec.layers[0].out
    assert torch.equal(after[:first], before[:first][permutations[0][0]])
    assert not torch.equal(after[:first], before[:first])


# scale


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_scaled_weights_have_mean_0_and_deviation_1_in_each_layer(architecture):
    spec = spec_of(architecture)
    weights = 3 * torch.randn(5, spec.num_weights) + torch.arange(spec.num_weights) / spec.num_weights
    scaled = layer_scale(spec, weights).apply(weights)
    for layer in spec.layers:
        part = scaled[:, layer.offset : layer.offset + layer.size]
        torch.testing.assert_close(part.mean(), torch.tensor(0.0), rtol=0, atol=1e-10)
        torch.testing.assert_close(part.std(), torch.tensor(1.0))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_scaling_is_undone_and_commutes_with_permutations(architecture):
    spec = spec_of(architecture)
    weights = 3 * torch.randn(5, spec.num_weights) + torch.arange(spec.num_weights) / spec.num_weights
    scale = layer_scale(spec, weights)
    maps = permutation_map(spec, sample_permutations(spec, 5, torch.Generator().manual_seed(0)))
    torch.testing.assert_close(scale.undo(scale.apply(weights)), weights)
    assert torch.equal(scale.apply(weights.gather(1, maps)), scale.apply(weights).gather(1, maps))


def test_the_identity_scale_changes_nothing():
    spec = spec_of("cnn")
    weights = torch.randn(2, spec.num_weights)
    assert torch.equal(identity_scale(spec).apply(weights), weights)
    assert torch.equal(identity_scale(spec).undo(weights), weights)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("token_size", [None, 20])
def test_a_codec_decodes_what_it_encodes(token_size, standardize):
    spec = spec_of("cnn_digits")
    train, other = torch.randn(2, 4, spec.num_weights) + 1
    codec = make_codec(spec, train, token_size, standardize)
    tokens = codec.to_tokens(other)
    torch.testing.assert_close(codec.to_weights(tokens), other)
    assert tokens[..., ~codec.layout.mask].abs().sum() == 0
    assert torch.equal(tokens, tokenize(other, codec.layout)) != standardize
