"""Queries: a file of inputs and exact answers, whose held-out inputs are others, and what each design promises."""

from itertools import combinations

import pytest
import torch
from corner_images import planted_images
from weightspace.errors import InputError
from weightspace.images.tensors import normalize
from weightspace.recovery.designs import BISECTIONS
from weightspace.recovery.queries import (
    SPLITS,
    Pools,
    ask_teachers,
    check_probabilities,
    log_probabilities,
    make_queries,
    read_queries,
    rounded,
    table_queries,
    write_queries,
)
from weightspace.recovery.settings import QueriesConfig, SyntheticTeachers
from weightspace.recovery.teachers import answers, synthetic_teachers

VECTOR, IMAGE = (3, 1, 1), (1, 6, 6)
FREE = ["uniform", "gaussian"]
FROM_IMAGES = ["data", "composition", "biased_noise"]
DESIGNS = [*FREE, *FROM_IMAGES, "boundary"]
IDENTITY = ("cell", 0)


def config_of(design, **changes):
    images = "planted" if design in (*FROM_IMAGES, "boundary") else None
    return QueriesConfig(**{"design": design, "images": images, "num": 20, "held_out": 8} | changes)


def teachers_of(shape=VECTOR, outputs=3, num=2):
    inputs = torch.Size(shape).numel()
    return synthetic_teachers(SyntheticTeachers(kind="synthetic", inputs=inputs, hidden=[4], outputs=outputs, num=num), "made")


def answers_of(shape=VECTOR, **changes):
    """Functions of the teachers on inputs of any shape of so many entries."""
    asked = answers(teachers_of(shape, **changes))
    return [lambda x, answer=answer: answer(x.reshape(len(x), -1, 1, 1)) for answer in asked]


def ask(design, identity=IDENTITY, **changes):
    config = config_of(design, **changes)
    shape, images = (VECTOR, None) if config.images is None else (IMAGE, planted_images())
    return ask_teachers(config, answers_of(shape), shape, Pools(images), identity)


# all designs


