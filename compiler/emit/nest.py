"""The loops around a tile: the outermost are shared by threads, and a smaller last tile is emitted apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

from compiler.emit.builder import KernelBuilder

Dims = Sequence[tuple[str, int]]

PARALLEL_ITERATIONS = 64
"""Loops are distributed together, from the outermost on, until there are this many iterations to share."""


@dataclass(frozen=True)
class Nest:
    """Emits loops over `dims` (name, count), outermost first; the last iteration of those in `cut` is a smaller tile.

    `body(last)` emits one tile; `last` names the dimensions that are at their smaller last iteration.
    """

    b: KernelBuilder
    cut: frozenset[str]
    body: Callable[[frozenset[str]], None]

    def emit(self, dims: Dims, parallel: bool) -> None:
        inner = [(d, n) for d, n in dims if n > 1 or d in self.cut]
        shared: list[tuple[str, int]] = []
        while parallel and inner and prod(n for _, n in shared) < PARALLEL_ITERATIONS:
            shared.append(inner.pop(0))
        if prod(n for _, n in shared) > 1:
            self.b.parallel(shared, lambda: self._guard(shared, inner, frozenset()))
        else:
            self._serial([*shared, *inner], frozenset())

    def _guard(self, shared: Dims, rest: Dims, last: frozenset[str]) -> None:
        """Inside a parallel loop: a branch for each dimension that may be at its remainder."""
        if not shared:
            return self._serial(rest, last)
        (dim, count), *others = shared
        if dim not in self.cut:
            return self._guard(others, rest, last)
        if count == 1:
            return self._guard(others, rest, last | {dim})
        return self.b.branch(
            dim,
            count - 1,
            lambda: self._guard(others, rest, last | {dim}),
            lambda: self._guard(others, rest, last),
        )

    def _serial(self, dims: Dims, last: frozenset[str]) -> None:
        """Loops in this thread: whole tiles first, then the remainder."""
        if not dims:
            return self.body(last)
        (dim, count), *rest = dims
        whole = count - 1 if dim in self.cut else count
        if whole:
            self.b.loop(dim, whole, lambda _: self._serial(rest, last) or [])
        if whole < count:
            outer = dict(self.b.env)
            self.b.env[dim] = self.b.constant(count - 1)
            self._serial(rest, last | {dim})
            self.b.env = outer
        return None
