"""The description of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from compiler import target
from compiler.target import calibrate, detect_target


def test_nominal_figures_are_the_same_each_time() -> None:
    first = detect_target(measure=False)
    assert first == detect_target(measure=False)
    assert first.vector_bytes in (16, 32, 64)
    assert first.l1_bytes < first.l2_bytes <= first.l3_bytes
    assert first.calibration_ns == 0


def test_measured_once_then_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEERC_CACHE", str(tmp_path))
    monkeypatch.setattr(target, "_COPY_BYTES", 4 << 20)
    first = detect_target()
    nominal = detect_target(measure=False)
    assert 0.02 * nominal.peak_gflops_core < first.peak_gflops_core < 4 * nominal.peak_gflops_core
    assert first.bandwidth_gbs > 0.1
    assert first.hash == nominal.hash
    monkeypatch.setattr(target, "_measured", None)
    assert detect_target() == first
    assert calibrate(first) > 0
