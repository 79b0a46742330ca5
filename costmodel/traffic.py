"""Bytes that a loop nest moves between levels of memory: footprints of the inner loops against cache sizes.

The classic reuse analysis: the largest inner part of the nest whose data fit in a cache is loaded once an iteration of
the loops around it; an operand that does not vary with the loop right around that part stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from costmodel.nest import Access
from costmodel.schedules import Array

LINE = 64.0
"""Bytes of a cache line."""
USABLE = 0.8
"""Share of a cache that one kernel's data can have."""


@dataclass(frozen=True)
class Loop:
    """One loop of n schedules: the dimension that it advances and its trip count, shape (n,)."""

    dim: str
    trips: Array


@dataclass(frozen=True)
class Nest:
    """Loops from the innermost outwards around a tile that covers `tile[dim]` elements of each dimension."""

    tile: dict[str, Array]
    loops: Sequence[Loop]
    accesses: Sequence[Access]


def footprints(nest: Nest) -> Array:
    """Bytes that each access touches in the tile and in every loop around it: shape (loops + 1, accesses, n)."""
    count = len(nest.loops) + 1
    covered = {dim: np.repeat(steps[None], count, axis=0) for dim, steps in nest.tile.items()}
    for at, loop in enumerate(nest.loops):
        if loop.dim not in covered:
            covered[loop.dim] = np.ones((count, len(loop.trips)))
        covered[loop.dim][at + 1 :] *= loop.trips
    return np.stack([_bytes(a, covered) for a in nest.accesses], axis=1)


def traffic(nest: Nest, levels: Array, cache_bytes: float) -> Array:
    """Bytes that come from beyond a cache of `cache_bytes`, shape (n,)."""
    fits = levels.sum(axis=1) <= USABLE * cache_bytes
    if fits.all():
        return np.zeros(levels.shape[2])  # calls follow each other: what fits is there from the one before
    inside = np.maximum(fits.sum(axis=0) - 1, 0)
    moved = np.take_along_axis(levels, inside[None, None, :], axis=0)[0]
    varies = np.array([[a.strides.get(loop.dim, 0) != 0 for a in nest.accesses] for loop in nest.loops])
    for at, loop in enumerate(nest.loops):
        again = (at > inside)[None, :] | ((at == inside)[None, :] & varies[at][:, None])
        moved = np.where(again, moved * loop.trips, moved)
    passes = np.array([2.0 if a.store else 1.0 for a in nest.accesses])  # what is written is read first
    return np.where(fits[-1], 0.0, passes @ moved)


def _bytes(access: Access, covered: dict[str, Array]) -> Array:
    """Whole cache lines that an access touches while each dimension covers so many steps."""
    one = np.ones_like(next(iter(covered.values())))
    reach: dict[int, Array] = {}
    for dim, stride in access.strides.items():
        if dim in covered and stride:
            reach[abs(stride)] = reach.get(abs(stride), one) + covered[dim] - 1.0
    lines = np.ceil(reach.pop(1, one) * access.element_bytes / LINE)
    for steps in reach.values():
        lines = lines * steps
    return np.minimum(lines * LINE, access.span_bytes + LINE)
