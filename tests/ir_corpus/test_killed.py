"""Builds that are ended by signals, in processes of their own: no worker stays, and the rest gives the same bytes."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

DEADLINE_S = 120


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    root = tmp_path / "package"
    for number in range(12):
        folder = root / f"d{number % 4}"
        folder.mkdir(parents=True, exist_ok=True)
        body = "\n".join(f"  x = x * {number + k + 2} ^ {k};" for k in range(number + 1))
        text = f"// SPDX-License-Identifier: MIT\nint f{number}(int x) {{\n{body}\n  return x;\n}}\n"
        (folder / f"f{number}.c").write_text(text)
    return root


def started(sources: Path, folder: Path) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "seerc", "corpus", "build", str(sources), "-o", str(folder), "--languages", "c"]
    return subprocess.Popen([*argv, "--jobs", "2"], stdout=subprocess.DEVNULL)


def wait_for(what: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not what():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)


def done(folder: Path) -> int:
    """Compilations in the journal."""
    try:
        with sqlite3.connect(f"file:{folder / 'work' / 'journal.sqlite'}?mode=ro", uri=True) as base:
            return base.execute("SELECT count(*) FROM results").fetchone()[0]
    except sqlite3.OperationalError:
        return 0


def end_by(kill: signal.Signals, process: subprocess.Popen[bytes]) -> None:
    """Send a signal; every process that it had started must be gone soon."""
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(kill)
    process.wait(DEADLINE_S)
    gone, alive = psutil.wait_procs(children, DEADLINE_S)
    assert not alive
    assert len(gone) == len(children)


def stored(folder: Path) -> dict[str, bytes]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(p.relative_to(folder)): p.read_bytes() for p in files if "work" not in p.relative_to(folder).parts}


@pytest.mark.slow
@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_build_may_be_ended_at_any_point(kill: signal.Signals, sources: Path, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert started(sources, whole).wait(DEADLINE_S) == 0
    for count in (1, 4, 9):
        process = started(sources, broken)
        wait_for(lambda count=count: done(broken) >= count)
        end_by(kill, process)
        assert done(broken) >= count
    process = started(sources, broken)
    wait_for(lambda: (broken / "work" / "new").exists() or (broken / "manifest.json").exists())
    end_by(kill, process)
    assert started(sources, broken).wait(DEADLINE_S) == 0
    assert stored(broken) == stored(whole)
