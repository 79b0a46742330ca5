"""What LLVM's loop unrolling makes of a tile's loops: it decides how many steps, and so registers, the hot loop holds.

Found by compiling matrix products (LLVM 24 git, -O3, AVX-512): a loop is unrolled wholly if that gives at most 300
instructions, from the innermost outwards, whether those inside are gone or not; then the innermost that is left as
often as gives at most 68 and divides its trip count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from costmodel.operations import CLASSES
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
    tiles: Array
    """Register tiles in one round, or a part of one."""
    size: Array
    """Instructions of one round, before selection."""
    rounds: Array
    """Trip count that is left; 1 where no loop is."""
    whole: NDArray[np.bool_]
    """Which loops were unrolled wholly, from the innermost outwards; shape (loops, n)."""


def unroll(
    size: Array, steps: Array, trips: Sequence[Array], once: Array | float = 0.0, around: Sequence[Array] = ()
) -> Unrolled:
    """What is left of a loop nest: first every loop that is short enough goes, then the innermost left is unrolled.

    Args:
        size: instructions of the innermost body.
        steps: steps of the source loops in it.
        trips: of the loops of a tile, from the innermost outwards.
        once: instructions of a tile beside those.
        around: trips of the loops around a tile, from the innermost outwards.
    """
    size, steps, rounds, tiles = size.copy(), steps.copy(), np.ones_like(size), np.ones_like(size)
    hot, going = size.copy(), np.ones(len(size), dtype=bool)
    every: list[NDArray[np.bool_]] = []
    for number, trip in enumerate([*trips, *around]):
        if number == len(trips):
            size = size + once
            hot = np.where(going, size, hot)
        whole = size * trip <= WHOLE
        last = going & ~whole
        factor = np.where(going & whole, trip, np.where(last, _divisor(trip, hot), 1.0))
        rounds = np.where(last, trip / factor, rounds)
        hot, steps = hot * factor, steps * factor
        tiles = tiles * factor if number >= len(trips) else tiles
        size = np.where(whole, size * trip, size)
        going = going & whole
        every.append(whole)
    return Unrolled(steps, tiles, hot, rounds, np.array(every))


def _divisor(trip: Array, size: Array) -> Array:
    """The largest divisor of a trip count that keeps a body within PARTLY."""
    factors = np.arange(1.0, PARTLY / max(1.0, size.min(initial=PARTLY)) + 1)
    fits = (np.multiply.outer(size, factors) <= PARTLY) & (np.mod.outer(trip, factors) == 0)
    return (fits * factors).max(axis=1, initial=1.0)
