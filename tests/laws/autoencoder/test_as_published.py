"""Autoencoders as published: a slow version of the published text, and what the published code itself returned."""

import math
import re
from pathlib import Path

import pytest
import torch
import yaml
from conftest import ROOT
from peers import below, our_names, recorded
from torch import nn
from weightspace.autoencoder.model import Autoencoder, parameter_groups
from weightspace.autoencoder.settings import AutoencoderConfig, AutoencoderSettings
from weightspace.autoencoder.settings_within import PositionTables
from weightspace.autoencoder.windows import embed, windows
from weightspace.errors import InputError
from weightspace.nets.spec import build_spec
from weightspace.tokens import TokenLayout, token_layout

TORCH = {
    "layers": "post_norm", "attention": "batch", "layer_init": "copied", "decoder_dropout": 0.1, "final_norm": False,
    "feedforward": 2048,
}  # fmt: skip
GPT2 = {"layers": "gpt2", "layer_init": "gpt2", "final_norm": False, "feedforward": 128}
TABLES = PositionTables(sequence=24, layer=8, unit=12)


def config_of(**changes):
    return AutoencoderSettings(**{
        "zoo": "planted", "epochs": [1], "structure_weight": 1.0, "steps": 1, "width": 32, "depth": 2, "heads": 4,
        "latent": 6, "position_tables": TABLES,
    } | changes)  # fmt: skip


def layout_of(positions, token_size):
    """A layout by its positions; which weights stand in the tokens does not matter here."""
    return TokenLayout(torch.zeros(len(positions), token_size, dtype=torch.long), positions, torch.zeros(1, dtype=torch.long))


def model_of(config, layout, seed=0):
    return Autoencoder(config, [layout], torch.Generator().manual_seed(seed))


# what the page says


PAGE = (ROOT / "docs/as-published.md").read_text()


def test_every_published_autoencoder_of_the_page_can_be_written():
    (block,) = re.findall(r"```yaml\nautoencoders:\n(.*?)```", PAGE, re.DOTALL)
    cells = {name: AutoencoderConfig(**cell) for name, cell in yaml.safe_load(block).items()}
    assert list(cells) == ["structure_behavior", "sane"]
    gamma, beta = 0.05, 0.1
    weights = cells["structure_behavior"].loss_weights
    assert list(weights.values()) == pytest.approx([gamma, (1 - gamma) * beta, (1 - gamma) * (1 - beta), 0])


