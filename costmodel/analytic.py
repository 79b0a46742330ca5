"""A cost model from first principles: measured peak, caches, loop overhead, register spills and wasted remainders.

One unit of time is what one full vector multiply-add takes at the measured peak; loads, latency chains and loop control
are counted in it. Memory time is traffic over the bandwidth of the level that the traffic's source fits in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from costmodel.candidates import as_predictions, gather, group_candidates
from costmodel.facts import GROUPS, KINDS, OP_CYCLES, Facts
from costmodel.protocol import METRICS, Prediction
from costmodel.schedules import ORDERS, Array, Schedules
from costmodel.target import Target

LATENCY_UNITS = 8.0
"""A multiply-add's latency (4 cycles) in multiply-adds of throughput (2 a cycle)."""
LOOP_UNITS = 3.0
"""Counter, compare and branch of one loop step."""
SPILL_UNITS = 2.5
"""A reload and a store of one accumulator."""
CALL_NS = 60.0
SCALAR_PENALTY = 1.6
"""Scalar code of the plain lowering takes this many times one vector operation for each element."""
UNCALIBRATED = {"registers": 3.0, "spills": 4.0, "vector_utilisation": 0.2, "utilisation": 0.25}
"""Half-widths of additive intervals before calibration; the other metrics use FACTOR."""
FACTOR = 3.0
_DIRECT, _ROW, _WINOGRAD2, _WINOGRAD4, _PLAIN, _TRANSFORM = range(6)


@dataclass(frozen=True)
class Calibration:
    """What measured records say about the analytic model: a factor on latency by kind, and interval widths."""

    scale: dict[str, float] = field(default_factory=dict[str, float])
    """Measured over predicted latency (geometric), by workload kind."""
    factor: float = FACTOR
    """90 % of latencies lie within this factor of the prediction."""


@dataclass(frozen=True)
class AnalyticModel:
    """The analytic cost model; without a calibration its intervals are a fixed factor."""

    calibration: Calibration = field(default_factory=Calibration)
    name: str = "analytic"

    def predict(
        self, candidates: Sequence[str], target: Target, metrics: Sequence[str] | None = None
    ) -> list[Prediction]:
        """See `costmodel.protocol.CostModel.predict`; knows every metric."""
        groups = group_candidates(candidates)
        found = gather(groups, len(candidates), lambda g: self.estimate(g.facts, g.schedules, target))
        values = {m: found[m] for m in (metrics or METRICS) if m in found}
        bounds = {m: self.interval(m, v) for m, v in values.items()}
        low, high = ({m: b[k] for m, b in bounds.items()} for k in (0, 1))
        return list[Prediction](as_predictions(values, low, high, len(candidates)))

    def estimate(self, facts: Facts, schedules: Schedules, target: Target) -> dict[str, Array]:
        """Metrics of all schedules of one workload, each of shape (n,)."""
        found = analyse(facts, schedules, target)
        return {**found, **self._scaled(found, self.calibration.scale.get(facts.kind, 1.0))}

    def correct(self, prior: dict[str, Array], kinds: NDArray[np.int64]) -> dict[str, Array]:
        """Metrics of uncalibrated estimates of many workloads; `kinds` are indices into KINDS."""
        scale = np.array([self.calibration.scale.get(k, 1.0) for k in (*KINDS, "")])[kinds]
        return {m: v for m, v in {**prior, **self._scaled(prior, scale)}.items() if m in METRICS}

    def _scaled(self, found: dict[str, Array], scale: Array | float) -> dict[str, Array]:
        return {
            "latency_ns": found["latency_ns"] * scale,
            "utilisation": np.minimum(1.0, found["utilisation"] / scale),
        }

    def interval(self, metric: str, value: Array) -> tuple[Array, Array]:
        """Low and high bound of predictions of a metric."""
        if metric in UNCALIBRATED:
            top = 1.0 if metric.endswith("utilisation") else np.inf
            width = UNCALIBRATED[metric]
            return np.maximum(0.0, value - width), np.minimum(top, value + width)
        factor = self.calibration.factor if metric == "latency_ns" else FACTOR
        return value / factor, value * factor


