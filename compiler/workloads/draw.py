"""Seeded draws of extents: log-uniform, some round and some not."""

from __future__ import annotations

import math
import random

ROUND = 0.6
"""Share of the extents that are multiples of a vector or powers of two, as widths of models are; the others are any."""


def extent(rng: random.Random, low: int, high: int) -> int:
    """An extent in low..high, log-uniform."""
    value = math.exp(rng.uniform(math.log(low), math.log(high + 1)))
    if rng.random() < ROUND:
        value = rounded(rng, value)
    return min(max(int(value), low), high)


def rounded(rng: random.Random, value: float) -> int:
    """The multiple of 8, 16 or 32, or the power of two, nearest to `value`, but at least 1."""
    if value < 8 or rng.random() < 0.3:
        return 2 ** round(math.log2(max(value, 1)))
    step = rng.choice([s for s in (8, 16, 32) if s <= value])
    return round(value / step) * step


def multiple(rng: random.Random, step: int, low: int, high: int) -> int:
    """A multiple of `step` in low..high, log-uniform."""
    return step * max(1, round(math.exp(rng.uniform(math.log(low / step), math.log(high / step)))))


def chance(rng: random.Random, share: float) -> bool:
    """True in `share` of the draws."""
    return rng.random() < share
