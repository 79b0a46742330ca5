"""Counts of n schedules of one workload, read from its text: operations, registers, trips, traffic, and a bound.

The result feeds the learned models as features: `bound_ns` is the longest of arithmetic, loads, issue and latency chain
at the measured peak, beside the traffic of each cache level. `costmodel.bound` makes their prior of the same counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costmodel.candidates import Group
from costmodel.facts import facts
from costmodel.nest import ARITHMETIC, CLASS_AT, CLASSES, Pattern, row_pattern, tile_pattern
from costmodel.region.read import read_workload
from costmodel.region.roles import LANE, PANEL
from costmodel.schedules import ALGORITHMS, ORDERS, Array, Schedules
from costmodel.target import Target
from costmodel.traffic import Loop, Nest, footprints, traffic
from costmodel.unrolling import SIZES, unroll
from costmodel.workload import Workload

SLOTS = dict(
    fma=1.0, add=1.0, mul=1.0, div=10.0, minmax=1.0, select=1.5, cast=1.0, exp=14.0, erf=22.0, tanh=26.0, sqrt=14.0,
    other=2.0, load=1.0, broadcast=1.0, strided=1.5, gather=4.0, store=2.0, scatter=2.5,
)  # fmt: skip
"""Multiply-adds of throughput that one vector operation of a class takes."""
CHAIN = 8.0
"""A multiply-add's latency in multiply-adds of throughput."""
TILE_SLOTS, STEP_SLOTS = 16.0, 1.0
"""What a tile and a loop step cost beside their operations."""
PAGE, LINE = 4096, 64
"""Bytes after which addresses fall on the same set of an L1 cache, and of a line."""
_ROW = ALGORITHMS.index("row")
_BY_COLUMNS = ORDERS.index("columns-rows")
_COST = np.array([SLOTS[c] for c in CLASSES])
_IS_ARITHMETIC = np.array([c in ARITHMETIC for c in CLASSES])
_HOT = (
    "llvm_steps", "llvm_size", "llvm_rounds", "vanished", "hot_accumulators", "ahead", "overlap", "llvm_registers",
    "hot_fmas", "held_loads",
)  # fmt: skip
_COEFFICIENTS = dict(exp=11.0, erf=17.0, tanh=14.0)
Kind = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
"""How many tiles there are of a shape, its vectors and its rows."""
NAMES = (
    *(f"total_{c}" for c in CLASSES),
    *(f"inner_{c}" for c in CLASSES),
    *(f"tile_{c}" for c in CLASSES),
    "readable", "points", "tile_rows", "remainder_points", "remainder_rows", "accumulators", "invariants", "alive",
    "alive_after", "need", "constants", "tiles", "steps", "inner_trips", "sweeps", "full_share", "body", "code",
    "footprint_tile", "footprint_inner", "footprint_middle", "footprint_all", "from_l1", "from_l2", "from_l3",
    "lane_stride", "lane_sets", "row_stride", "row_sets",
    *_HOT, "llvm_constants", "llvm_need", "llvm_code",
    "arithmetic_ns", "load_ns", "issue_ns", "chain_ns", "overhead_ns", "l2_ns", "l3_ns", "memory_ns", "bound_ns",
    "peak_ns", "unit_ns", "wide",
)  # fmt: skip


def count_matrix(groups: Sequence[Group], count_of: int, target: Target) -> Array:
    """The counts of `count_of` candidates, shape (count_of, len(NAMES))."""
    out = np.zeros((count_of, len(NAMES)))
    for group in groups:
        found = count(group.workload, group.schedules, target)
        out[group.rows] = np.stack([found[name] for name in NAMES], axis=1)
    return out


