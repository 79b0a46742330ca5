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
    covered = dict(nest.tile)
    levels = [_touched(nest.accesses, covered)]
    for loop in nest.loops:
        covered[loop.dim] = covered.get(loop.dim, np.ones_like(loop.trips)) * loop.trips
        levels.append(_touched(nest.accesses, covered))
    return np.stack(levels)


def traffic(nest: Nest, levels: Array, cache_bytes: float) -> Array:
    """Bytes that come from beyond a cache of `cache_bytes`, shape (n,)."""
    fits = levels.sum(axis=1) <= USABLE * cache_bytes
    inside = np.maximum(fits.sum(axis=0) - 1, 0)
    total = np.zeros(levels.shape[2])
    for i, access in enumerate(nest.accesses):
        moved = np.take_along_axis(levels[:, i, :], inside[None, :], axis=0)[0]
        for at, loop in enumerate(nest.loops):
            varies = _varies(access, loop.dim)
            moved = np.where((at > inside) | ((at == inside) & varies), moved * loop.trips, moved)
        total += moved * (2.0 if access.store else 1.0)  # what is written is read first
    return np.where(fits[-1], 0.0, total)  # calls follow each other: what fits is there from the one before


def _varies(access: Access, dim: str) -> bool:
    return access.strides.get(dim, 0) != 0


def _touched(accesses: Sequence[Access], covered: dict[str, Array]) -> Array:
    return np.stack([_bytes(a, covered) for a in accesses])


def _bytes(access: Access, covered: dict[str, Array]) -> Array:
    """Whole cache lines that an access touches while each dimension covers so many steps."""
    some = next(iter(covered.values()))
    reach: dict[int, Array] = {}
    for dim, stride in access.strides.items():
        if dim in covered and stride:
            reach[abs(stride)] = reach.get(abs(stride), np.ones_like(some)) + covered[dim] - 1.0
    run = reach.pop(1, np.ones_like(some))
    lines = np.ceil(run * access.element_bytes / LINE)
    for steps in reach.values():
        lines = lines * steps
    return np.minimum(lines * LINE, access.span_bytes + LINE)