def test_every_law_of_the_page_is_there_and_every_setting_that_it_names():
    laws = "".join(path.read_text() for path in Path(__file__).parent.parent.glob("*/test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert {name for name in named if f"def {name}(" not in laws} == set()
    fields = AutoencoderConfig.model_fields
    written = re.findall(r"`(\w+): (\w+)`", PAGE)
    assert {key for key, _ in written} <= set(fields)
    for key, value in written:
        config_of(**{key: yaml.safe_load(value)})


# layers


def slow_norm(x, weight, bias):
    return (x - x.mean()) / torch.sqrt(((x - x.mean()) ** 2).mean() + 1e-5) * weight + bias


def slow_attention(sequence, state, heads):
    """Each head of each vector over the whole sequence, one after the other."""
    width = len(sequence[0])
    size = width // heads
    rows = [state["self_attn.in_proj_weight"] @ x + state.get("self_attn.in_proj_bias", 0) for x in sequence]
    outputs = []
    for mine in rows:
        mixed = []
        for head in range(heads):
            own = slice(head * size, (head + 1) * size)
            query, keys, values = mine[:width][own], [r[width:][:width][own] for r in rows], [r[2 * width :][own] for r in rows]
            scores = [float(query @ key) / math.sqrt(size) for key in keys]
            shares = [math.exp(score - max(scores)) for score in scores]
            mixed.append(sum(share / sum(shares) * value for share, value in zip(shares, values, strict=True)))
        outputs.append(state["self_attn.out_proj.weight"] @ torch.cat(mixed) + state.get("self_attn.out_proj.bias", 0))
    return outputs


def slow_mlp(x, state, activation):
    hidden = activation(state["linear1.weight"] @ x + state.get("linear1.bias", 0))
    return state["linear2.weight"] @ hidden + state.get("linear2.bias", 0)


def slow_layer(sequence, state, kind, heads):
    """One layer on one sequence of vectors (structure_behavior.md, 2.2 and 2.3; sane.md, 3.1)."""

    def norm(x, which):
        return slow_norm(x, state[f"{which}.weight"], state.get(f"{which}.bias", 0))

    if kind == "post_norm":
        attended = slow_attention(sequence, state, heads)
        sequence = [norm(x + a, "norm1") for x, a in zip(sequence, attended, strict=True)]
        return [norm(x + slow_mlp(x, state, lambda z: z.clamp(min=0)), "norm2") for x in sequence]
    attended = slow_attention([norm(x, "norm1") for x in sequence], state, heads)
    sequence = [x + a for x, a in zip(sequence, attended, strict=True)]
    return [x + slow_mlp(norm(x, "norm2"), state, lambda z: z * (1 + torch.erf(z / math.sqrt(2))) / 2) for x in sequence]


def slow_stack(x, state, stack, config):
    """Encoder or decoder on [model, token, width]: along the tokens of a model, or along the models of a token."""
    lines = x if config.attention == "tokens" else x.transpose(0, 1)
    done = []
    for line in lines:
        sequence = list(line)
        for n in range(config.depth):
            sequence = slow_layer(sequence, below(state, f"{stack}.layers.{n}."), config.layers, config.heads)
        if config.final_norm:
            last = below(state, f"{stack}.norm.")
            sequence = [slow_norm(x, last["weight"], last.get("bias", 0)) for x in sequence]
        done.append(torch.stack(sequence))
    done = torch.stack(done)
    return done if config.attention == "tokens" else done.transpose(0, 1)


def slow_pass(model, config, positions, tokens):
    """Codes and decoded tokens by the published text."""
    state = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    place = torch.stack([
        torch.cat([state["sequence.weight"][n] + state["layer.weight"][layer], state["unit.weight"][unit]])
        for n, layer, unit in positions.tolist()
    ])  # fmt: skip

    def linear(x, name):
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    codes = linear(slow_stack(linear(tokens, "tokenizer") + place, state, "encoder", config), "compress")
    return codes, linear(slow_stack(linear(codes, "expand") + place, state, "decoder", config), "detokenizer")


@pytest.mark.slow
@pytest.mark.parametrize("final_norm", [True, False])
@pytest.mark.parametrize("attention", ["tokens", "batch"])
@pytest.mark.parametrize("layers", ["pre_norm", "post_norm", "gpt2"])
def test_layers_are_those_of_the_published_text(layers, attention, final_norm):
    config = config_of(layers=layers, attention=attention, final_norm=final_norm, width=8, heads=2, feedforward=5, latent=3)
    positions = torch.tensor([[0, 0, 0], [1, 0, 1], [2, 1, 0]])
    model = model_of(config, layout_of(positions, 4))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
        tokens = torch.randn(4, 3, 4)
        codes = model.encode(tokens, positions)
        slow_codes, slow_tokens = slow_pass(model, config, positions, tokens)
        torch.testing.assert_close(codes, slow_codes, rtol=0, atol=1e-5)
        torch.testing.assert_close(model.decode(codes, positions), slow_tokens, rtol=0, atol=1e-5)


def peers_model(kind, changes):
    """Their weights, as far as they are kept, in our autoencoder, in float64; and what they recorded."""
    peers = recorded(f"structure_ae_{kind}")
    model = model_of(config_of(**changes), layout_of(peers["positions"], peers["tokens"].shape[2]))
    missing, unknown = model.load_state_dict(our_names(below(peers, "weights/")), strict=False)
    assert not unknown
    return model.double(), peers, missing


@pytest.mark.usefixtures("float64")
def test_gpt2_layers_give_the_published_outputs_and_gradients():
    model, peers, missing = peers_model("gpt2", GPT2)
    assert not missing
    tokens = peers["tokens"].double().requires_grad_()
    positions = peers["positions"]
    codes = model.encode(tokens, positions)
    decoded, projected = model.decode(codes, positions), model.head(codes)
    for ours, theirs in (
        (codes, "latents"),
        (decoded, "decoded"),
        (projected, "projection"),
        (embed(model, tokens, positions, windows(len(positions))), "embedding"),
    ):
        torch.testing.assert_close(ours, peers[f"{theirs}_float64"], rtol=0, atol=1e-10)
    value = (decoded * peers["probe_decoded"]).mean() + (projected * peers["probe_projection"]).mean()
    value.backward()
    torch.testing.assert_close(value, peers["probe_value_float64"])
    torch.testing.assert_close(tokens.grad, peers["gradient_tokens"], rtol=0, atol=1e-6)
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    for name, theirs in our_names(below(peers, "gradient/")).items():
        torch.testing.assert_close(gradients[name], theirs.double(), rtol=0, atol=1e-6)
    for name, theirs in our_names(below(peers, "gradient_norm/")).items():
        torch.testing.assert_close(gradients[name].norm(), theirs, rtol=1e-6, atol=1e-9)


@pytest.mark.usefixtures("float64")
def test_torch_layers_give_the_published_codes_in_a_batch_and_alone():
    model, peers, missing = peers_model("pytorch", TORCH)
    assert not any(name.startswith("encoder") for name in missing)
    tokens = peers["tokens"].double()
    with torch.no_grad():
        torch.testing.assert_close(model.encode(tokens, peers["positions"]), peers["latents_float64"], rtol=0, atol=1e-10)
        alone = torch.cat([model.encode(each, peers["positions"]) for each in tokens.split(1)])
    torch.testing.assert_close(alone, peers["latents_alone_float64"], rtol=0, atol=1e-10)
    assert (alone - peers["latents_float64"]).norm() > 0.1 * alone.norm()


def test_float32_is_within_a_hundred_thousandth_of_the_published_outputs():
    model, peers, _ = peers_model("gpt2", GPT2)
    with torch.no_grad():
        decoded = model.float().decode(model.encode(peers["tokens"], peers["positions"]), peers["positions"])
    torch.testing.assert_close(decoded.double(), peers["decoded_float64"], rtol=0, atol=1e-5)


# sizes, tables and initial parameters


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "changes"), [("pytorch", TORCH | {"feedforward": 2048}), ("gpt2", GPT2 | {"feedforward": 1024})]
)
def test_as_many_parameters_decay_and_do_not_as_published(kind, changes):
    layout = token_layout(build_spec("cnn3", "relu", (3, 32, 32), 10))
    tables = PositionTables(sequence=500, layer=50, unit=100)
    config = config_of(**changes, width=256, depth=8, heads=8, latent=64, position_tables=tables)
    groups = [sum(p.numel() for p in group["params"]) for group in parameter_groups(model_of(config, layout), 1.0)]
    assert [sum(groups), *groups] == recorded("structure_ae_fresh")[f"{kind}/published/parameters"].tolist()


@pytest.mark.parametrize(("kind", "changes"), [("pytorch", TORCH), ("gpt2", GPT2)])
def test_initial_parameters_have_the_published_deviations(kind, changes):
    positions = torch.stack([torch.arange(20), torch.arange(20) % 8, torch.arange(20) % 12], dim=1)
    fresh = dict(model_of(config_of(**changes), layout_of(positions, 17)).named_parameters())
    published = our_names(below(recorded("structure_ae_fresh"), f"{kind}/small/std/"))
    assert set(published) == set(fresh)
    for name, std in published.items():
        assert fresh[name].std(correction=0).item() == pytest.approx(std.item(), rel=8 / math.sqrt(2 * fresh[name].numel())), name


def attention_inputs(**changes):
    """The attention's input projections of all layers, encoder first."""
    model = model_of(config_of(depth=3, **changes), layout_of(torch.tensor([[0, 0, 0]]), 4))
    return [layer.self_attn.in_proj_weight for stack in (model.encoder, model.decoder) for layer in stack.layers]


@pytest.mark.parametrize(("layer_init", "different"), [("xavier", 6), ("copied", 2), ("gpt2", 6)])
def test_one_copied_draw_is_that_of_all_layers_of_a_stack(layer_init, different):
    assert len({tuple(weight.flatten().tolist()) for weight in attention_inputs(layer_init=layer_init)}) == different
    assert recorded("structure_ae_fresh")[
        "pytorch/small/copy/transformer_decoder.layers.1.self_attn.in_proj_weight"
    ].tolist() == [1, 0]


@pytest.mark.parametrize("layers", ["pre_norm", "post_norm", "gpt2"])
def test_only_layers_of_gpt2_have_no_biases_and_only_a_final_norm_is_beside_the_layers(layers):
    def names(**changes):
        model = model_of(config_of(layers=layers, **changes), layout_of(torch.tensor([[0, 0, 0]]), 4))
        return {name for name, _ in model.encoder.named_parameters()}

    assert any("bias" in name for name in names(final_norm=False)) == (layers != "gpt2")
    assert {name.split(".")[0] for name in names(final_norm=True) - names(final_norm=False)} == {"norm"}


def test_rows_of_position_tables_beyond_the_networks_change_nothing():
    layout = token_layout(build_spec("cnn_digits", "relu", (1, 8, 8), 10))
    models = [
        model_of(config_of(position_tables=tables), layout) for tables in (None, PositionTables(sequence=60, layer=9, unit=40))
    ]
    state = models[0].state_dict()
    wide = {name: nn.functional.pad(state[name], (0, 0, 0, len(t) - len(state[name]))) if t.ndim else t
            for name, t in models[1].state_dict().items() if state[name].shape != t.shape}  # fmt: skip
    assert set(wide) == {"sequence.weight", "layer.weight", "unit.weight"}
    models[1].load_state_dict(state | wide)
    tokens = torch.randn(2, *layout.index.shape)
    assert torch.equal(*(model.encode(tokens, layout.positions) for model in models))


@pytest.mark.parametrize("name", PositionTables.model_fields)
def test_a_position_table_that_is_too_small_is_named(name):
    layout = token_layout(build_spec("cnn_digits", "relu", (1, 8, 8), 10))
    enough = dict(zip(PositionTables.model_fields, (layout.positions.amax(0) + 1).tolist(), strict=True))
    model_of(config_of(position_tables=PositionTables(**enough)), layout)
    few = PositionTables(**enough | {name: enough[name] - 1})
    with pytest.raises(InputError, match=rf"^position_tables.{name}: {enough[name] - 1} rows are too few for {enough[name]} pos"):
        model_of(config_of(position_tables=few), layout)


def test_dropout_is_in_the_decoder_alone():
    layout = layout_of(torch.tensor([[0, 0, 0], [1, 0, 1]]), 4)
    model, tokens = model_of(config_of(decoder_dropout=0.5), layout), torch.randn(3, 2, 4)
    codes = [model.encode(tokens, layout.positions) for _ in range(2)]
    assert torch.equal(*codes)
    assert not torch.equal(*(model.decode(each, layout.positions) for each in codes))