def count(workload: Workload, schedules: Schedules, target: Target) -> dict[str, Array]:
    """Counts by name of NAMES, each of shape (n,).

    All but `peak_ns` are 0 where the workload has no expression form.
    """
    out = {name: np.zeros(len(schedules)) for name in NAMES}
    out["peak_ns"] += facts(workload).flops / target.peak_gflops_core
    if read_workload(workload) is None or not len(schedules):
        return out
    keys = np.stack([schedules.algorithm == _ROW, schedules.vector, schedules.pack], axis=1)
    found, group = np.unique(keys, axis=0, return_inverse=True)
    for number, (row, vector, pack) in enumerate(found):
        at = np.flatnonzero(group.ravel() == number)
        pattern = _pattern(workload, bool(row), int(vector), bool(pack) and not row)
        if pattern is not None:
            for name, values in _count(pattern, schedules.take(at), bool(row), target).items():
                out[name][at] = values
    return out


@lru_cache(maxsize=65536)
def _pattern(workload: Workload, row: bool, vector: int, pack: bool) -> Pattern | None:
    region = read_workload(workload)
    if region is None:
        return None
    return row_pattern(region, vector) if row and region.reductions else tile_pattern(region, vector, pack)


def _count(p: Pattern, s: Schedules, row: bool, target: Target) -> dict[str, Array]:
    n, width = len(s), s.vector * s.vectors
    tile_rows = np.minimum(s.rows, p.rows)
    points = np.ceil(np.minimum(width, p.columns) / s.vector)
    rest_points, rest_rows = np.ceil(np.mod(p.columns, width) / s.vector), p.rows % tile_rows
    around = np.full(n, float(p.inner)) if p.inner else np.ceil(p.columns / width)
    kinds: list[Kind] = [
        (columns * rows, v, r)
        for columns, v in ((np.floor(p.columns / width), points), ((rest_points > 0) * 1.0, rest_points))
        for rows, r in ((np.floor(p.rows / tile_rows), tile_rows), ((rest_rows > 0) * 1.0, rest_rows))
        if (columns * rows).any()
    ]
    inner, hoisted, after = (_bodies(p.counts[w], points, tile_rows) for w in range(3))
    runs = around[:, None] if p.reduction == 1 and not row else 1.0
    total, tiles, steps = np.zeros((n, len(CLASSES))), np.zeros(n), np.zeros(n)
    for times, v, r in kinds:
        whole = _bodies(p.counts[0], v, r) * p.reduction
        once = _bodies(p.counts[1], v, r) / runs + _bodies(p.counts[2], v, r)
        if row:
            once = once * (width / p.columns)[:, None]  # once a row, not once a step along it
        total += (times * p.batch)[:, None] * (whole + once)
        tiles += times * p.batch / (np.maximum(1.0, p.columns / width) if row else 1.0)
        steps += times * p.batch * p.reduction
    fused = p.counts[0][CLASS_AT["fma"]].sum() + (p.counts[0][:, 3].sum() if row else 0.0)
    chains = steps * (CHAIN * p.sweeps if fused else 0.0)
    unit = 2.0 * target.lanes() / target.peak_gflops_core
    wide = np.where(s.vector * 4 > target.vector_bytes, s.vector * 4 / target.vector_bytes, 1.0)
    arithmetic = total[:, _IS_ARITHMETIC] @ _COST[_IS_ARITHMETIC] * wide
    loads = total[:, ~_IS_ARITHMETIC] @ _COST[~_IS_ARITHMETIC] * wide
    issue = (total.sum(axis=1) + total[:, _IS_ARITHMETIC] @ (_COST[_IS_ARITHMETIC] - 1.0)) / 2.0
    overhead = tiles * TILE_SLOTS + steps / s.unroll * STEP_SLOTS
    accumulators = points * tile_rows if p.reduction * (p.inner if row else 1) > 1 else np.zeros(n)
    vector_loads = inner[:, CLASS_AT["load"]] + inner[:, CLASS_AT["strided"]] / s.vector
    invariants = hoisted[:, CLASS_AT["load"]] + hoisted[:, CLASS_AT["broadcast"]]
    need = accumulators + np.minimum(vector_loads, points) + invariants + p.live[0]
    body = inner.sum(axis=1)
    out = {f"total_{c}": total[:, i] for i, c in enumerate(CLASSES)}
    out |= {f"inner_{c}": inner[:, i] for i, c in enumerate(CLASSES)}
    out |= {f"tile_{c}": hoisted[:, i] + after[:, i] for i, c in enumerate(CLASSES)}
    out |= {
        "readable": np.ones(n), "points": points, "tile_rows": tile_rows, "remainder_points": rest_points,
        "remainder_rows": rest_rows, "accumulators": accumulators, "invariants": invariants,
        "alive": np.full(n, float(p.live[0])), "alive_after": np.full(n, float(p.live[1])), "need": need,
        "constants": np.full(n, float(p.constants[0])), "tiles": tiles, "steps": steps,
        "inner_trips": around / s.unroll, "sweeps": np.full(n, float(p.sweeps)),
        **_strides(p, n),
        "full_share": p.columns * p.rows / (np.ceil(p.columns / s.vector) * s.vector * p.rows),
        "body": body * s.unroll, "code": (body * s.unroll + (hoisted + after).sum(axis=1)) * _copies(kinds),
        "arithmetic_ns": arithmetic * unit, "load_ns": loads * unit, "issue_ns": issue * unit,
        "chain_ns": chains * unit, "overhead_ns": overhead * unit, "unit_ns": np.full(n, unit), "wide": wide,
    }  # fmt: skip
    out |= _unrolled(p, s, row, width, kinds, out)
    return out | _memory(p, s, row, width, tile_rows, out, target)


