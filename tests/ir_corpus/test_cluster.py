"""A corpus compiled on a Ray cluster: a local one of two CPUs."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest

from costmodel.errors import SeercError
from ir_corpus import cluster, worker
from ir_corpus.build import Options, build
from ir_corpus.frontends import chosen
from ir_corpus.store import MANIFEST, read_manifest

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module", autouse=True)
def machines(tmp_path_factory: pytest.TempPathFactory) -> Generator[None]:
    """Two CPUs, shut down at the end, whose packages lie in a folder of their own."""
    with pytest.MonkeyPatch.context() as patch:
        cache = tmp_path_factory.mktemp("cache")
        (cache / "sources").mkdir()
        patch.setenv("SEERC_CACHE", str(cache))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
        yield
        ray.shutdown()


@pytest.fixture
def options(tmp_path: Path) -> Options:
    root = tmp_path / "package"
    root.mkdir()
    for name in ("first", "second", "third", "fourth"):
        function = f"int {name}(int x) {{\n  return x * {len(name)} + {ord(name[0])};\n}}\n"
        (root / f"{name}.c").write_text(f"/* SPDX-License-Identifier: MIT */\n{function}")
    return Options((str(root),), ("c",), ray="auto")


def shards(folder: Path) -> dict[str, bytes]:
    files = [*(folder / "data").rglob("*.parquet"), folder / MANIFEST]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def test_a_cluster_writes_the_bytes_that_one_machine_writes(options: Options, tmp_path: Path) -> None:
    assert build(options, tmp_path / "ray").compiled == 4
    build(replace(options, ray=""), tmp_path / "local")
    assert shards(tmp_path / "ray") == shards(tmp_path / "local")
    assert len(shards(tmp_path / "ray")) > 2


def dies(*_: object) -> bytes:
    os.kill(os.getpid(), signal.SIGKILL)
    return b""


def test_a_worker_that_is_lost_is_a_reason(options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "process", dies)
    build(options, tmp_path / "corpus")
    assert read_manifest(tmp_path / "corpus")["reasons"]["c"] == {"compile: worker died (Lost)": 4}


def test_machines_with_other_compilers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    (frontend,) = chosen(("c",)).values()
    monkeypatch.setattr(cluster, "_with_host", lambda *_: ("far", {frontend.name: "clang 1"}))
    with pytest.raises(SeercError, match=f"far has {frontend.name}: clang 1"), cluster.pool("auto", [frontend]):
        pass