@pytest.mark.parametrize("design", DESIGNS)
def test_every_answer_is_the_teachers_own_to_the_float32_input_of_the_file(design):
    queries = ask(design)
    asked = answers_of(VECTOR if design in FREE else IMAGE)
    for split in SPLITS:
        x, y = getattr(queries, f"{split}_x"), getattr(queries, f"{split}_y")
        assert x.dtype == torch.float32
        assert len(y) == len(asked)
        for teacher, answer in enumerate(asked):
            torch.testing.assert_close(y[teacher], answer(x[teacher if len(x) > 1 else 0].double()), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("design", DESIGNS)
def test_no_input_is_in_two_splits(design):
    queries = ask(design)
    rows = {s: {tuple(row.tolist()) for row in getattr(queries, f"{s}_x").flatten(0, 1).flatten(1)} for s in SPLITS}
    assert all(rows[a].isdisjoint(rows[b]) for a, b in combinations(SPLITS, 2))
    sizes = {split: getattr(queries, f"{split}_x").shape[1] for split in SPLITS}
    assert sizes == {"train": 20, "val": 8, "test": 8, "shifted": 8}


@pytest.mark.slow
@pytest.mark.parametrize("design", DESIGNS)
def test_draws_hang_on_the_identity_alone(design):
    same, other = ask(design), ask(design, ("cell", 1))
    assert all(torch.equal(getattr(same, f"{s}_x"), getattr(ask(design), f"{s}_x")) for s in SPLITS)
    assert not torch.equal(same.train_x, other.train_x)


def test_queries_survive_their_file(tmp_path):
    queries = ask("boundary")._replace(spec=teachers_of().spec)
    write_queries(tmp_path / "queries", queries)
    found = read_queries(tmp_path / "queries")
    assert found.spec == queries.spec
    assert found.asked == queries.asked
    assert all(torch.equal(getattr(found, f"{s}_{v}"), getattr(queries, f"{s}_{v}")) for s in SPLITS for v in "xy")


def test_answers_that_are_not_finite_name_their_teacher_and_split():
    config, (first, _) = config_of("gaussian"), answers_of()
    with pytest.raises(InputError, match="teacher 1 has train answers that are not finite"):
        ask_teachers(config, [first, lambda x: first(x) / 0], VECTOR, Pools(), IDENTITY)


def test_images_of_another_shape_are_named():
    with pytest.raises(
        InputError, match=r"queries\.images: 'planted' has images of shape \(1, 6, 6\), the teachers take \(3, 1, 1\)"
    ):
        ask_teachers(config_of("data"), answers_of(), VECTOR, Pools(planted_images()), IDENTITY)


def test_a_split_without_images_is_named():
    with pytest.raises(InputError, match=r"queries\.images: 'planted' has no val images"):
        ask_teachers(config_of("data"), answers_of(IMAGE), IMAGE, Pools(planted_images(val=0)), IDENTITY)


# each design


@pytest.mark.parametrize(("design", "largest"), [("uniform", 3**0.5), ("gaussian", 100.0)])
def test_free_inputs_have_the_deviation_that_is_asked_for_and_shifted_ones_twice_that(design, largest):
    queries = ask(design, num=20_000, held_out=20_000, scale=1.5)
    assert abs(float(queries.train_x.std()) - 1.5) < 0.03
    assert abs(float(queries.train_x.mean())) < 0.03
    assert queries.train_x.abs().max() < 1.5 * largest * 1.0001
    assert abs(float(queries.shifted_x.std()) - 3.0) < 0.06


@pytest.mark.parametrize("design", [*FROM_IMAGES, "boundary"])
def test_shifted_inputs_of_a_design_with_images_are_noise_of_deviation_1(design):
    assert abs(float(ask(design, held_out=2000).shifted_x.std()) - 1) < 0.03


@pytest.mark.parametrize("design", DESIGNS)
def test_teachers_of_images_are_tested_on_the_same_ones_whatever_they_were_asked(design):
    config, own = config_of(design), planted_images()
    asked = ask_teachers(config, answers_of(IMAGE), IMAGE, Pools(own if config.images else None, own), IDENTITY)
    plain = ask_teachers(config_of("data"), answers_of(IMAGE), IMAGE, Pools(own, own), IDENTITY)
    for split in ("test", "shifted"):
        assert torch.equal(getattr(asked, f"{split}_x"), getattr(plain, f"{split}_x"))
        assert torch.equal(getattr(asked, f"{split}_y"), getattr(plain, f"{split}_y"))


def test_the_design_data_asks_each_image_of_the_same_split_at_most_once():
    queries, images = ask("data", num=1000, held_out=1000), planted_images()
    for split in ("train", "val", "test"):
        expected = normalize(getattr(images, f"{split}_x"), images)
        found = getattr(queries, f"{split}_x")[0]
        assert sorted(found.flatten(1).tolist()) == sorted(expected.flatten(1).tolist())


def test_a_composition_of_flat_images_is_a_grid_of_flat_tiles():
    images = planted_images()
    values = torch.arange(len(images.train_x)).view(-1, 1, 1, 1).to(torch.uint8) * 5
    images = images._replace(train_x=values.expand(-1, *IMAGE).clone())
    x = ask_teachers(config_of("composition"), answers_of(IMAGE), IMAGE, Pools(images), IDENTITY).train_x[0, :, 0]
    known = set(normalize(images.train_x, images)[:, 0, 0, 0].tolist())
    for n, picture in enumerate(x):
        tile = 3 if n % 2 == 0 else 2  # 6 pixels in a grid of 2 x 2, then of 3 x 3
        tiles = picture[::tile, ::tile]
        torch.testing.assert_close(picture, tiles.repeat_interleave(tile, 0).repeat_interleave(tile, 1))
        assert len(tiles.unique()) > 1
        assert all(min(abs(value - one) for one in known) < 1e-5 for value in tiles.flatten().tolist())


def test_biased_noise_has_a_constant_and_a_strength_of_its_own_per_image():
    images = planted_images()
    flat = images._replace(train_x=torch.full_like(images.train_x, 50))  # normalized: -0.026
    x = ask_teachers(config_of("biased_noise", num=2000), answers_of(IMAGE), IMAGE, Pools(flat), IDENTITY).train_x[0].flatten(1)
    strength = x.std(1)
    assert strength.min() < 0.05 < 0.9 < strength.max() < 1.6
    assert abs(float(x.mean(1).std()) - 1) < 0.06


@pytest.mark.parametrize("images", ["planted", None])
def test_boundary_inputs_lie_where_each_teachers_class_changes(images):
    queries = ask("boundary", images=images)
    for y in (queries.train_y, queries.val_y, queries.test_y):
        first, second = y.topk(2).values.unbind(-1)
        assert (first - second).max() < 1e-4 * y.std()
    assert len(queries.train_x) == 2
    assert not torch.equal(queries.train_x[0], queries.train_x[1])


def test_the_questions_that_found_a_boundary_are_counted():
    counts = torch.zeros(2, dtype=torch.long)

    def counting(n, answer):
        def counted(x):
            counts[n] += len(x)
            return answer(x)

        return counted

    asked = [counting(n, answer) for n, answer in enumerate(answers_of())]
    queries = ask_teachers(config_of("boundary", images=None), asked, VECTOR, Pools(), IDENTITY)
    unseen = 8 + (2 * 8 + BISECTIONS * 8 + 8)  # shifted and test are not the attacker's
    assert counts.tolist() == [queries.asked + unseen] * 2


@pytest.mark.parametrize("design", FREE)
def test_without_bisection_the_questions_are_train_and_val(design):
    assert ask(design).asked == 28


@pytest.mark.parametrize(("answer", "told"), [
    (lambda x: x.flatten(1)[:, :1], "has one output"),
    (lambda x: torch.tensor([0.0, 1.0], dtype=torch.float64).expand(len(x), 2), "40 inputs one and the same class"),
])  # fmt: skip
def test_a_teacher_without_a_boundary_is_an_error(answer, told):
    with pytest.raises(InputError, match=rf"queries\.design: .*{told}"):
        ask_teachers(config_of("boundary", images=None), [answer], VECTOR, Pools(), IDENTITY)


# tables


@pytest.mark.parametrize(("rows", "held_out", "held"), [(60, 5, 5), (60, 1000, 10), (12, 1000, 2)])
def test_a_table_is_split_without_loss_or_repetition(rows, held_out, held):
    x, y = torch.randn(rows, *VECTOR).double(), torch.arange(rows).double().unsqueeze(1)
    queries = table_queries(x, y, held_out, IDENTITY)
    assert queries.val_y.shape == queries.test_y.shape == (1, held, 1)
    assert queries.shifted_x.shape == (1, 0, *VECTOR)
    found = torch.cat([queries.train_y, queries.val_y, queries.test_y], dim=1).flatten()
    assert sorted(found.tolist()) == list(range(rows))
    inputs = torch.cat([queries.train_x, queries.val_x, queries.test_x], dim=1)[0]
    torch.testing.assert_close(inputs, x[found.long()].float(), rtol=0, atol=0)
    assert queries.asked == rows - held


# rounding and probabilities


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_rounding_leaves_so_many_levels_and_what_the_students_do_not_see(bits):
    queries = ask("gaussian", num=3000)
    coarse = rounded(queries, bits)
    for exact, found in zip(queries.train_y, coarse.train_y, strict=True):
        assert len(found.unique()) <= 2**bits
        step = (exact.max() - exact.min()) / (2**bits - 1)
        assert 0.4 * step < (found - exact).abs().max() <= 0.500001 * step
    assert set(coarse.val_y[1].flatten().tolist()) - set(coarse.train_y[1].flatten().tolist()) == set()
    assert torch.equal(coarse.test_y, queries.test_y)
    assert torch.equal(coarse.shifted_y, queries.shifted_y)


def softened(queries):
    return queries._replace(**{f"{s}_y": getattr(queries, f"{s}_y").softmax(2) for s in SPLITS})


def test_log_probabilities_are_logits_up_to_a_constant_per_row():
    queries = ask("gaussian")
    found = log_probabilities(softened(queries))
    for split in SPLITS:
        difference = getattr(found, f"{split}_y") - getattr(queries, f"{split}_y")
        torch.testing.assert_close(difference, difference[..., :1].expand_as(difference), rtol=0, atol=1e-10)
        torch.testing.assert_close(getattr(found, f"{split}_y").sum(2), torch.zeros_like(difference[..., 0]), rtol=0, atol=1e-10)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(("change", "told"), [(lambda y: y * 1.01, "sums to 1.01, not 1"), (lambda y: y - y, "no logarithm")])
def test_what_is_no_probability_is_named_with_its_split(split, change, told):
    queries = softened(ask("gaussian"))
    check_probabilities(queries)
    with pytest.raises(InputError, match=rf"of the {split} answers.*{told}"):
        check_probabilities(queries._replace(**{f"{split}_y": change(getattr(queries, f"{split}_y"))}))


def test_rounded_probabilities_are_made_logarithms_of_after_rounding():
    teachers = teachers_of()
    made = SyntheticTeachers(kind="synthetic", inputs=3, hidden=[4])
    exact, coarse = (
        make_queries(config_of("gaussian", output_bits=bits), "probabilities", made, teachers, Pools(), IDENTITY)
        for bits in (None, 4)
    )
    assert exact.spec == teachers.spec
    logits = make_queries(config_of("gaussian"), "logits", made, teachers, Pools(), IDENTITY)
    torch.testing.assert_close(exact.train_y, logits.train_y - logits.train_y.mean(2, keepdim=True))
    torch.testing.assert_close(coarse.test_y, exact.test_y, rtol=0, atol=0)
    expected = rounded(softened(logits), 4).train_y.log()
    torch.testing.assert_close(coarse.train_y, expected - expected.mean(2, keepdim=True))
