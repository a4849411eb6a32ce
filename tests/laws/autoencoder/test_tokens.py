"""Tokens: exact both ways, with the papers' counts and positions."""

from math import prod

import architectures
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from weightspace.autoencoder.extent import extent_of
from weightspace.nets.forward import unflatten
from weightspace.nets.init import initial_weights
from weightspace.nets.spec import ARCHITECTURES, build_spec
from weightspace.nets.symmetry import permutation_map, sample_permutations
from weightspace.tokens import detokenize, identity_scale, layer_scale, make_codec, token_layout, tokenize

TOKEN_SIZES = [None, 256, 50, 1]
CHOICES = ["none", "affine", "all"]
NORMED = ["resnet8", "vit_digits", "norms"]
ODD = {
    "sums": [
        "conv 4 3 1",
        "branch",
        "conv 4 3 1 1 2",
        "activation",
        "dropout 0.1",
        "add",
        "avg_pool 2",
        "conv 8 3 1 2 4",
        "mean",
    ],
    "norms": ["batch_norm", "conv 4 3 1", "batch_norm", "layer_norm", "activation", "conv 3 3", "flatten", "layer_norm"],
}


def spec_of(architecture):
    if architecture in ODD:
        return build_spec([*ODD[architecture], "linear classes"], "relu", (2, 6, 6), 10)
    return architectures.spec_of(architecture)


def slow_rows(spec, batch_norm):
    """Rows of one model's numbers by the names of its parameters, each entry as parameter and place (SANE, 2.2)."""
    names = list(spec.shapes)
    for name in names:
        layer, _, part = name.partition(".")
        is_batch_norm = f"{layer}.running_mean" in names
        if part == "bias" or (is_batch_norm and (batch_norm == "none" or (batch_norm == "affine" and part != "weight"))):
            continue
        num = prod(spec.shapes[name][1:])
        rows = [[(name, unit * num + entry) for entry in range(num)] for unit in range(spec.shapes[name][0])]
        if part == "weight" and f"{layer}.bias" in names:
            num = prod(spec.shapes[f"{layer}.bias"]) // len(rows)
            rows = [row + [(f"{layer}.bias", unit * num + entry) for entry in range(num)] for unit, row in enumerate(rows)]
        yield rows


def slow_tokens(spec, weights, token_size, batch_norm):
    """Tokens, their mask and positions of one model, entry by entry."""
    tokens, mask, positions = [], [], []
    numbers = {name: parameter.flatten().tolist() for name, parameter in unflatten(spec, weights).items()}
    for layer, rows in enumerate(slow_rows(spec, batch_norm)):
        for unit, row in enumerate(rows):
            for start in range(0, len(row), token_size):
                piece = [numbers[name][place] for name, place in row[start : start + token_size]]
                padding = token_size - len(piece)
                tokens.append(piece + [0.0] * padding)
                mask.append([True] * len(piece) + [False] * padding)
                positions.append([len(positions), layer, unit])
    return torch.tensor(tokens), torch.tensor(mask), torch.tensor(positions)


def positive_weights(spec, *stack):
    """Weights none of which is 0, so that what is left out can be told from padding."""
    return torch.rand(*stack, spec.num_weights) + 0.5


# layout


@pytest.mark.parametrize("token_size", TOKEN_SIZES)
@pytest.mark.parametrize("architecture", ["cnn", "mlp", "cnn_digits", "sums"])
def test_tokens_masks_and_positions_are_those_of_a_slow_loop(architecture, token_size):
    spec = spec_of(architecture)
    layout, weights = token_layout(spec, token_size), torch.randn(spec.num_weights)
    tokens, mask, positions = slow_tokens(spec, weights, token_size or max(layer.row for layer in spec.layers), "none")
    assert torch.equal(tokenize(weights, layout), tokens)
    assert torch.equal(layout.mask, mask)
    assert torch.equal(layout.positions, positions)


@pytest.mark.slow
@pytest.mark.parametrize("token_size", [288, 7])
@pytest.mark.parametrize("batch_norm", CHOICES)
@pytest.mark.parametrize("architecture", NORMED)
def test_tokens_of_norms_are_those_of_a_slow_loop(architecture, batch_norm, token_size):
    spec = spec_of(architecture)
    layout, weights = token_layout(spec, token_size, batch_norm), torch.randn(spec.num_weights)
    tokens, mask, positions = slow_tokens(spec, weights, token_size, batch_norm)
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "batch_norm", "layers", "tokens", "fill"),
    [  # SANE, 1.2, at token size 288: tokens by the number of classes
        ("resnet18_cifar", "none", 21, {10: 39_124, 100: 39_304, 200: 39_504}, 0.99),
        ("resnet18_cifar", "all", 81, {10: 53_524, 100: 53_704, 200: 53_904}, 0.73),
        ("resnet34_cifar", "none", 37, {10: 74_196}, 0.995),
        ("resnet34_cifar", "all", 145, {200: 100_112}, 0.74),
    ],
)
def test_token_counts_of_residual_networks_are_the_published_ones(architecture, batch_norm, layers, tokens, fill):
    for num_classes, num in tokens.items():
        layout = token_layout(build_spec(architecture, "relu", (3, 32, 32), num_classes), 288, batch_norm)
        assert layout.index.shape == (num, 288)
        assert layout.positions[-1].tolist() == [num - 1, layers - 1, num_classes - 1]
        assert layout.mask.count_nonzero().item() / layout.mask.numel() == pytest.approx(
            fill, abs=0.005 if fill < 0.995 else 0.0005
        )


