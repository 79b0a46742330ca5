"""The loops around a tile: the outermost are shared by threads, and a smaller last tile is emitted apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

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
            self._shared(shared, inner)
        else:
            self._serial([*shared, *inner], frozenset())

    def _shared(self, shared: Dims, rest: Dims) -> None:
        """Loops whose iterations threads share; those of the innermost in blocks, each a plain loop in one thread.

        Iterations shared one by one would each find their indices by division, and keep LLVM from the loop.
        """
        *outer, (dim, count) = shared
        size = max(1, prod(n for _, n in shared) // PARALLEL_ITERATIONS)
        blocks = -(-count // size)
        block = f"{dim}_block"
        self.b.parallel([*outer, (block, blocks)], lambda: self._guard(outer, (dim, count, size), rest, frozenset()))

    def _guard(self, outer: Dims, block: tuple[str, int, int], rest: Dims, last: frozenset[str]) -> None:
        """Inside a parallel loop: a branch for each outer dimension that may be at its remainder, then the block."""
        if not outer:
            return self._block(*block, rest, last)
        (dim, count), *others = outer
        if dim not in self.cut:
            return self._guard(others, block, rest, last)
        if count == 1:
            return self._guard(others, block, rest, last | {dim})
        return self.b.branch(
            dim,
            count - 1,
            lambda: self._guard(others, block, rest, last | {dim}),
            lambda: self._guard(others, block, rest, last),
        )

    def _block(self, dim: str, count: int, size: int, rest: Dims, last: frozenset[str]) -> None:
        """Iterations of one block of `dim`: whole tiles, and the remainder at the end of the last block."""
        block, blocks = f"{dim}_block", -(-count // size)
        if size == 1:
            self.b.env[dim] = self.b.env[block]
            return self._branch(dim, count, rest, last)
        whole = count - 1 if dim in self.cut else count
        first = self.b.scaled(self.b.env[block], size)
        outer = dict(self.b.env)

        def step(_: list[Any]) -> list[Any]:
            self.b.env[dim] = self.b.sum(first, self.b.env[f"{dim}_step"])
            self._serial(rest, last)
            return []

        def remainder() -> None:
            self.b.env[dim] = self.b.constant(count - 1)
            self._serial(rest, last | {dim})

        if whole:
            left = size if whole % size == 0 and whole == count else self.b.at_most(first, whole, size)
            self.b.loop(f"{dim}_step", left, step)
        if whole < count:
            self.b.branch(block, blocks - 1, remainder, lambda: None)
        self.b.env = outer

    def _branch(self, dim: str, count: int, rest: Dims, last: frozenset[str]) -> None:
        """One iteration of `dim`, which may be its remainder."""
        if dim not in self.cut:
            return self._serial(rest, last)
        if count == 1:
            return self._serial(rest, last | {dim})
        return self.b.branch(dim, count - 1, lambda: self._serial(rest, last | {dim}), lambda: self._serial(rest, last))

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
