"""The candidates of a dataset, to be measured again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from compiler.collect import CollectOptions, sample_tasks
from compiler.workloads.records import recorded_workloads
from costmodel.record import Record, make_record, to_table, write_table
from costmodel.target import Target
from passes.tiling.select import choose_all
from passes.tiling.space import VectorUnit
from tests.compiler.test_measure import SCALED

HERE = Target("one machine")


def record(vectors: int, target: Target, heuristic: bool) -> Record:
    (choice,) = choose_all([SCALED], VectorUnit(8, 16), None, target)
    text = choice.candidate.replace(str(choice.schedule), str(replace(choice.schedule, vectors=vectors)))
    return make_record(text, target, {"latency_ns": 5.0}, networks={"bert": 3}, heuristic=heuristic)


def test_schedules_for_vectors_like_ours_are_measured_again(tmp_path: Path) -> None:
    other = Target("another with vectors like ours", peak_gflops_core=1.0)
    wide = replace(HERE, vector_bytes=2 * HERE.vector_bytes)
    records = [record(1, HERE, True), record(2, other, False), record(4, wide, False)]
    write_table(to_table(records), tmp_path / "data.parquet")
    workloads = recorded_workloads(tmp_path / "data.parquet", HERE)
    assert [w.networks for w in workloads] == [{"bert": 3}]
    tasks = list(sample_tasks(workloads, HERE, CollectOptions()))
    assert [(t.candidate, t.is_heuristic) for t in tasks] == [(r.candidate, r.heuristic) for r in records[:2]]
    assert [t.candidate for t in sample_tasks(workloads, HERE, CollectOptions(per_workload=1))] == [
        records[0].candidate
    ]
