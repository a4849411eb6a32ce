"""Codes as bytes: what comes back is the rounded code and no more is known of the network, and all that is sent is counted."""

import json

import pandas as pd
import pytest
import torch
from test_autoencoder import SOURCE, SPEC, config_of
from test_norms import NORMED, networks
from test_several_zoos import CPU, populations
from weightspace.autoencoder.baselines import evaluate_baseline
from weightspace.autoencoder.compressed import COMPRESS, compressed
from weightspace.autoencoder.data import checkpoints_by_split
from weightspace.autoencoder.evaluate import evaluate_autoencoder
from weightspace.autoencoder.metrics import AT_BITS, METRICS
from weightspace.autoencoder.model import Autoencoder
from weightspace.autoencoder.rate import LEAST_DEVIATION, REACH, Codes, from_bytes, grid_of, rate_metrics, to_bytes
from weightspace.autoencoder.settings_baselines import BaselineConfig
from weightspace.autoencoder.settings_within import RateConfig
from weightspace.autoencoder.store import Stored
from weightspace.compression.quantize import levels
from weightspace.errors import InputError
from weightspace.rng import generator_for
from weightspace.table import write_metrics
from weightspace.tokens import make_codec, rows_of, token_layout

BITS = [2, 3, 4, 6, 8, 10, 12]
STEPS = ["code", "number"]


def train_codes(checkpoints=200, numbers=30):
    """Codes whose numbers vary by six orders of magnitude, around centers of their own."""
    return torch.randn(checkpoints, numbers) * torch.logspace(-4, 2, numbers) + 10 * torch.randn(numbers)


def rounded(grid, codes):
    """The slow reference: each number at its nearest step, none beyond the reach."""
    step = grid.step.expand_as(grid.center)
    rows = [
        [center + s * max(-REACH * levels(grid.bits), min(REACH * levels(grid.bits), round(((number - center) / s).item())))
         for number, center, s in zip(code, grid.center, step, strict=True)]
        for code in codes
    ]  # fmt: skip
    return torch.tensor(rows)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("bits", BITS)
def test_bytes_give_back_each_number_at_its_nearest_step(bits, step):
    train = train_codes()
    codes = 1.5 * train_codes(4) - 0.5 * train.mean(0)
    grid = grid_of(train, bits, step)
    back = from_bytes(grid, to_bytes(grid, codes))
    torch.testing.assert_close(back, rounded(grid, codes), rtol=1e-6, atol=1e-6)
    again = to_bytes(grid, back)
    assert again == to_bytes(grid, codes)
    assert torch.equal(from_bytes(grid, again), back)


@pytest.mark.parametrize("step", STEPS)
def test_errors_are_at_most_half_a_step_which_more_bits_make_smaller(step):
    train, codes = train_codes(), train_codes(20)
    codes = train.mean(0) + (codes - codes.mean(0))
    squared, before = [], None
    for bits in BITS:
        grid = grid_of(train, bits, step)
        errors = (from_bytes(grid, to_bytes(grid, codes)) - codes).abs()
        assert (errors <= grid.step / 2 + 1e-5).all()  # centers of 10 in float32
        assert before is None or (grid.step < before).all()
        squared.append(errors.square().sum().item())
        before = grid.step
    assert squared == sorted(squared, reverse=True)


@pytest.mark.parametrize("step", STEPS)
def test_the_grid_spans_the_train_codes_and_numbers_far_beyond_are_cut_off(step):
    train = train_codes()
    grid = grid_of(train, 6, step)
    spans = (train - train.mean(0)).abs().amax(0)
    torch.testing.assert_close(grid.step * levels(6), spans if step == "number" else spans.amax(0, keepdim=True))
    far = train.mean(0) + 100 * spans.amax()
    back = from_bytes(grid, to_bytes(grid, far.unsqueeze(0)))
    torch.testing.assert_close(back[0], train.mean(0) + REACH * levels(6) * grid.step, rtol=1e-5, atol=1e-5)


def test_one_step_for_all_numbers_takes_fewer_bytes_where_they_vary_unequally_at_equal_error():
    train, codes, found = train_codes(), train_codes(40), {}
    codes = train.mean(0) + (codes - codes.mean(0))
    for step in STEPS:
        for bits in BITS:
            grid = grid_of(train, bits, step)
            strings = to_bytes(grid, codes)
            error = (from_bytes(grid, strings) - codes).square().mean().item()
            found[step, bits] = error, sum(map(len, strings))
    for bits in (3, 4, 6):
        within = [size for (step, _), (error, size) in found.items() if step == "code" and error <= found["number", bits][0]]
        assert min(within) < found["number", bits][1]


@pytest.mark.parametrize("step", STEPS)
def test_constant_codes_take_next_to_no_bytes_and_come_back_as_they_are(step):
    train = torch.full((7, 3, 2), 1.25).flatten(1)
    grid = grid_of(train, 8, step)
    strings = to_bytes(grid, train[:2])
    assert [len(string) for string in strings] == [0, 0] or max(map(len, strings)) <= 1
    assert torch.equal(from_bytes(grid, strings), train[:2])
    assert (grid.step == 1).all()


