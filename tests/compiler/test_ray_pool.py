"""Measuring on a Ray cluster: a local one of two CPUs."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compiler import collect as collecting
from compiler.collect import CollectOptions, collect, workloads_of
from compiler.ray_pool import ray_pool
from compiler.target import detect_target
from compiler.workloads.ops import op_model
from costmodel.errors import SeercError
from costmodel.record import from_table, read_table
from costmodel.target import Target

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Generator[None]:
    """Two CPUs, shut down at the end; its workers at this process's priority."""
    os.environ.setdefault("RAY_worker_niceness", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    yield
    ray.shutdown()


def work(kind: str, target: str) -> dict[str, Any]:
    """What a candidate does in the child of a Ray worker."""
    if kind == "abort":
        os.abort()
    if kind == "refuse":
        raise SeercError("no such loop")
    if kind == "kill the worker":
        os.kill(os.getppid(), signal.SIGKILL)
        threading.Event().wait()
    return {"metrics": {"latency_ns": 1.0}, "met": target}


def lose_worker(name: str, candidate: str, target: str, flops: float) -> dict[str, Any]:
    """measure_candidate on a machine that goes away."""
    return work("kill the worker", target)


def test_a_task_loses_only_itself_and_says_where_it_ran() -> None:
    here = detect_target().to_json()
    with ray_pool("auto") as pool:
        assert pool.jobs == 2
        assert [t.to_json() for t in pool.targets] == [here]
        kinds = ["fine", "abort", "refuse", "also fine"]
        futures = [pool.schedule(work, (kind, here), 60.0) for kind in kinds]
        found = [future.result() for future in futures]
    assert {answer["target"] for answer in found} == {here}
    assert all(answer["calibration_ns"] > 0 for answer in found)
    assert found[0]["met"] == found[3]["met"] == here
    assert found[1]["error"].startswith("the candidate: the compiler crashed")
    assert found[2]["error"] == "no such loop"


def test_collect_measures_on_the_cluster_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workloads = workloads_of([op_model(3, 0)])
    options = CollectOptions(per_workload=2, ray="auto")
    with monkeypatch.context() as patch:
        patch.setattr(collecting, "measure_candidate", lose_worker)
        assert collect(workloads, tmp_path / "lost", replace(options, per_workload=1)) == 1
    [lost] = from_table(read_table(tmp_path / "lost"))
    assert lost.error == "the Ray task was lost: WorkerCrashedError"
    assert collect(workloads, tmp_path / "data", options) == 2
    for record in from_table(read_table(tmp_path / "data")):
        assert record.error is None
        assert record.latency_ns
        assert record.calibration_ns
        assert record.target_hash == detect_target().hash
    assert collect(workloads, tmp_path / "data", options) == 0


def test_a_variant_is_the_target_of_its_records() -> None:
    if detect_target().vector_bytes < 64:
        pytest.skip("the machine has no AVX-512 to leave unused")
    with ray_pool("auto", "avx2") as pool:
        [target] = pool.targets
        answer = pool.schedule(work, ("fine", target.to_json()), 60.0).result()
    met = Target.from_json(answer["target"])
    assert (met.hash, met.vector_registers) == (target.hash, 16)


def test_a_cluster_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # a port where nobody listens
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(SeercError, match=rf"^--ray {address}: .*refused; is it up"), ray_pool(address):
            pass
