"""Numeric features of (workload, schedule, target): one row a candidate, computed with NumPy for a whole workload."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costmodel.analytic import analyse
from costmodel.candidates import Group, gather
from costmodel.facts import GROUPS, KINDS, Facts, facts
from costmodel.schedules import ALGORITHMS, Array, Schedules, schedules
from costmodel.target import Target
from costmodel.workload import parse_workload

Columns = dict[str, NDArray[Any] | float]

FEATURE_VERSION = 1
"""Artefacts of another version are refused: their columns mean something else."""
_LOG = (
    "flops", "points", "columns", "rows", "outer", "reduction", "inner_reduction", "batch", "rows_bytes",
    "columns_bytes", "other_bytes", "output_bytes", "constant_bytes", "epilogue_points", "columns_stride",
    "rows_stride",
)  # fmt: skip
_PLAIN = ("loops", "element_bytes", "columns_constant", "window", "step", "gathers", "ops", "passes")
_TERMS_LOG = (
    "latency_ns",
    "compute_ns",
    "memory_ns",
    "pack_ns",
    "instructions",
    "code_bytes",
    "peak_bytes",
    "working_set",
)
_ANY = """func.func @any(%a: tensor<1xf32>) -> tensor<1xf32> {
  %b = linalg.generic {indexing_maps = [affine_map<(i) -> (i)>], iterator_types = ["parallel"]}
      outs(%a : tensor<1xf32>) {
  ^bb0(%c: f32):
    linalg.yield %c : f32
  } -> tensor<1xf32>
  return %b : tensor<1xf32>
}"""
_TERMS = ("registers", "spills", "vector_utilisation", "utilisation", "need", "waste", "loads_per_fma")


def feature_names() -> tuple[str, ...]:
    """Names of the columns of `features`."""
    return _names()


def features(facts: Facts, schedules: Schedules, target: Target) -> tuple[Array, dict[str, Array]]:
    """(features of shape (n, len(feature_names())), analytic estimates) of n schedules of one workload."""
    prior = analyse(facts, schedules, target)
    columns = {**_workload(facts, target), **_schedule(facts, schedules, target), **_prior(prior)}
    count = len(schedules)
    return np.stack(
        [np.broadcast_to(np.asarray(v, dtype=np.float64), (count,)) for v in columns.values()], axis=1
    ), prior


def feature_matrix(groups: list[Group], count: int, targets: list[Target]) -> tuple[Array, dict[str, Array]]:
    """Features and analytic estimates of `count` candidates; `targets` has one target a group."""
    matrix = np.zeros((count, len(feature_names())))
    found: dict[int, dict[str, Array]] = {}
    for group, target in zip(groups, targets, strict=True):
        matrix[group.rows], found[id(group)] = features(group.facts, group.schedules, target)
    return matrix, gather(groups, count, lambda g: found[id(g)])


@lru_cache(maxsize=1)
def _names() -> tuple[str, ...]:
    some, target, one = facts(parse_workload(_ANY)), Target("any"), schedules([None])
    return tuple({**_workload(some, target), **_schedule(some, one, target), **_prior(analyse(some, one, target))})


def _log(value: Array | float) -> Array:
    return np.log2(1.0 + np.maximum(0.0, np.asarray(value, dtype=np.float64)))


def _workload(f: Facts, t: Target) -> Columns:
    moved = f.rows_bytes + f.columns_bytes + f.other_bytes + f.output_bytes
    out: Columns = {f"log_{n}": _log(getattr(f, n)) for n in _LOG}
    out |= {n: float(getattr(f, n)) for n in _PLAIN}
    out |= {f"kind_{k}": float(f.kind == k) for k in KINDS}
    out |= {f"root_{g}": f.root_groups[i] for i, g in enumerate(GROUPS)}
    out |= {f"other_{g}": f.other_groups[i] for i, g in enumerate(GROUPS)}
    out |= {
        "intensity": _log(f.flops / max(1.0, moved)),
        "moved_l1": _log(moved / t.l1_bytes),
        "moved_l2": _log(moved / t.l2_bytes),
        "moved_l3": _log(moved / t.l3_bytes),
        "unit_output": float(f.output_stride == 1),
        "unit_columns": float(f.columns_stride == 1),
        "unit_rows_reduction": float(f.rows_reduction_stride == 1),
        "page_stride": float(f.rows_stride * f.element_bytes % 4096 == 0),
        "lanes": float(t.lanes(int(f.element_bytes))),
        "vector_registers": float(t.vector_registers),
        "balance": t.peak_gflops_core / t.bandwidth_gbs,
    }
    return out


def _schedule(f: Facts, s: Schedules, t: Target) -> Columns:
    lanes = s.vector * s.vectors
    row_tile = np.where(s.row_tile > 0, np.minimum(s.row_tile, f.rows), f.rows)
    depth = np.where(s.reduction_tile > 0, np.minimum(s.reduction_tile, f.reduction), f.reduction)
    panel, block = depth * lanes * f.element_bytes, depth * row_tile * f.element_bytes
    whole_panels = depth * np.ceil(f.columns / lanes) * lanes * f.element_bytes
    algorithms: Columns = {f"algorithm_{a}": (s.algorithm == i) * 1.0 for i, a in enumerate(ALGORITHMS)}
    fields: Columns = {
        "vector": s.vector,
        "vectors": s.vectors,
        "tile_rows": s.rows,
        "unroll": s.unroll,
        "order": s.order,
        "pack": s.pack,
        "parallel": s.parallel,
        "row_tile": _log(row_tile),
        "reduction_tile": _log(depth),
        "accumulators": s.rows * s.vectors,
        "column_tail": np.mod(f.columns, lanes) / lanes,
        "vector_tail": np.mod(f.columns, s.vector) / s.vector,
        "row_tail": np.mod(f.rows, s.rows) / s.rows,
        "unroll_tail": np.mod(f.reduction, s.unroll) / s.unroll,
        "column_tiles": _log(np.ceil(f.columns / lanes)),
        "row_tiles": _log(np.ceil(f.rows / s.rows)),
        "depth_tiles": _log(np.ceil(f.reduction / np.maximum(1.0, depth))),
        "one_column_tile": (f.columns <= lanes) * 1.0,
        "rows_over": np.maximum(0.0, s.rows - f.rows),
        "panel_l1": _log(panel / t.l1_bytes * 16),
        "block_l2": _log(block / t.l2_bytes * 16),
        "panels_l2": _log(whole_panels / t.l2_bytes * 16),
        "tile_l1": _log((panel + s.rows * depth * f.element_bytes) / t.l1_bytes * 16),
    }
    return algorithms | fields


def _prior(prior: dict[str, Array]) -> Columns:
    out: Columns = {f"prior_{n}": _log(prior[n]) for n in _TERMS_LOG}
    out.update({f"prior_{n}": prior[n] for n in _TERMS})
    return out