def test_a_code_of_one_number_is_a_code():
    train = torch.randn(50, 1)
    grid = grid_of(train, 4, "code")
    assert torch.equal(from_bytes(grid, to_bytes(grid, train[:9])), rounded(grid, train[:9]))
    assert max(map(len, to_bytes(grid, train))) <= 2


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_codes_that_are_not_finite_are_refused_with_a_sentence(broken):
    train = train_codes()
    changed = train.clone()
    changed[3, 2] = broken
    for call in (lambda: grid_of(changed, 8, "code"), lambda: to_bytes(grid_of(train, 8, "code"), changed)):
        with pytest.raises(InputError, match="rate: a code is not finite, as of what diverged, and cannot be rounded"):
            call()


def test_what_is_measured_is_what_the_bytes_decode_to_and_as_long_as_they_are():
    train, networks_codes, seen = torch.randn(60, 5, 2), torch.randn(4, 5, 2), []

    def measure(codes):
        seen.append(codes)
        return {"agreement_own": codes.mean((1, 2)), "diversity_original": codes.mean((1, 2))}

    found = rate_metrics(RateConfig(bits=[8, 3]), Codes(networks_codes, train, 1000), measure)
    assert list(found) == [8, 3]
    for (bits, metrics), codes in zip(found.items(), seen, strict=True):
        grid = grid_of(train.flatten(1), bits, "code")
        strings = to_bytes(grid, networks_codes.flatten(1))
        assert torch.equal(codes.flatten(1), from_bytes(grid, strings))
        assert metrics["bytes_code"].tolist() == [len(string) for string in strings]
        assert (metrics["bytes_shared"] == 1000 + 4 * (10 + 10 + 1)).all()
        assert metrics.keys() == {"agreement_own", "bytes_code", "bytes_shared"}


def test_numbers_that_hardly_vary_are_expected_to_be_at_their_center():
    train = torch.randn(100, 3) * torch.tensor([1.0, 1e-6, 0.0])
    grid = grid_of(train, 6, "code")
    assert grid.expected.deviations[1:].tolist() == pytest.approx([LEAST_DEVIATION] * 2)
    assert torch.equal(from_bytes(grid, to_bytes(grid, train))[:, 1:], grid.center[1:].expand(100, 2))


# what the receiver needs


@pytest.mark.parametrize("linear_code", [False, True])
def test_decoding_needs_the_parameters_that_are_counted_and_no_others(linear_code):
    layout = token_layout(SPEC)
    model = Autoencoder(config_of(linear_code=linear_code), [layout], generator_for("rate"))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter))
    codes = torch.randn(2, len(layout.index), 3)
    model.decode(codes, layout.positions).sum().backward()
    needed = {name for name, each in model.named_parameters() if each.grad is not None}
    assert model.decoder_size == sum(each.numel() for name, each in model.named_parameters() if name in needed)
    assert {name.partition(".")[0] for name in needed} >= {"expand", "decoder", "detokenizer", "sequence", "layer", "unit"}


def stored_of(zoo, **changes):
    """An autoencoder as its first step finds it, of a zoo."""
    config = config_of(**{"zoo": zoo.name} | changes)
    splits = checkpoints_by_split(config, zoo, CPU)
    codec = make_codec(zoo.zoo.spec, splits["train"].weights, None, config.standardize, config.batch_norm_tokens)
    model = Autoencoder(config, [codec.layout], generator_for("rate"))
    return Stored(config, codec, model, model), splits


def test_an_autoencoders_decoder_is_its_parameters_scales_what_has_no_token_and_the_architecture(tmp_path):
    plain, normed = populations(tmp_path)
    for zoo, given in ((plain, 0), (normed, sum(each.index.numel() for each in rows_of(NORMED, "affine") if not each.tokens))):
        for standardize in (True, False):
            stored, _ = stored_of(zoo, standardize=standardize)
            scales = 2 * len(rows_of(zoo.zoo.spec)) * standardize
            said = len(json.dumps(zoo.zoo.spec.description))
            assert stored.decoder_bytes == 4 * (stored.trained.decoder_size + scales + given) + said
    assert given > 0


# rows


