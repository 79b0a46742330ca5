"""A table of records as arrays to learn from and to score against."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from costmodel.candidates import group_pairs
from costmodel.counting import NAMES, count_matrix
from costmodel.errors import SeercError
from costmodel.facts import KINDS
from costmodel.features import feature_matrix, feature_names
from costmodel.protocol import METRICS
from costmodel.schedules import Array
from costmodel.target import Target
from costmodel.text import join_candidate
from costmodel.workload import parse_workload

if TYPE_CHECKING:
    import pyarrow as pa

SHORTEST_NS = 500.0
"""A workload whose candidates take less is left out: what a call costs hides what the kernel does."""
DRIFT = 1.5
"""Largest correction for the machine's drift that a calibration time may make."""


@dataclass(frozen=True)
class Dataset:
    """n measured candidates; every array has n rows. Failed records are left out."""

    matrix: Array
    """`features.feature_names()`, one column each."""
    counts: Array
    """`counting.NAMES`, one column each: what the schedule's loop nest executes."""
    prior: dict[str, Array]
    """Analytic estimates by metric and term."""
    measured: dict[str, Array]
    """By metric; NaN where a metric was not obtained."""
    workloads: NDArray[np.int64]
    """Index into `hashes`."""
    kinds: NDArray[np.int64]
    """Index into `facts.KINDS` (the last for a kind of its own)."""
    weight: Array
    """Occurrences of the row's workload over all networks, at least 1."""
    spread: Array
    """(90th - 10th percentile) / median of the latency's repeats; NaN where it was not taken."""
    heuristic: NDArray[np.bool_]
    machines: NDArray[np.int64]
    """Index into `targets`."""
    schedules: NDArray[np.object_]
    """The schedule attribute's text."""
    targets: tuple[Target, ...]
    hashes: tuple[str, ...]
    texts: tuple[str, ...]
    """Canonical text of each workload, without schedule."""
    networks: tuple[tuple[str, ...], ...]
    """Networks of each workload."""
    shapes: tuple[tuple[int, ...], ...]
    """Sorted root extents of each workload, without ones."""

    def __len__(self) -> int:
        return len(self.matrix)

    def take(self, rows: NDArray[Any]) -> Dataset:
        """The rows at a boolean mask or at indices."""
        changed: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, dict):
                changed[f.name] = {k: v[rows] for k, v in value.items()}
            else:
                changed[f.name] = value[rows] if isinstance(value, np.ndarray) else value
        return Dataset(**changed)

    @property
    def target(self) -> Target:
        """The target of most rows."""
        return self.targets[int(np.bincount(self.machines).argmax())]

    @property
    def tasks(self) -> NDArray[np.int64]:
        """What a choice is made for: an index of each row's workload on its target."""
        return np.unique(self.workloads * len(self.targets) + self.machines, return_inverse=True)[1]

    def rows_by_task(self) -> list[NDArray[np.int64]]:
        """Row indices of each task, in ascending order."""
        order = np.argsort(self.tasks, kind="stable")
        return np.split(order, np.flatnonzero(np.diff(self.tasks[order])) + 1)

    def candidates(self) -> list[str]:
        """The text of every row: what a cost model reads."""
        return [join_candidate(self.texts[w], s) for w, s in zip(self.workloads, self.schedules, strict=True)]

    @property
    def groups(self) -> NDArray[np.int64]:
        """Index of each row's first network; workloads without one count as one network each."""
        names = [n[0] if n else h for n, h in zip(self.networks, self.hashes, strict=True)]
        index = {name: i for i, name in enumerate(sorted(set(names)))}
        return np.array([index[n] for n in names], dtype=np.int64)[self.workloads]


