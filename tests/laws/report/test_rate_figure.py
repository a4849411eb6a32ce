"""The figure of bytes places each method where its bytes are, alone and with its share of what is shared."""

import numpy as np
import pytest
from tables import joined
from test_report import planted_values, rows_of, texts_of
from weightspace.autoencoder.figures.rate import lines_of
from weightspace.autoencoder.metrics import AT_BITS
from weightspace.report.draw import draw
from weightspace.report.registry import figure_named
from weightspace.report.select import interval_of
from weightspace.table import Source

MODELS = 6
CODES = {8: (100.0, 0.98), 4: (20.0, 0.9)}  # bits to bytes and accuracy
WIDE = {("baseline", "quantized_8"): 900.0, ("baseline", "quantized_4"): 500.0}


def sized(source, accuracy, size, shared, at=None):
    """One seed's rows of networks that were rebuilt from so many bytes."""
    values = planted_values(accuracy, 0.0, MODELS, np.random.default_rng(int(size)))
    values |= {"bytes_code": np.full(MODELS, size), "bytes_shared": np.full(MODELS, shared)}
    names = values if at is None else AT_BITS
    return [row | {"at": at} for row in rows_of(source, {name: values[name] for name in names if name in values})]


def table(codes=("coded",), zoos=("digits",)):
    rows, about = [], {}
    for zoo in zoos:
        for cell in codes:
            source = Source("planted", "autoencoder", f"{cell}_{zoo}", 0)
            rows += rows_of(source, planted_values(0.95, 0.0, MODELS, np.random.default_rng(0)))
            for bits, (size, accuracy) in CODES.items():
                rows += sized(source, accuracy, size, 24_000.0, bits)
            about["autoencoder", source.cell] = {"of": zoo, "group": "learned", "label": f"{cell} of {zoo}"}
        for (stage, cell), size in WIDE.items():
            rows += sized(Source("planted", stage, f"{cell}_{zoo}", 0), 0.93, size, 240.0)
            about[stage, f"{cell}_{zoo}"] = {"of": zoo, "kind": "quantized", "group": "fewer bits", "label": cell}
    return joined(rows, about)


def drawn(axes):
    return {bars.get_label().partition(" (")[0]: bars[0] for bars in axes.containers}


@pytest.mark.slow
def test_each_point_is_at_its_bytes_and_its_share_of_what_is_shared():
    rows = table()
    figure = draw(figure_named("rate"), rows)
    for (metric, line), shares in zip(
        {"agreement_own": 0, "accuracy_reconstruction": 1}.items(), [(np.inf, 1000, MODELS)] * 2, strict=True
    ):
        for axes, share in zip(figure.axes[3 * line : 3 * line + 3], shares, strict=True):
            found = drawn(axes)
            assert found.keys() == {"coded of digits", "fewer bits"}
            np.testing.assert_allclose(found["coded of digits"].get_xdata(), np.array([20, 100]) + 24_000 / share)
            np.testing.assert_allclose(found["fewer bits"].get_xdata(), np.array([500, 900]) + 240 / share)
            means = [interval_of(rows, "coded_digits", metric, bits).mean for bits in (4, 8)]
            np.testing.assert_allclose(found["coded of digits"].get_ydata(), means)
    assert "At how many bytes is a network still itself?" in texts_of(figure)
    assert f"Decoder shared by {MODELS} networks" in texts_of(figure)


@pytest.mark.slow
def test_zoos_have_rows_of_their_own():
    figure = draw(figure_named("rate"), table(zoos=("digits", "mnist")))
    assert len(figure.axes) == 12
    for place, zoo in ((0, "digits"), (6, "mnist")):
        assert drawn(figure.axes[place]).keys() == {f"coded of {zoo}", "fewer bits"}


def test_no_two_lines_look_alike_and_more_than_there_are_looks_have_none():
    looks = [line.look for line in lines_of(table(codes=[f"code{n}" for n in range(14)]))]
    assert looks.count(None) == 2
    shown = [(look.color, look.marker, look.filled) for look in looks if look]
    assert len(shown) == len(set(shown)) == 13


def test_a_table_without_bytes_says_that_there_is_nothing_to_draw():
    rows = joined(rows_of(Source("planted", "baseline", "pca", 0), planted_values(0.9, 0.0, 3, np.random.default_rng(0))))
    assert "nothing here was rebuilt from bytes" in texts_of(draw(figure_named("rate"), rows))
