"""Numbers that stand beside the text: the schedule's fields, the target, and the analytic prior's terms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from costmodel.schedules import ALGORITHMS, Array, Schedules
from costmodel.target import Target

PRIOR_LOG = (
    "latency_ns", "compute_ns", "memory_ns", "pack_ns", "instructions", "code_bytes", "peak_bytes", "working_set",
    "steps",
)  # fmt: skip
PRIOR_PLAIN = ("registers", "spills", "vector_utilisation", "need", "waste", "loads_per_fma")
_COUNTS = ("vector", "vectors", "rows", "unroll", "row_tile", "reduction_tile")


def columns(
    schedules: Schedules, machines: NDArray[np.int64], targets: Sequence[Target], prior: dict[str, Array], use: bool
) -> Array:
    """One row a candidate: schedule and target, and the prior's terms where `use`.

    Args:
        schedules: of n candidates.
        machines: (n,), index into `targets`.
        targets: distinct machines.
        prior: the arrays of `analytic.analyse`.
        use: whether the prior's terms are columns.
    """
    table = np.array([_target(t) for t in targets], dtype=np.float64)[machines]
    found = [*_schedule(schedules, table[:, 0], table[:, 1]), *table.T]
    if use:
        found += [np.log2(1.0 + np.maximum(prior[k], 0.0)) for k in PRIOR_LOG] + [prior[k] for k in PRIOR_PLAIN]
    return np.stack(found, axis=1)


def _schedule(s: Schedules, log_bytes: Array, log_registers: Array) -> list[Array]:
    counts = [np.log2(1.0 + getattr(s, k)) for k in _COUNTS]
    flags = [s.order, s.pack, s.parallel, s.row_tile > 0, s.reduction_tile > 0]
    names = [s.algorithm == i for i in range(len(ALGORITHMS))]
    lanes = np.log2(np.maximum(1.0, s.vector * s.vectors))
    hardware = s.vectors * np.maximum(1.0, s.vector * 4.0 / 2.0**log_bytes)
    need = s.rows * hardware + hardware + 1.0
    tile = [lanes, np.log2(1.0 + s.rows * hardware), need / 2.0**log_registers, s.rows]
    return [np.asarray(c, dtype=np.float64) for c in (*counts, *flags, *names, *tile)]


def _target(t: Target) -> tuple[float, ...]:
    sizes = (t.vector_bytes, t.vector_registers, t.l1_bytes, t.l2_bytes, t.l3_bytes)
    return tuple(float(np.log2(max(v, 1e-3))) for v in (*sizes, t.peak_gflops_core, t.bandwidth_gbs))
