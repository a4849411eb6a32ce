"""Windows: whole networks come back from them at every length, and a step sees what whole networks hold there."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from test_autoencoder import SPEC, config_of, model_of, planted_weights, problem_of, run
from weightspace.autoencoder.batches import all_views, draw_starts, draw_views, view_sequences
from weightspace.autoencoder.evaluate import reconstruct
from weightspace.autoencoder.features import embeddings_of
from weightspace.autoencoder.train import batch_losses
from weightspace.autoencoder.windows import joined, windows, windows_of
from weightspace.tokens import token_layout

TOKENS = len(token_layout(SPEC).index)
CUTS = [(size, halo) for size in range(1, 14) for halo in range((size + 1) // 2)]


# whole networks


@pytest.mark.parametrize("num_tokens", range(1, 31))
def test_cut_into_windows_and_joined_every_sequence_is_itself(num_tokens):
    tokens, positions = torch.randn(2, num_tokens, 3), torch.arange(3 * num_tokens).view(-1, 3)
    for size, halo in [(None, 0), *CUTS]:
        parts = windows(num_tokens, size, halo)
        assert torch.equal(joined(lambda seen, _: seen, tokens, positions, parts), tokens)
        places = joined(lambda seen, place: place.float().expand(len(seen), -1, -1), tokens, positions, parts)
        assert torch.equal(places[1].long(), positions)


@pytest.mark.parametrize("num_tokens", range(1, 31))
def test_windows_are_of_one_size_and_what_is_kept_has_its_halo_wherever_there_are_tokens(num_tokens):
    for size, halo in CUTS:
        for part in windows(num_tokens, size, halo):
            assert part.end - part.start == min(size, num_tokens)
            assert 0 <= part.start <= part.first < part.last <= part.end <= num_tokens
            assert part.first - part.start >= min(halo, part.first)
            assert part.end - part.last >= min(halo, num_tokens - part.last)


def test_networks_whose_last_window_is_short_are_cut_too():
    """ResNet-18 of CIFAR-10 and of Tiny-ImageNet, with which the published haloing stops (sane.md, 3.5)."""
    for num_tokens in (53_524, 53_904, 39_304, 53_704):
        parts = windows(num_tokens, 256, 64)
        assert [part.first for part in parts] == list(range(0, num_tokens, 128))
        assert [*parts[0]] == [0, 256, 0, 128]
        assert parts[-1].start == num_tokens - 256


def test_what_is_kept_depends_on_its_window_and_on_nothing_else():
    problem, model = problem_of(window=9, halo=3), model_of(config_of())
    parts, weights = windows_of(problem.config, TOKENS), planted_weights(2)
    tokens = problem.codec.to_tokens(weights)
    positions = problem.codec.layout.positions
    with torch.no_grad():
        codes = joined(model.encode, tokens, positions, parts)
        for part in parts:
            alone = model.encode(tokens[:, part.start : part.end], positions[part.start : part.end])
            kept = alone[:, part.first - part.start : part.last - part.start]
            torch.testing.assert_close(codes[:, part.first : part.last], kept)
    cut, whole = (reconstruct(problem.codec, model, weights, 2, parts).weights for parts in (parts, None))
    assert not torch.allclose(cut, whole, atol=1e-6)
    assert torch.equal(reconstruct(problem.codec, model, weights, 2, windows(TOKENS, TOKENS, 3)).weights, whole)


@pytest.mark.parametrize("sequence", ["windows", "whole"])
def test_probes_read_what_windows_or_one_whole_sequence_encode(sequence, monkeypatch):
    problem, model = problem_of(window=9, halo=2), model_of(config_of())
    config = problem.config.model_copy(update={"probe_sequence": sequence})
    lengths, encode = [], model.encode
    monkeypatch.setattr(model, "encode", lambda tokens, at: lengths.append(tokens.shape[1]) or encode(tokens, at))
    with torch.no_grad():
        found = embeddings_of(problem.codec, model, problem.weights, config)
        codes = joined(encode, problem.codec.to_tokens(problem.weights), problem.codec.layout.positions,
                       windows(TOKENS, 9, 2) if sequence == "windows" else windows(TOKENS))  # fmt: skip
    assert set(lengths) == {9 if sequence == "windows" else TOKENS}
    np.testing.assert_allclose(found, codes.mean(1).double().numpy(), rtol=1e-4, atol=1e-7)


# steps


KINDS = {
    "as they are": {"views": "original"},
    "permuted": {"views": "original_permuted"},
    "stored": {"views": "stored"},
    "leaking padding": {"views": "permuted_permuted", "permuted_padding": "first_weight"},
}


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_window_of_a_view_is_what_the_whole_view_holds_there(kind, standardize):
    data = problem_of(window=7, standardize=standardize, **kind)
    batch, starts = torch.tensor([2, 5, 2, 9]), torch.tensor([0, 11, 4, TOKENS - 7])
    for view in draw_views(data, batch, torch.Generator().manual_seed(3)):
        seen, whole = view_sequences(data, batch, view, starts), view_sequences(data, batch, view)
        for n, start in enumerate(starts):
            own = slice(start, start + 7)
            assert torch.equal(seen.tokens[n], whole.tokens[n, own])
            assert torch.equal(seen.positions[n], whole.positions[own])
            assert torch.equal(seen.mask[n], whole.mask[own])


def test_both_views_of_a_network_are_seen_in_the_same_window():
    data, batch = problem_of(window=5), torch.arange(4)
    views = draw_views(data, batch, torch.Generator().manual_seed(0))
    seen = all_views([view_sequences(data, batch, view, torch.tensor([1, 2, 3, 4])) for view in views])
    assert seen.tokens.shape[:2] == (8, 5)
    assert torch.equal(*seen.positions.chunk(2))
    assert torch.equal(seen.first(4).mask, seen.mask[4:])
    assert not torch.equal(*seen.tokens.chunk(2))


@pytest.mark.parametrize("start", ["network", "batch"])
def test_windows_start_anywhere_for_each_network_or_for_all_of_a_step(start):
    data = problem_of(window=TOKENS - 3, window_start=start, batch_size=8)
    drawn = torch.stack([draw_starts(data, torch.Generator().manual_seed(n)) for n in range(60)])
    assert drawn.unique().tolist() == [0, 1, 2, 3]
    assert (drawn == drawn[:, :1]).all() == (start == "batch")
    counts = drawn[:, 0].bincount()
    assert counts.min() > 0.4 * counts.float().mean()


@pytest.mark.parametrize("window", [TOKENS, TOKENS + 5])
def test_a_window_as_long_as_the_network_is_the_whole_network(window):
    settings = {"contrast_weight": 0.05, "cycle_weight": 0.1}
    windowed, whole = (problem_of(**settings, window=size) for size in (window, None))
    ours, theirs = (batch_losses(data._replace(weights=whole.weights, codec=whole.codec), model_of(data.config), 3, 0)
                    for data in (windowed, whole))  # fmt: skip
    assert ours == theirs


@pytest.mark.slow
def test_training_on_windows_brings_the_losses_down(tmp_path):
    problem = problem_of(contrast_weight=0.05, window=10, steps=100, learning_rate=0.01)
    curves = run(problem, tmp_path / "state")[1].curves[0]
    assert (curves[-5:].mean(0) < curves[:5].mean(0)).tolist() == [True, True, False, False, True]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"halo": 2}, "halo 2 needs a window"),
        ({"window": 8, "halo": 4}, "window 8 holds nothing but its halos of 4 tokens"),
        ({"window": 8, "behavior_weight": 0.1}, "behavior_weight needs whole networks"),
    ],
)
def test_windows_that_do_not_fit_are_named(changes, told):
    with pytest.raises(ValidationError, match=told):
        config_of(**changes)
