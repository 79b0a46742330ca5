"""The candidates of a dataset as workloads to measure again: on another machine, or after what measures was mended."""

from __future__ import annotations

from pathlib import Path

from compiler.collect import Workload
from costmodel.record import from_table, read_table
from costmodel.target import Target


def recorded_workloads(data: Path, target: Target) -> list[Workload]:
    """The workloads of a dataset, each with the schedules that it has for targets with vectors like `target`'s.

    Raises:
        SeercError: `data` is no dataset.
    """
    found: dict[str, Workload] = {}
    for record in from_table(read_table(data)):
        if vectors(Target.from_json(record.target)) == vectors(target):
            networks = dict(zip(record.networks, record.occurrences, strict=True))
            entry = found.setdefault(record.workload_hash, Workload(record.workload, networks))
            entry.schedules[record.schedule] = record.heuristic
    return list(found.values())


def vectors(target: Target) -> tuple[int, int]:
    """Bytes and number of the vector registers: what schedules depend on."""
    return target.vector_bytes, target.vector_registers
