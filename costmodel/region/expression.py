"""The expressions of a kernel: what is loaded from where, computed how, reduced over what, and stored.

Nodes compare by identity, so that a value used twice is emitted once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from costmodel.region.linear import Linear


@dataclass(frozen=True, eq=False)
class Load:
    """Element of an argument at a linear address (in elements)."""

    argument: int
    address: Linear
    type: Any


@dataclass(frozen=True, eq=False)
class Gather:
    """Element of an argument at `address` plus the sum of index values times strides (embedding lookups).

    `dynamic` holds (index, stride, extent) of each dimension that is indexed by a value.
    """

    argument: int
    address: Linear
    dynamic: tuple[tuple[Expr, int, int], ...]
    type: Any


@dataclass(frozen=True, eq=False)
class Constant:
    """A scalar constant; `attribute` is an MLIR attribute of `type`."""

    attribute: Any
    type: Any


@dataclass(frozen=True, eq=False)
class Index:
    """The value of an index expression (linalg.index)."""

    form: Linear
    type: Any


@dataclass(frozen=True, eq=False)
class Apply:
    """An operation of a linalg body on scalars."""

    op: Any
    operands: tuple[Expr, ...]
    type: Any


@dataclass(frozen=True, eq=False)
class Accumulator:
    """The running value inside a reduction's update."""

    reduction: int
    type: Any


@dataclass(frozen=True, eq=False)
class Reduced:
    """The value of a finished reduction."""

    reduction: int
    type: Any


Expr = Load | Gather | Constant | Index | Apply | Accumulator | Reduced


@dataclass(frozen=True, eq=False)
class Reduction:
    """`acc = init; for dims: acc = update(acc)`, once for every point of the other dimensions in `index`."""

    dims: tuple[str, ...]
    init: Expr
    update: Expr
    index: tuple[Linear, ...]


@dataclass(frozen=True, eq=False)
class Store:
    """`value` written to an element of a result (by argument number, results follow the inputs)."""

    argument: int
    address: Linear
    value: Expr
    type: Any


def children(expr: Expr) -> tuple[Expr, ...]:
    if isinstance(expr, Apply):
        return expr.operands
    if isinstance(expr, Gather):
        return tuple(e for e, _, _ in expr.dynamic)
    return ()


def walk(*roots: Expr) -> list[Expr]:
    """Every node below `roots` once, operands first."""
    seen: set[int] = set()
    order: list[Expr] = []

    def visit(expr: Expr) -> None:
        if id(expr) in seen:
            return
        seen.add(id(expr))
        for child in children(expr):
            visit(child)
        order.append(expr)

    for root in roots:
        visit(root)
    return order
