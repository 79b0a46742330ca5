"""Classes of operations, and what expressions of them need: latency chains, values that are alive, constants."""

from __future__ import annotations

import numpy as np

from costmodel.facts import OP_GROUPS
from costmodel.region.expression import Accumulator, Apply, Constant, Expr, children, walk

ARITHMETIC = ("fma", "add", "mul", "div", "minmax", "select", "cast", "exp", "erf", "tanh", "sqrt", "other")
CLASSES = (*ARITHMETIC, "load", "broadcast", "strided", "gather", "store", "scatter")
"""`strided` counts elements, not vectors: one scalar load each; `scatter` the same for stores."""
_CLASS = {name: group for group, names in OP_GROUPS.items() if group in ARITHMETIC for name in names}
CLASS_AT = {name: i for i, name in enumerate(CLASSES)}
EXPENSIVE = ("div", "exp", "erf", "tanh", "sqrt")
LATENCIES = dict(minmax=14.0, select=7.0, div=24.0)
"""Multiply-adds of throughput that pass until a result can be used; 8 for other classes (4 cycles, two a cycle). A
maximum that keeps NaN is three instructions."""


def product(expr: Expr) -> list[Expr]:
    """The mulf of `acc + a * b`, in a list; empty for anything else."""
    if not (isinstance(expr, Apply) and expr.op.name == "arith.addf"):
        return []
    if not any(isinstance(e, Accumulator) for e in expr.operands):
        return []
    return [e for e in expr.operands if isinstance(e, Apply) and e.op.name == "arith.mulf"]


def group(expr: Apply) -> str:
    """The class of an operation."""
    return _CLASS.get(expr.op.name.split(".")[-1], "other")


def latency_chain(updates: list[Expr]) -> float:
    """The longest way from an accumulator to its next value, in multiply-adds of throughput."""
    waits: dict[int, float] = {}
    for expr in walk(*updates):
        ways = [waits[id(e)] for e in children(expr) if id(e) in waits]
        if isinstance(expr, Accumulator):
            waits[id(expr)] = 0.0
        elif ways:
            name = "fma" if product(expr) else group(expr) if isinstance(expr, Apply) else "other"
            waits[id(expr)] = max(ways) + LATENCIES.get(name, 8.0)
    return max((waits.get(id(e), 0.0) for e in updates), default=0.0)


def constants(found: list[Expr]) -> int:
    """How many different constants stand below `found`."""
    return len({e.attribute for e in walk(*found) if isinstance(e, Constant)})


def most_alive(found: list[Expr]) -> int:
    """Most values alive at once when the nodes below `found` are computed operands first."""
    order = [e for e in walk(*found) if not isinstance(e, Constant)]
    last: dict[int, int] = {}
    for at, expr in enumerate(order):
        for child in expr.operands if isinstance(expr, Apply) else ():
            last[id(child)] = at
    ends = np.zeros(len(order) + 1, dtype=np.int64)
    for at in last.values():
        ends[at] += 1
    return int(max(np.cumsum(np.ones(len(order), dtype=np.int64) - ends[:-1]), default=0))
