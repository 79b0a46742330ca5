"""What LLVM's loop unrolling makes of a tile's loops: it decides how many steps, and so registers, the hot loop holds.

Found by compiling matrix products (LLVM 24 git, -O3, AVX-512): a loop is unrolled wholly if that gives at most 300
instructions, else as often as gives at most 68 and divides its trip count; the loop around a vanished one comes next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from costmodel.nest import CLASSES
from costmodel.schedules import Array

WHOLE = 300.0
"""Instructions of a loop that is unrolled wholly (LLVM's -unroll-threshold at -O3)."""
PARTLY = 68.5
"""Instructions of a loop that is unrolled in part: the processor's loop buffer, less the loop's own."""
_SIZES = dict(broadcast=3.0, strided=2.0, scatter=2.0, gather=6.0, exp=24.0, erf=30.0, tanh=34.0, minmax=2.0)
"""LLVM instructions of an operation where that is not one: a broadcast is a load, an insertion and a shuffle."""
SIZES = np.array([_SIZES.get(name, 1.0) for name in CLASSES])


@dataclass(frozen=True)
class Unrolled:
    """The hot loop of n schedules after unrolling; arrays of shape (n,)."""

    steps: Array
    """Steps of the source loops in one round."""
    size: Array
    """Instructions of one round, before selection."""
    rounds: Array
    """Trip count that is left; 1 where no loop is."""
    vanished: Array
    """1 where all reduction loops were unrolled wholly."""


def unroll(size: Array, steps: Array, trips: Sequence[Array]) -> Unrolled:
    """Unrolls loops with `trips` from the innermost outwards around a body of `size` instructions and `steps` steps."""
    size, steps, rounds = size.copy(), steps.copy(), np.ones_like(size)
    going = np.ones(len(size), dtype=bool)
    for trip in trips:
        whole = going & (size * trip <= WHOLE)
        partly = going & ~whole
        factor = np.where(whole, trip, np.where(partly, _divisor(trip, size), 1.0))
        rounds = np.where(partly, trip / factor, rounds)
        size, steps = size * factor, steps * factor
        going = whole
    return Unrolled(steps, size, rounds, going.astype(np.float64))


def _divisor(trip: Array, size: Array) -> Array:
    """The largest divisor of a trip count that keeps a body within PARTLY."""
    best = np.ones_like(size)
    for factor in range(2, int(PARTLY) + 1):
        fits = (size * factor <= PARTLY) & (np.mod(trip, factor) == 0)
        if not (size * factor <= PARTLY).any():
            break
        best = np.where(fits, float(factor), best)
    return best