def analyse(f: Facts, s: Schedules, t: Target) -> dict[str, Array]:
    """Metrics and their main terms for n schedules of one workload; every array has shape (n,).

    Beside the metrics: `compute_ns`, `memory_ns`, `pack_ns`, `overhead_ns`, `need` (vector registers wanted), `waste`
    (share of padded or narrow work), `working_set` (bytes that the inner tile walks over).
    """
    tile = _tile(f, s, t)
    unit = 2.0 * t.lanes(int(f.element_bytes)) / t.peak_gflops_core
    ghz = t.peak_gflops_core / (4.0 * t.lanes())
    direct, plain = np.isin(s.algorithm, (_DIRECT, _TRANSFORM)), s.algorithm == _PLAIN
    contraction = _contraction(f, s, tile, t) * unit
    compute = np.where(direct & (f.macs > 0), contraction, _sweep(f, s, tile, t) * unit)
    compute = np.where(plain, _plain_ns(f, ghz, t), compute)
    memory = _memory_ns(f, s, tile, t, ghz)
    pack = np.where(s.pack > 0, f.columns_bytes * (1 - f.columns_constant) * 3.0 / (8.0 * ghz), 0.0)
    epilogue = _vector_cycles(f.other_groups) * f.output_bytes / f.element_bytes / t.lanes(int(f.element_bytes)) / ghz
    epilogue = np.where(plain | (f.macs == 0), 0.0, epilogue)
    factor = np.select([s.algorithm == _WINOGRAD2, s.algorithm == _WINOGRAD4], [1 / 2.25, 1 / 4.0], 1.0)
    transform = np.where(factor < 1, (f.rows_bytes + f.output_bytes) * 6.0 / (8.0 * ghz), 0.0)
    compute = np.where(factor < 1, contraction * factor, compute)
    latency = np.maximum(compute + epilogue, memory) + 0.3 * np.minimum(compute, memory) + pack + transform + CALL_NS
    spills = np.where(plain, 0.0, 2.0 * np.maximum(0.0, tile["need"] - t.vector_registers))
    full = np.where(plain, 0.0, np.minimum(1.0, s.vector * f.element_bytes / t.vector_bytes) * (1.0 - tile["waste"]))
    return {
        "latency_ns": latency,
        "registers": np.where(plain, 2.0, np.minimum(tile["need"], t.vector_registers)),
        "spills": spills,
        "vector_utilisation": full,
        "utilisation": np.minimum(1.0, (2.0 * f.macs or f.flops) / (latency * t.peak_gflops_core)),
        "instructions": _instructions(f, s, tile, t),
        "code_bytes": 300.0 + 7.0 * np.where(plain, 20.0, tile["body"] * s.unroll * (1 + (tile["waste"] > 0))),
        "peak_bytes": f.rows_bytes + f.columns_bytes * (1.0 + s.pack) + f.other_bytes + f.output_bytes,
        "compute_ns": compute + epilogue,
        "memory_ns": memory,
        "pack_ns": pack,
        "need": tile["need"],
        "waste": tile["waste"],
        "working_set": tile["working_set"],
        "loads_per_fma": tile["loads"] / tile["fmas"],
        "steps": tile["steps"],
    }


def _tile(f: Facts, s: Schedules, t: Target) -> dict[str, Array]:
    """Shape of the register tile in hardware vectors: operations, loads, registers, trip counts and waste."""
    split = np.maximum(1.0, s.vector * f.element_bytes / t.vector_bytes)
    vectors = s.vectors * split
    lanes = s.vector * s.vectors
    rows = np.minimum(s.rows, max(1.0, f.rows))
    fmas = rows * vectors
    column_tiles, row_tiles = np.ceil(f.columns / lanes), np.ceil(f.rows / rows)
    done = column_tiles * lanes * row_tiles * rows
    depth = np.where(s.reduction_tile > 0, np.minimum(s.reduction_tile, f.reduction), f.reduction)
    panel = depth * lanes * f.element_bytes
    block_rows = np.where(s.row_tile > 0, np.minimum(s.row_tile, f.rows), f.rows)
    return {
        "vectors": vectors,
        "fmas": fmas,
        "loads": vectors * np.where((s.pack > 0) | (f.columns_stride <= 1), 1.0, t.lanes()) + rows,
        "need": fmas + vectors + 1.0,
        "column_tiles": column_tiles,
        "row_tiles": row_tiles,
        "tiles": column_tiles * row_tiles * f.outer,
        "waste": 1.0 - (f.columns * max(1.0, f.rows)) / done,
        "steps": np.full(len(s), f.reduction),
        "panel": panel,
        "block": block_rows * depth * f.element_bytes,
        "working_set": np.where(
            s.order == ORDERS.index("columns-rows"), panel + rows * depth * f.element_bytes, panel * column_tiles
        ),
        "body": fmas + vectors + rows + 4.0,
    }


def _contraction(f: Facts, s: Schedules, tile: dict[str, Array], t: Target) -> Array:
    """Units of all register tiles: multiply-adds, loads or the latency chain, whichever is slowest, and spills."""
    spilled = np.maximum(0.0, tile["need"] - t.vector_registers)
    step = np.maximum.reduce([tile["fmas"], tile["loads"], np.full(len(s), LATENCY_UNITS)])
    step = step + SPILL_UNITS * spilled + LOOP_UNITS / s.unroll * 0.3
    per_tile = step * tile["steps"] + 3.0 * tile["fmas"] + 20.0
    return per_tile * tile["tiles"]


