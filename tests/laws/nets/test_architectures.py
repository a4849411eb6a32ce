"""Named architectures: counts as published, each from one table."""

import re

import pytest
from architectures import COUNTS, SHAPES
from conftest import ROOT
from weightspace.errors import InputError
from weightspace.nets.spec import build_spec
from weightspace.tokens import token_layout


def counted(row):
    return f"{row.architecture} {row.image_shape} {row.num_classes}"


def spec_in(row):
    return build_spec(row.architecture, "relu", row.image_shape, row.num_classes)


@pytest.mark.parametrize("row", COUNTS, ids=counted)
def test_learned_weights_are_as_many_as_published(row):
    assert spec_in(row).num_learned == row.learned


@pytest.mark.slow
@pytest.mark.parametrize("row", COUNTS, ids=counted)
def test_units_are_as_many_as_published(row):
    assert len(token_layout(spec_in(row), batch_norm="none").index) == row.tokens


def test_every_name_is_counted():
    assert {row.architecture for row in COUNTS} >= SHAPES.keys()


@pytest.mark.parametrize("widths", [[7], [5, 9], [4, 3, 6, 2, 8]], ids=str)
def test_a_multilayer_perceptron_has_any_depth(widths):
    spec = build_spec(f"mlp {' '.join(map(str, widths))}", "tanh", (2, 3, 4), 6)
    assert [layer.weight_shape for layer in spec.layers] == [*zip([*widths, 6], [24, *widths], strict=True)]
    assert spec.num_weights == sum(out * (inside + 1) for inside, out in zip([24, *widths], [*widths, 6], strict=True))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("mlp 30 x", "'linear x' does not read"),
        ("mlp 0", "'linear 0' does not read"),
        ("mlp ", "'linear ' does not read"),
        ("mlp  30", "'linear ' does not read"),
        ("cnn 30", "no architecture 'cnn 30'"),
        ("resnet34", "only .*resnet34_cifar"),
    ],
)
def test_a_name_that_does_not_read_is_told(name, told):
    with pytest.raises(InputError, match=told):
        build_spec(name, "relu", (1, 8, 8), 10)


def test_the_page_of_settings_has_the_same_counts():
    text = (ROOT / "docs/settings.template.md").read_text()
    rows = re.findall(r"^\| `(\w[\w ]+)` \| (\d+) x (\d+) x (\d+) \| ([\d,]+) \| ([\d,]+) \|$", text, flags=re.MULTILINE)
    assert {name.partition(" ")[0] for name, *_ in rows} == SHAPES.keys() - {"resnet18"}
    for name, *numbers in rows:
        *shape, learned, tokens = (int(number.replace(",", "")) for number in numbers)
        assert (name, tuple(shape), 10, learned, tokens) in COUNTS