@pytest.mark.parametrize("token_size", [None, 7])
@pytest.mark.parametrize("batch_norm", CHOICES)
@pytest.mark.parametrize("architecture", ["cnn", "mlp", *NORMED])
def test_positions_can_be_counted_without_a_layout(architecture, batch_norm, token_size):
    spec = spec_of(architecture)
    layout = token_layout(spec, token_size, batch_norm)
    assert list(extent_of(spec, token_size, batch_norm)) == (layout.positions.amax(0) + 1).tolist()


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


@pytest.mark.parametrize("token_size", [288, 7])
@pytest.mark.parametrize("batch_norm", CHOICES)
@pytest.mark.parametrize("architecture", [*NORMED, "cnn_digits"])
def test_what_has_a_token_comes_back_and_the_rest_is_as_given(architecture, batch_norm, token_size):
    spec = spec_of(architecture)
    layout, weights, given = token_layout(spec, token_size, batch_norm), positive_weights(spec, 2, 3), positive_weights(spec, 3)
    tokens = tokenize(weights, layout)
    back = detokenize(tokens.masked_fill(~layout.mask, torch.nan), layout, given)
    left_out = torch.ones(spec.num_weights)
    left_out[layout.index[layout.mask]] = 0
    for name, part in unflatten(spec, left_out).items():
        is_batch_norm = f"{name.partition('.')[0]}.running_mean" in spec.shapes
        expected = is_batch_norm and (batch_norm == "none" or (batch_norm == "affine" and "running" in name))
        assert (part == float(expected)).all()
    assert torch.equal(back, torch.where(left_out == 1, given, weights))
    if left_out.any():
        with pytest.raises(IndexError):
            detokenize(tokens, layout)
    else:
        assert torch.equal(detokenize(tokens, layout), weights)


def test_permuting_units_permutes_the_tokens_of_their_norms():
    spec = build_spec(["conv 5 3", "batch_norm", "activation", "conv 4 3", "mean", "linear classes"], "relu", (1, 8, 8), 3)
    layout, permutations = token_layout(spec, 9), sample_permutations(spec, 1, torch.Generator().manual_seed(0))
    weights = torch.randn(1, spec.num_weights)
    before = tokenize(weights, layout)[0]
    after = tokenize(weights.gather(1, permutation_map(spec, permutations)), layout)[0]
    for layer in range(4):  # convolution, scale and shift, mean, variance
        own = layout.positions[:, 1] == layer
        assert torch.equal(after[own], before[own][permutations[0][0]])


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
@pytest.mark.parametrize("architecture", [*ARCHITECTURES, *NORMED])
def test_scaling_is_undone_and_commutes_with_permutations(architecture):
    spec = spec_of(architecture)
    weights = 3 * torch.randn(5, spec.num_weights) + torch.arange(spec.num_weights) / spec.num_weights
    scale = layer_scale(spec, weights)
    maps = permutation_map(spec, sample_permutations(spec, 5, torch.Generator().manual_seed(0)))
    torch.testing.assert_close(scale.undo(scale.apply(weights)), weights)
    assert torch.equal(scale.apply(weights.gather(1, maps)), scale.apply(weights).gather(1, maps))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("batch_norm", CHOICES)
@pytest.mark.parametrize("architecture", NORMED)
def test_rows_of_norms_have_scales_of_their_own_and_what_has_no_token_none(architecture, batch_norm):
    spec = spec_of(architecture)
    weights = positive_weights(spec, 5) + torch.arange(spec.num_weights) / spec.num_weights
    scaled, layout = layer_scale(spec, weights, batch_norm).apply(weights), token_layout(spec, None, batch_norm)
    tokens, layers = tokenize(scaled, layout), layout.positions[:, 1]
    for layer in range(int(layers.max()) + 1):
        part = tokens[:, layers == layer][:, layout.mask[layers == layer]]
        torch.testing.assert_close(part.mean(), torch.tensor(0.0), rtol=0, atol=1e-10)
        torch.testing.assert_close(part.std(), torch.tensor(1.0))
    assert torch.equal(without_tokens(scaled, layout), without_tokens(weights, layout))


def without_tokens(weights, layout):
    """Those weights alone that have no token."""
    chosen = torch.ones(len(layout.inverse), dtype=torch.bool)
    chosen[layout.index[layout.mask]] = False
    return weights[..., chosen]


@pytest.mark.parametrize("architecture", ["resnet8", "vit_digits"])
def test_networks_before_their_first_step_have_finite_tokens_and_come_back(architecture):
    """Their norms, statistics and positions are all the same number."""
    spec = spec_of(architecture)
    weights = torch.stack([initial_weights(spec, "kaiming_uniform", torch.Generator().manual_seed(n)) for n in range(3)])
    codec = make_codec(spec, weights, 50, True)
    assert codec.to_tokens(weights).isfinite().all()
    torch.testing.assert_close(codec.to_weights(codec.to_tokens(weights)), weights)


@pytest.mark.parametrize("batch_norm", CHOICES)
def test_a_codec_keeps_what_has_no_token_to_the_last_bit(batch_norm):
    spec = spec_of("resnet8")
    weights, given = positive_weights(spec, 3), positive_weights(spec)
    codec = make_codec(spec, weights, 50, True, batch_norm)._replace(given=given)
    back = codec.to_weights(codec.to_tokens(weights))
    kept = without_tokens(given, codec.layout)
    assert torch.equal(without_tokens(back, codec.layout), kept.expand(3, -1))
    assert (len(kept) > 0) == (batch_norm != "all")
    torch.testing.assert_close(codec.to_tokens(back), codec.to_tokens(weights), rtol=1e-4, atol=1e-4)


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