def _unrolled(
    p: Pattern, s: Schedules, row: bool, width: Array, kinds: list[Kind], found: dict[str, Array]
) -> dict[str, Array]:
    """The hot loop as LLVM leaves it, and the registers that it takes.

    Each shape of tile has a loop of its own; the hot one has most multiply-adds, else most operations.
    """
    best = np.full(len(s), -1.0)
    out = {name: np.zeros(len(s)) for name in _HOT}
    held = np.full(len(s), float(p.constants[1] + (_constants(p.counts[2]) if p.reduction_loops else 0.0)))
    lane_loads = p.counts[1:, [CLASS_AT["load"], CLASS_AT["strided"]], 1].sum() * (s.order == _BY_COLUMNS)
    for times, v, r in kinds:
        inner = _bodies(p.counts[0], v, r)
        hot = unroll(inner @ SIZES / p.sweeps, *_trips(p, s, row, width, r))
        loads = v * (p.counts[0][CLASS_AT["load"]].sum() > 0)
        fmas = inner[:, CLASS_AT["fma"]] * hot.steps
        score = np.where(times > 0, fmas + inner.sum(axis=1) * hot.steps * 1e-6, -1.0)
        ahead = np.minimum(np.maximum(4.0, loads), loads * hot.steps) + (v > 1) * (r > 1)
        values = (
            hot.steps, hot.size, hot.rounds, hot.vanished, v * r, ahead, r * p.overlaps,
            v * r * (found["accumulators"] > 0) + ahead + r * p.overlaps, fmas, v * lane_loads,
        )  # fmt: skip
        for name, value in zip(_HOT, values, strict=True):
            out[name] = np.where(score > best, value, out[name])
        best = np.maximum(best, score)
    kept = np.full(len(s), _constants(p.counts[0]) + p.constants[0])
    return out | {
        "llvm_constants": held + kept,
        "llvm_need": out["llvm_registers"] + out["held_loads"] + held + kept,
        "llvm_code": out["llvm_size"] + (found["code"] - found["body"]),
    }


