"""A word of a token sequence, and the real-valued channels that stand beside its id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

DIVISORS = (4, 8, 16, 64)
CHANNELS = ("log2", "negative", *(f"by{d}" for d in DIVISORS), "depth")
"""log2(1 + |n|) / LOG2_SCALE, the sign, divisibility (what vectors and cache lines care about), nesting depth / 4."""
LOG2_SCALE = 8.0
NUMBER = "<number>"
LARGEST = 2.0**62


class Word(NamedTuple):
    """One token before it gets its id."""

    text: str
    number: float | None = None
    """The value of a number, or of the field that `text` names; None for a plain word."""
    depth: int = 0
    """How many regions enclose it."""


def channels(words: Sequence[Word]) -> NDArray[np.float32]:
    """The numeric channels of words, shape (len(words), len(CHANNELS)); plain words have nothing but their depth."""
    out = np.zeros((len(words), len(CHANNELS)), dtype=np.float32)
    known = np.array([w.number is not None for w in words], dtype=bool)
    if known.any():
        value = np.clip([w.number or 0.0 for w in words if w.number is not None], -LARGEST, LARGEST)
        out[known, 0] = np.log2(1.0 + np.abs(value)) / LOG2_SCALE
        out[known, 1] = value < 0
        for i, divisor in enumerate(DIVISORS):
            out[known, 2 + i] = (value != 0) & (value % divisor == 0)
    out[:, -1] = [w.depth / 4.0 for w in words]
    return out
