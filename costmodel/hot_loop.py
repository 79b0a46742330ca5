"""The hot loop of a schedule as LLVM leaves it: what is unrolled into it, and the registers that it takes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from costmodel.nest import Pattern
from costmodel.operations import CLASS_AT
from costmodel.region.roles import LANE, PANEL
from costmodel.schedules import ORDERS, Array, Schedules
from costmodel.unrolling import SIZES, unroll

BY_COLUMNS = ORDERS.index("columns-rows")
HOT = (
    "llvm_steps", "llvm_size", "llvm_rounds", "vanished", "hot_accumulators", "ahead", "overlap", "llvm_registers",
    "hot_fmas", "llvm_tiles", "kept_loads",
)  # fmt: skip
"""Names of what `hot_loop` finds of the loop itself."""
_COEFFICIENTS = dict(exp=11.0, erf=17.0, tanh=14.0)
Kind = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
"""How many tiles there are of a shape, its vectors and its rows."""
Trips = list[tuple[str, Array]]
"""Loops and their trip counts."""


def hot_loop(
    p: Pattern, s: Schedules, row: bool, width: Array, kinds: list[Kind], found: dict[str, Array]
) -> dict[str, Array]:
    """The hot loop as LLVM leaves it, and the registers that it takes.

    Each shape of tile has a loop of its own; the hot one has most multiply-adds, else most operations.
    """
    best = np.full(len(s), -1.0)
    out = {name: np.zeros(len(s)) for name in HOT}
    held = np.full(len(s), float(p.constants[1] + (_constants(p.counts[2]) if p.reduction_loops else 0.0)))
    for times, v, r in kinds:
        inner = bodies(p.counts[0], v, r)
        once = (bodies(p.counts[1], v, r) + bodies(p.counts[2], v, r)) @ SIZES
        steps, loops, around = _trips(p, s, row, width, r)
        hot = unroll(inner @ SIZES / p.sweeps * steps, steps, [n for _, n in loops], once, [n for _, n in around])
        first = 0 if not p.reduction_loops else len(loops)
        kept = _kept(p, [*loops, *around], first, hot.whole, v, r)
        loads = v * (p.counts[0][CLASS_AT["load"]].sum() > 0)
        fmas = inner[:, CLASS_AT["fma"]] * hot.steps
        score = np.where(times > 0, fmas + inner.sum(axis=1) * hot.steps * 1e-6, -1.0)
        ahead = np.minimum(np.maximum(4.0, loads), loads * hot.steps) + (v > 1) * (r > 1)
        values = (
            hot.steps, hot.size, hot.rounds, hot.whole[: len(loops)].all(axis=0), v * r, ahead, r * p.overlaps,
            v * r * (found["accumulators"] > 0) + ahead + r * p.overlaps, fmas, hot.tiles, kept,
        )  # fmt: skip
        for name, value in zip(HOT, values, strict=True):
            out[name] = np.where(score > best, value, out[name])
        best = np.maximum(best, score)
    constants = held + _constants(p.counts[0]) + p.constants[0]
    return out | {
        "llvm_constants": constants,
        "llvm_need": out["llvm_registers"] + out["kept_loads"] + constants,
        "llvm_code": out["llvm_size"] + (found["code"] - found["body"]),
    }


def _kept(p: Pattern, loops: Trips, first: int, whole: NDArray[np.bool_], points: Array, rows: Array) -> Array:
    """Loads that do not vary with a loop that is left, from loop `first` on: LLVM keeps their values in registers."""
    kept = np.zeros(whole.shape[1])
    for access in [a for a in p.accesses if not a.store]:
        copies = (points if access.strides.get(LANE) else 1.0) * (rows if access.strides.get(p.row_loop) else 1.0)
        free = np.ones(whole.shape[1], dtype=bool)
        for number, (dim, trips) in enumerate(loops):
            left = ~whole[number]
            if access.strides.get(dim):
                free, copies = free & ~left, np.where(left, copies, copies * trips)
            elif number >= first:
                kept += np.where(free & left, copies, 0.0)
                free = free & ~left
    return kept


def _trips(p: Pattern, s: Schedules, row: bool, width: Array, rows: Array) -> tuple[Array, Trips, Trips]:
    """(steps of the source loops in a body, loops of a tile from the innermost outwards, loops around it)."""
    one, rows = np.ones(len(s)), np.maximum(rows, 1.0)
    tiles, panels = np.maximum(1.0, p.rows // rows), np.maximum(1.0, p.columns // width)
    batch = [(d, n * one) for d, n in batch_loops(p)]
    if row:
        return one, [(LANE, panels)], [(p.row_loop, tiles), *batch]
    block = np.where(s.row_tile // rows < tiles, s.row_tile // rows, 0.0)
    by_columns = s.order == BY_COLUMNS
    first = np.where(block > 0, block, np.where(by_columns, tiles, one))
    last = np.where(block > 0, np.maximum(1.0, tiles // np.maximum(block, 1.0)), np.where(by_columns, one, tiles))
    around = [(p.row_loop, first), (PANEL, panels), (p.row_loop, last), *batch]
    if not p.reduction_loops:
        inner = 1 if p.rows > 1 else 2
        return one, around[:inner], around[inner:]
    *outer, depth = p.reduction_loops
    steps = np.minimum(s.unroll, p.loops[depth])
    inner = (depth, np.maximum(1.0, p.loops[depth] // steps))
    return steps, [inner, *((d, p.loops[d] * one) for d in reversed(outer))], around


def batch_loops(p: Pattern) -> list[tuple[str, int]]:
    """Loops that are neither columns, rows nor reduced, and their extents, from the innermost outwards."""
    named = {LANE, PANEL, p.row_loop, *p.reduction_loops}
    return [(d, n) for d, n in reversed(p.loops.items()) if d not in named]


def bodies(coefficients: Array, points: Array, rows: Array) -> Array:
    """(n, classes): operations of a tile of `points` vectors and `rows` rows."""
    return np.stack([np.ones_like(points), points, rows, points * rows], axis=1) @ coefficients.T


def _constants(counts: Array) -> float:
    """Coefficients of the polynomials that a body's functions are computed with; LLVM holds them in registers."""
    return float(sum(n for name, n in _COEFFICIENTS.items() if counts[CLASS_AT[name]].any()))
