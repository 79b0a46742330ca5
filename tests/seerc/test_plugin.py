"""A third-party package, installed with pip into a folder of its own, plugs in through its entry points."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import seerc
from costmodel.errors import SeercError
from costmodel.protocol import load_cost_model
from costmodel.target import Target
from passes.registry import installed
from seerc.cli import main

EXAMPLE = Path(__file__).resolve().parent.parent / "plugin_example"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that pip installed the example package into."""
    source = shutil.copytree(EXAMPLE, tmp_path_factory.mktemp("source") / "plugin")  # pip builds inside the source
    target = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*pip, "--target", target, source], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture(autouse=True)
def _on_path(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # where reproducers go


def test_its_pass_is_registered_under_its_name() -> None:
    assert installed().get("example-count-ops").__module__ == "seerc_example_plugin.count_ops"


def test_its_pass_runs_in_a_pipeline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "in.mlir"
    source.write_text("func.func @f(%a: i32) -> i32 {\n  %b = arith.addi %a, %a : i32\n  return %b : i32\n}\n")
    pipeline = "builtin.module(cse,example-count-ops,func.func(example-count-ops{dialects=arith,func}))"
    assert main(["opt", str(source), "-v", f"--pass-pipeline={pipeline}"]) == 0
    output = capsys.readouterr()
    assert "module attributes {example.ops = 3 : i64}" in output.out
    assert "attributes {example.arith_ops = 1 : i64, example.func_ops = 1 : i64}" in output.out
    assert output.err == "example-count-ops: 3 operations\nexample-count-ops: 2 operations\n"


def test_its_failure_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "in.mlir"
    source.write_text("func.func @f() { return }\n")
    assert main(["opt", str(source), "--pass-pipeline=builtin.module(example-count-ops{at-most=1})"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("seerc: error: 2 operations, at most 1 are wanted; in pass example-count-ops{at-most=1}")
    assert error.count("\n") == 1


def test_its_cost_model_is_found_by_name() -> None:
    model = load_cost_model("example-op-count")
    assert isinstance(model, seerc.CostModel)
    one, two = "%0 = arith.constant 1 : i32", "%0 = arith.constant 1 : i32\n%1:2 = scf.for"
    predictions = model.predict([one, two], Target("any"))
    assert [p["latency_ns"].value for p in predictions] == [100.0, 200.0]
    assert predictions[1]["latency_ns"].low < 200.0 < predictions[1]["latency_ns"].high
    assert model.predict([one], Target("any"), metrics=["registers"]) == [{}]
    with pytest.raises(SeercError, match="did you mean example-op-count"):
        load_cost_model("example-op-counts")
