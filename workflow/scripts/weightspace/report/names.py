"""Names and numbers as a reader sees them."""

import re
from math import floor, log10
from textwrap import fill

from weightspace.report.intervals import Interval

LOSSES = {"contrast": "C", "structure": "S", "behavior": "B"}
ACRONYMS = {"pca": "PCA", "mnist": "MNIST", "cifar10": "CIFAR-10", "relu": "ReLU", "gelu": "GELU", "silu": "SiLU"}
LOSSES_NOTE = "C contrast, S structure, B behavior, in parentheses the distance of outputs."
BALANCED_NOTE = (
    "Balanced: behavior weighted in balance with structure, chosen on validation models; the others weigh it as published."
)
QUALIFIERS = {"random encoder": "untrained encoder"}


def cell_label(cell: str, width: int = 80) -> str:
    """A cell's name to read: its losses by their letters, the rest in parentheses; lines of at most `width` letters."""
    words = cell.split("_")
    losses = [LOSSES[word] for word in words if word in LOSSES]
    others = " ".join(_read(word) for word in words if word not in LOSSES)
    label = " + ".join(losses) + (f" ({others})" if losses and others else others)
    return fill(label, width, break_long_words=False)


def _read(word: str) -> str:
    """An acronym in capitals; rho4, an expansion factor, as ρ=4."""
    return ACRONYMS.get(word, re.sub(r"^rho(?=\d)", "ρ=", word))


def losses_note(cells: list[str]) -> str:
    """What the names of these cells say."""
    return f"{LOSSES_NOTE} {BALANCED_NOTE}" if any("balanced" in cell.split("_") for cell in cells) else LOSSES_NOTE


def words(name: str) -> str:
    """A metric's or feature set's name to read."""
    text = name.replace("_", " ")
    return QUALIFIERS.get(text, text)


def number(value: float) -> str:
    """Three decimals."""
    return f"{value:.3f}"


def number_with_interval(mean: float, low: float, high: float) -> str:
    """Three decimals; one where one of the three is large; where all are small, as many as show two digits of the largest."""
    size = max(map(abs, (mean, low, high)))
    if 1e-4 <= size < 0.01:
        form = f".{1 - floor(log10(size))}f"
    else:
        form = ".2g" if 0 < size < 1e-4 else ".1f" if size >= 100 else ".3f"
    return f"{mean:{form}} [{low:{form}}, {high:{form}}]"


def percent(fraction: float) -> str:
    """A fraction in percent, one decimal."""
    return f"{100 * fraction:.1f} %"


def percent_with_interval(interval: Interval) -> str:
    """Mean and interval of a fraction, in percent."""
    return f"{percent(interval.mean)} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"
