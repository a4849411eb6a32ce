"""An order is the textbook's greedy one, moves coordinates within a layer alone, and costs as many bytes as published."""

import numpy as np
import pytest
import torch
from planted_predictors import planted_originals
from weightspace.compression.decode import order_fields
from weightspace.errors import InputError
from weightspace.nets.forward import unflatten
from weightspace.nets.spec import build_spec
from weightspace.predictor import orders
from weightspace.predictor.kernels import layout_of, to_kernels
from weightspace.predictor.orders import ORDERS, greedy_sequence, kernel_order, order_kernels, read_order, write_order

LAYOUT = layout_of({"conv1.weight": (5, 3, 3, 3), "conv2.weight": (4, 6, 3, 3), "conv3.weight": (3, 5, 1, 1)}, None, False)


def drawn():
    return torch.randn(LAYOUT.num_kernels, 9) * LAYOUT.mask


def cosine(a, b):
    norm = np.linalg.norm(a) * np.linalg.norm(b)
    return 0.0 if norm == 0 else float((a / np.linalg.norm(a) * (b / np.linalg.norm(b))).sum())


def textbook(num, likeness):
    """Greedy: from 0 on the likest unused one, of equal ones the first."""
    sequence, unused = [0], list(range(1, num))
    while unused:
        sequence.append(max(unused, key=lambda other: likeness(sequence[-1], other)))
        unused.remove(sequence[-1])
    return sequence


def kinds_of_kernels():
    random = np.random.default_rng(0)
    plain = random.standard_normal((600, 9))
    zeros = plain * (random.random((600, 1)) < 0.6)
    ternary = random.integers(-1, 2, (600, 4)).astype(float)  # 81 directions and less: many equal ones
    close = 1 + 1e-9 * random.standard_normal((600, 9))
    return {"plain": plain, "zeros": zeros, "ternary": ternary, "close": close, "all zero": 0 * plain, "equal": 0 * plain + 1}


@pytest.mark.slow
@pytest.mark.parametrize("kind", kinds_of_kernels())
def test_the_sequence_is_the_textbooks_greedy_one(kind, monkeypatch):
    monkeypatch.setattr(orders, "SMALL", 20)  # so that the tree answers
    kernels = kinds_of_kernels()[kind]
    norms = np.linalg.norm(kernels, axis=1, keepdims=True)
    directions = np.divide(kernels, norms, out=np.zeros_like(kernels), where=norms > 0)
    likeness = np.stack([(directions * direction).sum(1) for direction in directions])
    assert greedy_sequence(kernels).tolist() == textbook(600, lambda a, b: likeness[a, b])


@pytest.mark.parametrize("order", ORDERS)
def test_coordinates_stay_in_their_layer(order):
    rank = kernel_order(LAYOUT, drawn(), order)
    for part in LAYOUT.parts:
        assert rank[part.rows].sort().values.tolist() == list(range(part.begin, part.begin + part.num_kernels))


def test_no_order_leaves_everything():
    assert torch.equal(kernel_order(LAYOUT, drawn(), "none"), torch.arange(LAYOUT.num_kernels))


def test_cross_filter_ranks_a_layers_kernels_by_the_textbook():
    kernels = drawn()
    rank = kernel_order(LAYOUT, kernels, "cross_filter")
    for part in LAYOUT.parts[:2]:
        own = kernels[part.rows].double().numpy()
        sequence = textbook(part.num_kernels, lambda a, b, own=own: cosine(own[a], own[b]))
        assert rank[part.rows][sequence].tolist() == list(range(part.begin, part.begin + part.num_kernels))


def test_in_filter_ranks_channels_then_filters_by_the_textbook():
    kernels = drawn()
    rank = kernel_order(LAYOUT, kernels, "in_filter")
    for part in LAYOUT.parts[:2]:
        own = kernels[part.rows].double().numpy().reshape(part.filters, part.channels, 9)
        channels = [textbook(part.channels, lambda a, b, f=f: cosine(f[a], f[b])) for f in own]
        moved = [f[sequence] for f, sequence in zip(own, channels, strict=True)]
        filters = textbook(part.filters, lambda a, b, m=moved: sum(map(cosine, m[a], m[b])))
        expected = [f * part.channels + c for f in filters for c in channels[f]]
        assert rank[part.rows][expected].tolist() == list(range(part.begin, part.begin + part.num_kernels))


def test_neighbors_in_rank_have_neighboring_coordinates_in_a_serpentine():
    kernels = drawn()
    cross, snake = (kernel_order(LAYOUT, kernels, order) for order in ("cross_filter", "serpentine"))
    for part in LAYOUT.parts:
        coordinates = LAYOUT.coordinates[snake[part.rows]][cross[part.rows].argsort()]
        assert (coordinates.diff(dim=0).abs().sum(1) == 1).all()


@pytest.mark.parametrize("order", ["cross_filter", "in_filter"])
def test_single_weights_are_sorted_by_value(order):
    kernels, part = drawn(), LAYOUT.parts[2]
    rank = kernel_order(LAYOUT, kernels, order)[part.rows] - part.begin
    values = kernels[part.rows, 4][rank.argsort()]
    rows = values.view(part.filters, -1) if order == "in_filter" else values
    assert torch.equal(rows, rows.sort().values)


@pytest.mark.parametrize("order", ORDERS)
def test_kernels_of_zeros_have_an_order_too(order):
    rank = kernel_order(LAYOUT, torch.zeros(LAYOUT.num_kernels, 9), order)
    assert rank.sort().values.tolist() == list(range(LAYOUT.num_kernels))


@pytest.mark.parametrize("order", ORDERS)
def test_a_scale_changes_no_order(order):
    kernels = drawn()
    assert torch.equal(kernel_order(LAYOUT, kernels, order), kernel_order(LAYOUT, 4 * kernels, order))


@pytest.mark.parametrize(
    ("name", "cross", "inside"),
    [("resnet20", 45_476, 22_944), ("resnet56", 137_636, 69_936), ("resnet18", 2_626_560, 1_306_496)],
)
def test_published_bytes_of_orders(name, cross, inside):
    size = 224 if name == "resnet18" else 32
    sizes = [3] if name == "resnet18" else None
    layout = layout_of(build_spec(name, "relu", (3, size, size), 10).shapes, sizes, False)
    grids = [(part.filters, part.channels) for part in layout.parts]
    bits = {order: sum(count * width for count, width in order_fields(grids, order)) for order in ORDERS}
    assert {order: size / 8 for order, size in bits.items()} == {
        "none": 0, "cross_filter": cross, "serpentine": cross, "in_filter": inside,
    }  # fmt: skip


def test_another_order_is_refused():
    with pytest.raises(InputError, match="there is no order 'random'"):
        kernel_order(LAYOUT, drawn(), "random")


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_said_to_be(order, value):
    kernels = drawn()
    kernels[7, 3] = value
    with pytest.raises(InputError, match="not finite"):
        kernel_order(LAYOUT, kernels, order)


# files


@pytest.mark.parametrize("order", ORDERS)
def test_written_orders_of_originals_come_back(tmp_path, order):
    originals = planted_originals()
    layout = layout_of(originals.spec.shapes, None, True)
    rank = order_kernels(originals, layout, order)
    kernels = to_kernels(layout, unflatten(originals.spec, originals.weights))
    assert torch.equal(rank, torch.stack([kernel_order(layout, own, order) for own in kernels]))
    write_order(tmp_path / "order", rank)
    assert torch.equal(read_order(tmp_path / "order"), rank)
