"""Names and numbers as a reader sees them."""

from math import floor, log10
from textwrap import fill

from weightspace.report.intervals import Interval

QUALIFIERS = {"random encoder": "untrained encoder"}


def wrapped(label: str, width: int) -> str:
    """A label in lines of at most `width` letters."""
    return fill(label, width, break_long_words=False)


def words(name: str) -> str:
    """A metric's or feature set's name to read."""
    text = name.replace("_", " ")
    return QUALIFIERS.get(text, text)


def number(value: float) -> str:
    """Three decimals."""
    return f"{value:.3f}"


def number_and_interval(mean: float, low: float, high: float) -> tuple[str, str]:
    """A mean and its interval with three decimals each.

    With one where one of the three is large; where all are small, with as many as show two digits of the largest.
    """
    size = max(map(abs, (mean, low, high)))
    if 1e-4 <= size < 0.01:
        form = f".{1 - floor(log10(size))}f"
    else:
        form = ".2g" if 0 < size < 1e-4 else ".1f" if size >= 100 else ".3f"
    return f"{mean:{form}}", f"[{low:{form}}, {high:{form}}]"


def number_with_interval(mean: float, low: float, high: float) -> str:
    """A mean, then its interval."""
    return " ".join(number_and_interval(mean, low, high))


def percent(fraction: float) -> str:
    """A fraction in percent, one decimal."""
    return f"{100 * fraction:.1f} %"


def percent_with_interval(interval: Interval) -> str:
    """Mean and interval of a fraction, in percent."""
    return f"{percent(interval.mean)} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"
