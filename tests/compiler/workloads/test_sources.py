"""Specs: what they stand for, what is kept of them, and what becomes of those that fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from compiler.workloads.sources import FOLDER, PART, Part, parse, suite, workloads_from
from costmodel.errors import SeercError


def test_specs() -> None:
    assert parse("hf:opt#3") == [Part("hf", "opt", 3)]
    assert len(parse("hf:all#3")) > 60
    assert Part("hf", "opt", 3) in parse("hf:all#3")
    assert parse("zoo:bert") == [Part("model", "zoo:bert")]
    parts = parse(f"ops:{PART + 2}")
    assert parts == [Part("ops", "", 0, 0, PART), Part("ops", "", 0, PART, PART + 2)]
    assert len({str(part) for spec in suite() for part in parse(spec)}) > 120


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("hf:optt", "did you mean opt"),
        ("ops:many", "expected hf:ARCH, ops:COUNT or graphs:COUNT"),
        ("graphs:0", "expected hf:ARCH, ops:COUNT or graphs:COUNT"),
        ("hf:opt#x", "expected hf:ARCH"),
    ],
)
def test_specs_that_cannot_be_read(spec: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SeercError, match=message):
        workloads_from([spec], tmp_path, 1)


def test_a_failing_spec_costs_only_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    steps: list[tuple[int, int]] = []
    found = workloads_from(["missing.mlir", "ops:2"], tmp_path, 1, lambda done, total: steps.append((done, total)))
    assert {name for w in found for name in w.networks} == {"op-activation", "op-batch-matmul"}
    assert "missing.mlir: no such file" in caplog.text
    assert steps == [(1, 2), (2, 2)]
    with pytest.raises(SeercError, match=r"no workloads in missing.mlir"):
        workloads_from(["missing.mlir"], tmp_path, 1)


def test_what_the_folder_keeps_is_not_imported_again(tmp_path: Path) -> None:
    specs = ["ops:1", "graphs:1"]
    first = workloads_from(specs, tmp_path, 1)
    kept = tmp_path / FOLDER / "graphs-0-0-0.jsonl"
    kept.write_text(kept.read_text().replace("graph-0", "kept"))
    again = workloads_from(specs, tmp_path, 1)
    assert [w.text for w in again] == [w.text for w in first]
    assert {name for w in again for name in w.networks} == {"op-activation", "kept"}
    kept.write_text(kept.read_text()[:-9])
    assert workloads_from(specs, tmp_path, 1) == first


def test_equal_workloads_of_several_networks_are_one(tmp_path: Path) -> None:
    text = """func.func @main(%a: tensor<64x128xf32>) -> tensor<64x128xf32> {
      %e = tensor.empty() : tensor<64x128xf32>
      %0 = linalg.exp ins(%a : tensor<64x128xf32>) outs(%e : tensor<64x128xf32>) -> tensor<64x128xf32>
      return %0 : tensor<64x128xf32>
    }"""
    for name in ("one", "two"):
        (tmp_path / f"{name}.mlir").write_text(text)
    [workload] = workloads_from([str(tmp_path / "one.mlir"), str(tmp_path / "two.mlir")], tmp_path, 1)
    assert workload.networks == {"one": 1, "two": 1}
