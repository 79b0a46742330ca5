"""Datasets survive kills, refuse what is damaged or foreign, and join without duplicates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from costmodel.dataset import load_dataset, table_hash
from costmodel.errors import SeercError
from costmodel.record import Record, RecordWriter, from_table, make_record, merge, read_table, shards, to_table
from costmodel.target import Target
from costmodel.text import join_candidate, split_candidate, workload_hash


def write(folder: Path, records: list[Record], shard_rows: int = 10) -> None:
    with RecordWriter(folder, shard_rows) as writer:
        for record in records:
            writer.add(record)


def test_records_come_back_as_they_went(records: list[Record], tmp_path: Path) -> None:
    write(tmp_path, records[:25])
    assert [len(read_table(p)) for p in shards(tmp_path)] == [10, 10, 5]
    assert list(from_table(read_table(tmp_path))) == records[:25]
    assert not [p for p in tmp_path.iterdir() if p.suffix != ".parquet"]


def test_an_interrupted_run_resumes(records: list[Record], tmp_path: Path) -> None:
    writer = RecordWriter(tmp_path, 10)
    for record in records[:17]:
        writer.add(record)
    again = RecordWriter(tmp_path, 10)
    assert again.done == {r.key for r in records[:10]}
    assert [again.add(r) for r in records[:17]].count(True) == 7
    again.flush()
    assert {r.key for r in from_table(read_table(tmp_path))} == {r.key for r in records[:17]}


def test_a_truncated_shard_is_refused_by_readers_and_set_aside_on_resume(records: list[Record], tmp_path: Path) -> None:
    write(tmp_path, records[:20])
    broken = shards(tmp_path)[1]
    broken.write_bytes(broken.read_bytes()[:-100])
    with pytest.raises(SeercError, match=r"shard-00001\.parquet: not a readable Parquet file"):
        read_table(tmp_path)
    with pytest.warns(UserWarning, match=r"shard-00001\.corrupt"):
        writer = RecordWriter(tmp_path, 10)
    assert writer.done == {r.key for r in records[:10]}
    for record in records[:20]:
        writer.add(record)
    assert list(from_table(read_table(tmp_path))) == records[:20]


def test_foreign_files_are_refused(records: list[Record], tmp_path: Path) -> None:
    table = to_table(records[:3])
    pq.write_table(table.replace_schema_metadata({"seerc.schema": "7"}), tmp_path / "new.parquet")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(SeercError, match="schema version 7, this seerc reads 1"):
        merge([tmp_path / "new.parquet"], tmp_path / "out.parquet")
    with pytest.raises(SeercError, match="not a cost dataset"):
        read_table(tmp_path / "other.parquet")
    with pytest.raises(SeercError, match="schema version 7"):
        RecordWriter(tmp_path)
    with pytest.raises(SeercError, match="no records"):
        read_table(tmp_path / "missing")
    assert not (tmp_path / "out.parquet").exists()


def test_merge_keeps_each_key_once_and_success_before_failure(records: list[Record], tmp_path: Path) -> None:
    failed = [replace(r, latency_ns=None, error="timed out") for r in records[:5]]
    write(tmp_path / "a", [*failed, *records[5:8]])
    write(tmp_path / "b", records[:10])
    assert merge([tmp_path / "a", tmp_path / "b"], tmp_path / "out.parquet") == 10
    found = list(from_table(read_table(tmp_path / "out.parquet")))
    assert {r.key for r in found} == {r.key for r in records[:10]}
    assert all(r.error is None for r in found)


def test_failed_candidates_are_kept_but_not_learned_from(records: list[Record]) -> None:
    table = to_table([*records[:6], replace(records[6], latency_ns=None, error="abort")])
    assert table.num_rows == 7
    assert len(load_dataset(table)) == 6
    with pytest.raises(SeercError, match="none of the 1 records"):
        load_dataset(table.slice(6))


def test_a_record_holds_the_candidate(matmul: Callable[..., str], schedule: Callable[..., str], target: Target) -> None:
    candidate = join_candidate(matmul(8, 16, 32), schedule(6, 2))
    record = make_record(candidate, target, {"latency_ns": 5.0}, networks={"bert": 3})
    assert record.workload_hash == workload_hash(candidate)
    assert workload_hash(record.candidate) == record.workload_hash
    assert split_candidate(record.candidate)[1] == record.schedule
    assert Target.from_json(record.target) == target
    with pytest.raises(SeercError, match="unknown metrics"):
        make_record(candidate, target, {"speed": 5.0})


def test_latencies_are_corrected_for_drift(records: list[Record]) -> None:
    slow = [
        replace(r, latency_ns=(r.latency_ns or 0.0) * f, calibration_ns=1000.0 * f)
        for r, f in zip(records[:4], (1.0, 1.0, 1.2, 1.0), strict=True)
    ]
    found = load_dataset(to_table(slow)).measured["latency_ns"]
    assert np.allclose(found, [r.latency_ns for r in records[:4]])


def test_the_hash_of_a_dataset_ignores_order(records: list[Record]) -> None:
    table = to_table(records[:9])
    assert table_hash(table) == table_hash(to_table(list(reversed(records[:9]))))
    assert table_hash(table) != table_hash(table.slice(1))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": "a", "colour": 1}'])
def test_a_bad_target_is_refused(text: str) -> None:
    with pytest.raises(SeercError, match="not a target description"):
        Target.from_json(text)
