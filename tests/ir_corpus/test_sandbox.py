"""A compiler that hangs, forks, fills memory or disk, crashes, or writes elsewhere: a reason each, and nothing left."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ir_corpus.sandbox import Limits, Outcome, Place, isolation, run

LIMITS = Limits(seconds=2, wall_seconds=20, memory_mib=400, disk_mib=8, processes=20)


def shell(tmp_path: Path, script: str, limits: Limits = LIMITS) -> Outcome:
    work = tmp_path / "work"
    work.mkdir(exist_ok=True)
    return run(["sh", "-c", script], Place(tmp_path, work), limits)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("true", ""),
        ("echo no >&2; exit 3", "rejected"),
        ("kill -SEGV $$", "crash"),
        ("while :; do :; done", "timeout"),
        ("while :; do sleep 30 & done", "processes"),
        ("yes > $HOME/big", "disk"),
        ("for i in 1 2 3 4; do head -c 4000000 /dev/zero > $HOME/$i; done", "disk"),
        (f"{sys.executable} -c 'bytearray(1 << 30)'", "memory"),
    ],
)
def test_reasons(tmp_path: Path, script: str, reason: str) -> None:
    assert shell(tmp_path, script).reason == reason


def test_what_sleeps_is_ended_with_its_children(tmp_path: Path) -> None:
    mark = f"{4000 + hash(str(tmp_path)) % 999}.25"
    assert shell(tmp_path, f"sleep {mark} & sleep {mark}", Limits(wall_seconds=0.5)).reason == "timeout"
    assert mark not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout


def test_a_missing_compiler_is_said_so(tmp_path: Path) -> None:
    assert run(["no-such-compiler"], Place(tmp_path, tmp_path), LIMITS).reason == "compiler missing"


def test_the_end_of_what_it_said_is_kept(tmp_path: Path) -> None:
    outcome = shell(tmp_path, "seq 1 9999 >&2; exit 1")
    assert outcome.message.endswith("9999\n")
    assert len(outcome.message) <= 2000


@pytest.mark.skipif(isolation() != "bubblewrap", reason="bubblewrap does not work here")
def test_the_machine_is_read_only_and_there_is_no_network(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    assert shell(tmp_path, f"touch {outside}").reason == "rejected"
    assert not outside.exists()
    outcome = shell(tmp_path, "tail -n +3 /proc/net/dev | cut -d: -f1 >&2; exit 1")
    assert outcome.message.split() == ["lo"]


def test_the_environment_is_not_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "x")
    assert "SECRET_TOKEN" not in shell(tmp_path, "env >&2; exit 1").message
