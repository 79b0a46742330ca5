"""Candidate texts grouped by workload, so that each workload is parsed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from costmodel.facts import Facts, facts
from costmodel.protocol import Value
from costmodel.schedules import Array, Schedules, schedules
from costmodel.text import split_candidate
from costmodel.workload import Workload, parse_workload


@dataclass(frozen=True)
class Group:
    """The candidates of one workload."""

    workload: Workload
    facts: Facts
    schedules: Schedules
    rows: NDArray[np.int64]
    """Where they stood in the input."""


def group_candidates(candidates: Sequence[str]) -> list[Group]:
    """Candidates by workload text, in order of first occurrence."""
    pairs = [split_candidate(c) for c in candidates]
    return group_pairs([w for w, _ in pairs], [s for _, s in pairs])


def group_pairs(workloads: Sequence[str], attributes: Sequence[str | None]) -> list[Group]:
    """Candidates given as workload texts and schedule attributes, by workload text."""
    rows: dict[str, list[int]] = {}
    for i, workload in enumerate(workloads):
        rows.setdefault(workload, []).append(i)
    groups: list[Group] = []
    for text, at in rows.items():
        workload = parse_workload(text)
        some = schedules([attributes[i] for i in at])
        groups.append(Group(workload, facts(workload), some, np.array(at, dtype=np.int64)))
    return groups


def gather(groups: Sequence[Group], count: int, compute: Callable[[Group], dict[str, Array]]) -> dict[str, Array]:
    """Arrays of shape (count,) from what `compute` gives for each group."""
    out: dict[str, Array] = {}
    for group in groups:
        for key, values in compute(group).items():
            out.setdefault(key, np.zeros(count))[group.rows] = values
    return out


def as_predictions(
    values: dict[str, Array], low: dict[str, Array], high: dict[str, Array], count: int
) -> list[dict[str, Value]]:
    """Predictions of arrays of shape (count,), one dictionary a candidate."""
    columns = {m: list(map(Value, values[m].tolist(), low[m].tolist(), high[m].tolist())) for m in values}
    return [{m: column[i] for m, column in columns.items()} for i in range(count)]
