"""Counts of n schedules of one workload, read from its text: operations, registers, trips, traffic, and a bound.

The result feeds the learned models as features: `bound_ns` is the longest of arithmetic, loads, issue and latency chain
at the measured peak, beside the traffic of each cache level. `costmodel.bound` makes their prior of the same counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import gcd

import numpy as np

from costmodel.candidates import Group
from costmodel.facts import facts
from costmodel.hot_loop import BY_COLUMNS, HOT, Kind, batch_loops, bodies, hot_loop
from costmodel.nest import Pattern, row_pattern, tile_pattern
from costmodel.operations import ARITHMETIC, CLASS_AT, CLASSES
from costmodel.region.read import read_workload
from costmodel.region.roles import LANE, PANEL
from costmodel.schedules import ALGORITHMS, Array, Schedules
from costmodel.target import Target
from costmodel.traffic import Loop, Nest, footprints, traffic
from costmodel.workload import Workload

SLOTS = dict(
    fma=1.0, add=1.0, mul=1.0, div=10.0, minmax=1.0, select=1.5, cast=1.0, exp=14.0, erf=22.0, tanh=26.0, sqrt=14.0,
    other=2.0, load=1.0, broadcast=1.0, strided=1.5, gather=4.0, store=2.0, scatter=2.5,
)  # fmt: skip
"""Multiply-adds of throughput that one vector operation of a class takes."""
WINDOW = 512.0
"""Operations that a core looks ahead: chains of tiles that fit into it together overlap."""
TILE_SLOTS, STEP_SLOTS = 16.0, 1.0
"""What a tile and a loop step cost beside their operations."""
PAGE, LINE = 4096, 64
"""Bytes after which addresses fall on the same set of an L1 cache, and of a line."""
_ROW = ALGORITHMS.index("row")
_COST = np.array([SLOTS[c] for c in CLASSES])
_IS_ARITHMETIC = np.array([c in ARITHMETIC for c in CLASSES])
NAMES = (
    *(f"total_{c}" for c in CLASSES),
    *(f"inner_{c}" for c in CLASSES),
    *(f"tile_{c}" for c in CLASSES),
    "readable", "points", "tile_rows", "remainder_points", "remainder_rows", "accumulators", "invariants", "alive",
    "alive_after", "need", "constants", "tiles", "steps", "inner_trips", "sweeps", "full_share", "body", "code",
    "footprint_tile", "footprint_inner", "footprint_middle", "footprint_all", "from_l1", "from_l2", "from_l3",
    "lane_stride", "lane_sets", "row_stride", "row_sets", "step_stride", "step_sets",
    "step_run",
    *HOT, "llvm_constants", "llvm_need", "llvm_code",
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
    inner, hoisted, after = (bodies(p.counts[w], points, tile_rows) for w in range(3))
    runs = around[:, None] if p.reduction == 1 and not row else 1.0
    total, tiles, steps = np.zeros((n, len(CLASSES))), np.zeros(n), np.zeros(n)
    for times, v, r in kinds:
        whole = bodies(p.counts[0], v, r) * p.reduction
        once = bodies(p.counts[1], v, r) / runs + bodies(p.counts[2], v, r)
        if row:
            once = once * (width / p.columns)[:, None]  # once a row, not once a step along it
        total += (times * p.batch)[:, None] * (whole + once)
        tiles += times * p.batch / (np.maximum(1.0, p.columns / width) if row else 1.0)
        steps += times * p.batch * p.reduction
    unit = 2.0 * target.lanes() / target.peak_gflops_core
    wide = np.where(s.vector * 4 > target.vector_bytes, s.vector * 4 / target.vector_bytes, 1.0)
    arithmetic = total[:, _IS_ARITHMETIC] @ _COST[_IS_ARITHMETIC] * wide
    loads = total[:, ~_IS_ARITHMETIC] @ _COST[~_IS_ARITHMETIC] * wide
    issue = (total.sum(axis=1) + total[:, _IS_ARITHMETIC] @ (_COST[_IS_ARITHMETIC] - 1.0)) / 2.0
    chains = steps * p.chain / np.maximum(1.0, WINDOW * tiles / np.maximum(total.sum(axis=1), 1.0))
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
        **_strides(p, width),
        "full_share": p.columns * p.rows / (np.ceil(p.columns / s.vector) * s.vector * p.rows),
        "body": body * s.unroll, "code": (body * s.unroll + (hoisted + after).sum(axis=1)) * _copies(kinds),
        "arithmetic_ns": arithmetic * unit, "load_ns": loads * unit, "issue_ns": issue * unit,
        "chain_ns": chains * unit, "overhead_ns": overhead * unit, "unit_ns": np.full(n, unit), "wide": wide,
    }  # fmt: skip
    out |= hot_loop(p, s, row, width, kinds, out)
    return out | _memory(p, s, row, width, tile_rows, out, target)


def _strides(p: Pattern, width: Array) -> dict[str, Array]:
    """By loop: bytes of the longest stride, and how few sets of an L1 cache a walk along it hits.

    `step_run` is the share of the longest stride of a reduction that a panel reads in one piece: 1 where steps follow
    each other in memory, little where each fetches a line that no prefetcher foresees.
    """
    n = len(width)
    found: dict[str, Array] = {}
    inner = p.reduction_loops[-1] if p.reduction_loops else ""
    for name, loop in (("lane", LANE), ("row", p.row_loop), ("step", inner)):
        steps = [abs(a.strides.get(loop, 0)) * a.element_bytes for a in p.accesses]
        found[f"{name}_stride"] = np.full(n, float(max(steps, default=0)))
        sets = [PAGE // max(gcd(step, PAGE), LINE) for step in steps if step >= LINE]
        found[f"{name}_sets"] = np.full(n, float(min(sets, default=PAGE // LINE)))
    runs = [
        np.where(a.strides.get(LANE, 0) == 1, width, 1.0) / abs(a.strides[inner])
        for a in p.accesses
        if a.strides.get(inner)
    ]
    found["step_run"] = np.minimum(1.0, np.min(runs, axis=0)) if runs else np.ones(n)
    return found


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
    if row:
        loops = [Loop("lane", panels), *loops, Loop(rows, row_tiles)]
    else:
        block = np.where(s.row_tile // tile_rows < row_tiles, s.row_tile // tile_rows, 0.0)
        by_columns = s.order == BY_COLUMNS
        first = np.where(block > 0, block, np.where(by_columns, row_tiles, one))
        last = np.where(block > 0, np.ceil(row_tiles / np.maximum(block, 1.0)), np.where(by_columns, one, row_tiles))
        loops += [Loop(rows, first), Loop(PANEL, panels), Loop(rows, last)]
    loops += [Loop(d, np.full(n, float(e))) for d, e in batch_loops(p)]
    return Nest(tile, loops, p.accesses)