def _trips(p: Pattern, s: Schedules, row: bool, width: Array, rows: Array) -> tuple[Array, list[Array]]:
    """(steps of the source loops in a body, trip counts from the innermost loop outwards)."""
    one = np.ones(len(s))
    if row or not p.reduction_loops:
        tiles = p.columns // width if row or p.rows == 1 else p.rows // np.maximum(rows, 1.0)
        return one, [np.maximum(1.0, tiles * one)]
    first, *rest = [float(p.loops[d]) for d in reversed(p.reduction_loops)]
    steps = np.minimum(s.unroll, first)
    return steps, [np.maximum(1.0, first // steps), *(n * one for n in rest)]


def _strides(p: Pattern, n: int) -> dict[str, Array]:
    """By loop: bytes of the longest stride, and how few sets of an L1 cache a walk along it hits."""
    found: dict[str, Array] = {}
    for name, loop in (("lane", LANE), ("row", p.row_loop)):
        steps = [abs(a.strides.get(loop, 0)) * a.element_bytes for a in p.accesses]
        found[f"{name}_stride"] = np.full(n, float(max(steps, default=0)))
        sets = [PAGE // max(gcd(step, PAGE), LINE) for step in steps if step >= LINE]
        found[f"{name}_sets"] = np.full(n, float(min(sets, default=PAGE // LINE)))
    return found


def _constants(counts: Array) -> float:
    """Coefficients of the polynomials that a body's functions are computed with; LLVM holds them in registers."""
    return float(sum(n for name, n in _COEFFICIENTS.items() if counts[CLASS_AT[name]].any()))


def _bodies(coefficients: Array, points: Array, rows: Array) -> Array:
    """(n, classes): operations of a tile of `points` vectors and `rows` rows."""
    return np.stack([np.ones_like(points), points, rows, points * rows], axis=1) @ coefficients.T


def _copies(kinds: list[Kind]) -> Array:
    """How many tile shapes the code has to hold."""
    return np.sum([times > 0 for times, _, _ in kinds], axis=0).astype(np.float64)


def _memory(
    p: Pattern, s: Schedules, row: bool, width: Array, tile_rows: Array, found: dict[str, Array], target: Target
) -> dict[str, Array]:
    """Footprints and traffic, and the bound that they and the operations make."""
    nest = _nest(p, s, row, width, tile_rows)
    levels = footprints(nest)
    whole = levels.sum(axis=1)
    ghz = target.peak_gflops_core / (4.0 * target.lanes())
    moved = [traffic(nest, levels, size) for size in (target.l1_bytes, target.l2_bytes, target.l3_bytes)]
    l2_ns, l3_ns, memory_ns = moved[0] / (40.0 * ghz), moved[1] / (10.0 * ghz), moved[2] / target.bandwidth_gbs
    work = np.maximum.reduce([found["arithmetic_ns"], found["load_ns"], found["issue_ns"], found["chain_ns"]])
    work = work + found["overhead_ns"]
    data = np.maximum.reduce([l2_ns, l3_ns, memory_ns])
    return {
        "footprint_tile": whole[0],
        "footprint_inner": whole[min(len(p.reduction_loops) + row, len(whole) - 1)],
        "footprint_middle": whole[min(len(p.reduction_loops) + row + 1, len(whole) - 1)],
        "footprint_all": whole[-1],
        "from_l1": moved[0], "from_l2": moved[1], "from_l3": moved[2],
        "l2_ns": l2_ns, "l3_ns": l3_ns, "memory_ns": memory_ns,
        "bound_ns": np.maximum(work, data) + 0.3 * np.minimum(work, data) + 5.0,
    }  # fmt: skip


def _nest(p: Pattern, s: Schedules, row: bool, width: Array, tile_rows: Array) -> Nest:
    n, one = len(s), np.ones(len(s))
    tile = {"lane": np.minimum(width, p.columns), p.row_loop or "-": tile_rows}
    loops = [Loop(d, np.full(n, float(p.loops[d]))) for d in reversed(p.reduction_loops)]
    panels = np.ceil(p.columns / width)
    row_tiles = np.ceil(p.rows / tile_rows)
    rows = p.row_loop or "-"
    named = {"lane", PANEL, p.row_loop, *p.reduction_loops}
    if row:
        loops = [Loop("lane", panels), *loops, Loop(rows, row_tiles)]
    else:
        block = np.where(s.row_tile // tile_rows < row_tiles, s.row_tile // tile_rows, 0.0)
        by_columns = s.order == _BY_COLUMNS
        first = np.where(block > 0, block, np.where(by_columns, row_tiles, one))
        last = np.where(block > 0, np.ceil(row_tiles / np.maximum(block, 1.0)), np.where(by_columns, one, row_tiles))
        loops += [Loop(rows, first), Loop(PANEL, panels), Loop(rows, last)]
    loops += [Loop(d, np.full(n, float(e))) for d, e in reversed(p.loops.items()) if d not in named]
    return Nest(tile, loops, p.accesses)