def at_bits(rows):
    table = pd.DataFrame([row for row in rows if row["split"] == "test"])
    return {None if pd.isna(at) else int(at): part for at, part in table.groupby("at", dropna=False)}


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"window": 5, "halo": 1}, {"refine": {"steps": 2, "num_queries": 4, "query_pool": 9}}])
def test_an_autoencoders_rounded_codes_are_measured_beside_its_own(tmp_path, changes):
    zoo, _ = populations(tmp_path)
    rows = {}
    for rate in (None, {"bits": [12, 4]}):
        stored, splits = stored_of(zoo, rate=rate, **changes)
        rows[rate is None] = evaluate_autoencoder(stored, splits, zoo.images, SOURCE)
    parts = at_bits(rows[False])
    assert set(parts) == {None, 12, 4}
    assert [row for row in rows[False] if row["at"] is None] == rows[True]
    whole = parts[None].groupby("metric")["value"].mean()
    for bits, part in parts.items():
        if bits is None:
            continue
        assert set(part["metric"]) == set(AT_BITS)
        means = part.groupby("metric")["value"].mean()
        assert means["weights_deviation"] == whole["weights_deviation"]
        assert bits == 4 or means["weights_squared_error"] == pytest.approx(whole["weights_squared_error"], rel=0.01)
    assert parts[4].groupby("metric")["value"].mean()["bytes_code"] < parts[12].groupby("metric")["value"].mean()["bytes_code"]
    write_metrics(tmp_path / "metrics.parquet", rows[False], METRICS)


@pytest.mark.slow
def test_weights_in_many_bits_are_the_network_and_its_linear_code_comes_back_as_it_does_unrounded(tmp_path):
    zoo, _ = populations(tmp_path, times=3)
    for settings in ({"kind": "identity"}, {"kind": "pca", "numbers": 3}):
        config = BaselineConfig(zoo="plain", epochs=[3, 5], rate=RateConfig(bits=[12, 2]), **settings)
        parts = at_bits(evaluate_baseline(config, zoo, SOURCE, CPU))
        means = {bits: part.groupby("metric")["value"].mean() for bits, part in parts.items()}
        for bits in (12, 2):
            loss = means[bits]["weights_squared_error"] - means[None]["weights_squared_error"]
            assert abs(loss) < 1e-3 * means[None]["weights_deviation"] or bits == 2
        assert means[2]["bytes_code"] < means[12]["bytes_code"]
        numbers = SPEC.num_weights
        grid = {"identity": 4 * (2 * numbers + 1), "pca": 4 * (7 + numbers + 3 * numbers)}[config.kind]
        assert means[12]["bytes_shared"] == grid + len(json.dumps(SPEC.description))
        assert means[12]["bytes_code"] < 4 * (numbers if config.kind == "identity" else 3)


@pytest.mark.parametrize("kind", COMPRESS)
@pytest.mark.parametrize("spec", [SPEC, NORMED], ids=["plain", "norms"])
def test_networks_made_small_are_what_their_own_bytes_say_whoever_is_beside_them(kind, spec):
    config = BaselineConfig(zoo="planted", kind=kind, **({"bits": 4} if kind == "quantized" else {"kept_share": 0.5}))
    weights = networks(spec, 3)
    together = compressed(config, spec, weights)
    for n in range(3):
        alone = compressed(config, spec, weights[n : n + 1])
        assert torch.equal(alone.weights[0], together.weights[n])
        assert [size.item() for size in alone.sizes] == [size[n].item() for size in together.sizes]
    kept = torch.cat([each.index.flatten() for each in rows_of(spec, "none") if not each.tokens] + [torch.zeros(0, dtype=int)])
    assert torch.equal(together.weights[:, kept], weights[:, kept])
    rows = {str(n): each for n, each in enumerate(rows_of(spec, "none"))}
    names = [name for name, each in rows.items() if each.tokens]
    made = COMPRESS[kind]({name: weights[0][each.index] for name, each in rows.items()}, names, config)
    assert together.sizes.bytes_code[0] + together.sizes.bytes_shared[0] == len(made.blob)
    assert 0 < together.sizes.bytes_shared[0] < 600


def test_a_unit_in_few_bits_has_its_bias_on_its_own_grid():
    weights = networks(SPEC, 2)
    made = compressed(BaselineConfig(zoo="planted", kind="quantized", bits=3), SPEC, weights).weights
    for each in rows_of(SPEC):
        for unit in made[:, each.index].flatten(0, 1):
            assert len(unit.unique()) <= 7
    assert not torch.equal(made, weights)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"kind": "noise", "weights_r2": 0.9, "rate": {}}, "rate is of pca and of identity"),
        ({"kind": "quantized"}, "kind quantized needs bits"),
        ({"kind": "pca", "numbers": 3, "bits": 4}, "kind quantized needs bits, which are for no other kind"),
        ({"kind": "pruned"}, "kinds pruned and low_rank need kept_share"),
        ({"kind": "quantized", "bits": 5}, "bits"),
        ({"kind": "pca", "numbers": 3, "rate": {"bits": [1]}}, "greater than or equal to 2"),
        ({"kind": "pca", "numbers": 3, "rate": {"bits": []}}, "at least 1"),
        ({"kind": "pca", "numbers": 3, "rate": {}, "conditioning": None}, "rate needs conditioning"),
    ],
)
def test_settings_that_do_not_fit_a_kind_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        BaselineConfig(zoo="planted", **settings)


def test_codes_that_are_decoded_beside_each_other_have_no_bytes_of_their_own():
    with pytest.raises(ValueError, match="rate is of each network by itself"):
        config_of(attention="batch", rate={})
