"""The description of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from compiler import target
from compiler.target import VARIANTS, calibrate, code_cpu, cpu_flags, detect_target, variant
from costmodel.errors import SeercError


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


@pytest.mark.skipif("avx512f" not in cpu_flags(), reason="the CPU has no narrower variants")
def test_variants_are_targets_of_their_own() -> None:
    machine = detect_target(measure=False)
    found = [variant(machine, name) for name in VARIANTS]
    assert len({machine.hash, *(t.hash for t in found)}) == 1 + len(VARIANTS)
    assert [code_cpu(t) for t in (machine, *found)] == [None, "haswell", None]
    assert all(t.vector_bytes == 32 and 0 < t.peak_gflops_core < machine.peak_gflops_core * 2 for t in found)


def test_unknown_variants_and_those_beyond_the_machine_are_refused() -> None:
    machine = detect_target(measure=False)
    with pytest.raises(SeercError, match="did you mean avx2"):
        variant(machine, "avx")
    with pytest.raises(SeercError, match="no AVX-512"):
        variant(variant(machine, "avx2") if "avx512f" in cpu_flags() else machine, "avx512-256")
