"""`seerc predict` and `seerc.predict`: text in, metrics with intervals out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import seerc
from costmodel.protocol import METRICS
from costmodel.target import Target
from seerc.cli import main

REGION = """
func.func private @region_0(%a: tensor<64x{k}xf32>, %b: tensor<{k}x128xf32> {{seerc.constant}}) -> tensor<64x128xf32>
    attributes {{seerc.kind = "contraction"}} {{
  %zero = arith.constant 0.0 : f32
  %empty = tensor.empty() : tensor<64x128xf32>
  %fill = linalg.fill ins(%zero : f32) outs(%empty : tensor<64x128xf32>) -> tensor<64x128xf32>
  %r = linalg.generic {{
      indexing_maps = [affine_map<(i, j, k) -> (i, k)>, affine_map<(i, j, k) -> (k, j)>,
                       affine_map<(i, j, k) -> (i, j)>],
      iterator_types = ["parallel", "parallel", "reduction"]}}
      ins(%a, %b : tensor<64x{k}xf32>, tensor<{k}x128xf32>) outs(%fill : tensor<64x128xf32>) attrs = {{seerc.root}} {{
  ^bb0(%x: f32, %y: f32, %c: f32):
    %m = arith.mulf %x, %y : f32
    %s = arith.addf %m, %c : f32
    linalg.yield %s : f32
  }} -> tensor<64x128xf32>
  return %r : tensor<64x128xf32>
}}
"""
TARGET = Target("test machine")
SCHEDULES = (
    '{algorithm = "direct", rows = 4 : i64, vectors = 2 : i64, vector = 8 : i64}',
    '{algorithm = "direct", rows = 1 : i64, vectors = 1 : i64, vector = 8 : i64}',
)


def region(k: int) -> str:
    return REGION.format(k=k)


def test_more_work_is_predicted_to_take_longer() -> None:
    (short,) = seerc.predict(region(64), cost_model="analytic", target=TARGET)
    (long,) = seerc.predict(region(1024), cost_model="analytic", target=TARGET)
    assert short.name == "region_0"
    assert short.workload != long.workload
    assert long.metrics["latency_ns"].value > 4 * short.metrics["latency_ns"].value
    assert all(value.low <= value.value <= value.high for value in long.metrics.values())


def test_schedules_are_tried_on_the_same_workload() -> None:
    found = seerc.predict(
        region(256), cost_model="analytic", target=TARGET, schedules=SCHEDULES, metrics=["latency_ns"]
    )
    assert len({f.workload for f in found}) == 1
    assert [f.schedule for f in found] == list(SCHEDULES)
    assert found[0].metrics["latency_ns"].value < found[1].metrics["latency_ns"].value  # eight lanes against 64
    assert all(set(f.metrics) == {"latency_ns"} for f in found)


def test_the_json_contract(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in.mlir").write_text(region(64))
    (tmp_path / "schedules").write_text("\n".join(SCHEDULES) + "\n\n")
    command = ["predict", str(tmp_path / "in.mlir"), "--cost-model", "analytic"]
    assert main([*command, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    (function,) = data["functions"]
    assert set(data) == {"functions", "cost_model", "target"}
    assert set(function) == {"name", "workload", "schedule", "metrics"}
    assert set(function["metrics"]) <= set(METRICS)
    assert set(function["metrics"]["latency_ns"]) == {"value", "low", "high"}
    assert main([*command, "--schedules", str(tmp_path / "schedules"), "--metric", "spills", "--json"]) == 0
    functions = json.loads(capsys.readouterr().out)["functions"]
    assert [list(f["metrics"]) for f in functions] == [["spills"], ["spills"]]
    assert main([*command, "--schedules", str(tmp_path / "schedules")]) == 0
    shown = capsys.readouterr().out
    assert [shown.count(schedule) for schedule in SCHEDULES] == [1, 1]  # named once, above all of its metrics
    assert shown.count("latency_ns") == shown.count("spills") == 2


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("func.func @f() {\n  return\n}\n", [], "no function has an operation marked seerc.root"),
        (region(8), ["--metric", "latency"], "unknown metric 'latency': did you mean latency_ns?"),
        (region(8), ["--cost-model", "analitic"], "did you mean analytic?"),
        (region(8), ["--cost-model", "none"], "predicts nothing"),
    ],
)
def test_user_errors(
    text: str, options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.mlir").write_text(text)
    assert main(["predict", str(tmp_path / "in.mlir"), *options]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