def load_dataset(table: pa.Table) -> Dataset:
    """The successful records of a table (`record.read_table`); duplicates of one key are dropped.

    Latencies are corrected for the machine's drift by the calibration kernel's time, where that was taken.

    Raises:
        SeercError: no successful record, or a text that cannot be read.
    """
    rows = _long_enough(_unique([r for r in table.to_pylist() if r["error"] is None and (r["latency_ns"] or 0) > 0]))
    if not rows:
        raise SeercError(f"none of the {table.num_rows} records is a successful measurement with a latency")
    texts = [r["workload"] for r in rows]
    targets = {r["target_hash"]: Target.from_json(r["target"]) for r in reversed(rows)}
    order = [r["workload_hash"] for r in rows]
    hashes = sorted(set(order))
    index = {h: i for i, h in enumerate(hashes)}
    first = {r["workload_hash"]: r for r in reversed(rows)}
    matrix, counts, prior, kinds = _features(rows, texts, targets)
    workload_rows = np.array([index[h] for h in order], dtype=np.int64)
    names = list(targets)
    return Dataset(
        matrix,
        counts,
        prior,
        {m: np.array([np.nan if r[m] is None else r[m] for r in rows], dtype=np.float64) for m in METRICS}
        | {"latency_ns": _latency(rows)},
        workload_rows,
        kinds,
        np.array([float(max(1, sum(r["occurrences"] or ()))) for r in rows]),
        np.array([np.nan if r["latency_spread"] is None else r["latency_spread"] for r in rows], dtype=np.float64),
        np.array([bool(r["heuristic"]) for r in rows]),
        np.array([names.index(r["target_hash"]) for r in rows], dtype=np.int64),
        np.array([r["schedule"] for r in rows], dtype=object),
        tuple(targets.values()),
        tuple(hashes),
        tuple(first[h]["workload"] for h in hashes),
        tuple(tuple(first[h]["networks"] or ()) for h in hashes),
        tuple(_shape(first[h]["workload"]) for h in hashes),
    )


def table_hash(table: pa.Table) -> str:
    """16 hexadecimal digits that name a table's records, whatever their order or sharding."""
    rows = zip(*(table.column(c).to_pylist() for c in ("workload_hash", "schedule", "latency_ns")), strict=True)
    return hashlib.sha256(repr(sorted(map(repr, rows))).encode()).hexdigest()[:16]


def _unique(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    seen: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in rows:
        seen.setdefault((row["workload_hash"], row["schedule"], row["target_hash"]), row)
    return list(seen.values())


def _long_enough(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of tasks whose median latency is at least SHORTEST_NS."""
    latencies: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        latencies.setdefault((row["workload_hash"], row["target_hash"]), []).append(row["latency_ns"])
    kept = {task for task, found in latencies.items() if np.median(found) >= SHORTEST_NS}
    return [row for row in rows if (row["workload_hash"], row["target_hash"]) in kept]


def _features(
    rows: list[dict[str, Any]], texts: list[str], targets: dict[str, Target]
) -> tuple[Array, Array, dict[str, Array], NDArray[np.int64]]:
    kinds = np.zeros(len(rows), dtype=np.int64)
    counts = np.zeros((len(rows), len(NAMES)))
    matrix = np.zeros((len(rows), len(feature_names())))
    prior: dict[str, Array] = {}
    for name, target in targets.items():
        at = np.array([i for i, r in enumerate(rows) if r["target_hash"] == name], dtype=np.int64)
        groups = group_pairs([texts[i] for i in at], [rows[i]["schedule"] for i in at])
        matrix[at], estimates = feature_matrix(groups, len(at), [target] * len(groups))
        counts[at] = count_matrix(groups, len(at), target)
        for key, values in estimates.items():
            prior.setdefault(key, np.zeros(len(rows)))[at] = values
        for group in groups:
            kind = group.facts.kind
            kinds[at[group.rows]] = KINDS.index(kind) if kind in KINDS else len(KINDS)
    return matrix, counts, prior, kinds


def _latency(rows: list[dict[str, Any]]) -> Array:
    """Latencies as they would be at the target's usual calibration time."""
    latency = np.array([r["latency_ns"] for r in rows], dtype=np.float64)
    taken = np.array([r["calibration_ns"] or np.nan for r in rows], dtype=np.float64)
    names = np.array([r["target_hash"] for r in rows])
    for name in np.unique(names):
        at = (names == name) & np.isfinite(taken)
        if at.any():
            latency[at] *= np.clip(np.median(taken[at]) / taken[at], 1 / DRIFT, DRIFT)
    return latency


def _shape(workload: str) -> tuple[int, ...]:
    parsed = parse_workload(workload)
    return tuple(sorted(n for n in parsed.ops[parsed.root].extents if n > 1))