def _sweep(f: Facts, s: Schedules, tile: dict[str, Array], t: Target) -> Array:
    """Units of an elementwise nest or of rows: every body op on every vector, short chains wait for their latency."""
    cycles = _vector_cycles(f.root_groups) * f.points
    cycles += _vector_cycles(f.other_groups) * f.output_bytes / f.element_bytes
    width = np.minimum(s.vector, t.lanes(int(f.element_bytes)))
    chain = np.where(f.reduction > 1, np.maximum(1.0, 4.0 / (tile["fmas"] * s.unroll)), 1.0)
    loads = (f.points + f.epilogue_points) * 1.0
    return (2.0 * cycles * chain + loads) / width * (1.0 + tile["waste"]) + tile["tiles"] * LOOP_UNITS


def _plain_ns(f: Facts, ghz: float, t: Target) -> float:
    """The upstream lowering: one element at a time."""
    cycles = SCALAR_PENALTY * _vector_cycles(f.root_groups) * f.points + 2.0 * (f.points + f.epilogue_points)
    cycles += SCALAR_PENALTY * _vector_cycles(f.other_groups) * f.output_bytes / f.element_bytes
    return (cycles + 3.0 * f.points * (f.reduction > 1)) / ghz


def _memory_ns(f: Facts, s: Schedules, tile: dict[str, Array], t: Target, ghz: float) -> Array:
    """Traffic of operands over the bandwidth of the level that holds them."""
    by_columns = s.order == ORDERS.index("columns-rows")
    columns_read = np.where(
        by_columns, 1.0, np.maximum(1.0, f.rows / np.maximum(1.0, np.where(s.row_tile > 0, s.row_tile, s.rows)))
    )
    rows_read = np.where(by_columns, tile["column_tiles"], 1.0)
    depth_passes = np.where(s.reduction_tile > 0, np.ceil(f.reduction / np.maximum(1.0, s.reduction_tile)), 1.0)
    strided = np.where((s.pack > 0) | (f.columns_stride <= 1), 1.0, 4.0)
    first = (f.rows_bytes + f.columns_bytes + f.other_bytes + f.output_bytes) / _bandwidth(
        np.full(len(s), f.rows_bytes + f.columns_bytes + f.other_bytes + f.output_bytes), t, ghz
    )
    again = f.columns_bytes * strided * (columns_read - 1.0) / _bandwidth(np.full(len(s), f.columns_bytes), t, ghz)
    again = again + f.rows_bytes * (rows_read - 1.0) / _bandwidth(np.minimum(tile["block"], f.rows_bytes), t, ghz)
    again = again + 2.0 * f.output_bytes * (depth_passes - 1.0) / _bandwidth(np.full(len(s), f.output_bytes), t, ghz)
    return first + np.where(f.reduction > 1, again, 0.0) + tile["panel"] / _bandwidth(tile["panel"], t, ghz)


def _bandwidth(size: Array, t: Target, ghz: float) -> Array:
    """GB/s (bytes per ns) at which a working set of `size` bytes streams."""
    levels = [size <= t.l1_bytes, size <= t.l2_bytes, size <= t.l3_bytes]
    return np.select(levels, [48.0 * ghz, 20.0 * ghz, 8.0 * ghz], t.bandwidth_gbs)


def _instructions(f: Facts, s: Schedules, tile: dict[str, Array], t: Target) -> Array:
    """Instructions executed: tile bodies, loop control, stores, and the other ops."""
    spilled = 2.0 * np.maximum(0.0, tile["need"] - t.vector_registers)
    tiled = tile["tiles"] * (
        tile["steps"] * (tile["fmas"] + tile["loads"] + spilled + LOOP_UNITS / s.unroll) + 4 * tile["fmas"] + 20
    )
    swept = (sum(f.root_groups) + 3.0) * f.points / np.minimum(s.vector, t.lanes(int(f.element_bytes)))
    epilogue = 2.0 * _vector_cycles(f.other_groups) * f.output_bytes / f.element_bytes / np.minimum(s.vector, t.lanes())
    scalar = np.full(len(s), (sum(f.root_groups) + 6.0) * f.points)
    contraction = (f.macs > 0) & (s.algorithm != _PLAIN)
    return np.where(s.algorithm == _PLAIN, scalar, np.where(contraction, tiled, swept) + epilogue) + 50.0


def _vector_cycles(groups: tuple[float, ...]) -> float:
    return sum(count * OP_CYCLES[group] for group, count in zip(GROUPS, groups, strict=True))
