"""`seerc compile` and `seerc bench` on a small model, from its factory to program, report and every stage."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seerc
from compiler import timing
from compiler.profile import profile
from seerc.cli import compile as compile_command
from seerc.cli import main

FACTORY = """
import torch

class Drifting(torch.nn.Module):
    "Adds how often it was called, which no compiled program can know."
    calls = 0

    def forward(self, x):
        self.calls += 1
        return x * 2 + self.calls

def small():
    torch.manual_seed(0)
    layers = torch.nn.Linear(24, 40), torch.nn.ReLU(), torch.nn.Linear(40, 8), torch.nn.Softmax(-1)
    return torch.nn.Sequential(*layers), (torch.rand(6, 24),)

def drifting():
    return Drifting(), (torch.rand(4, 4),)
"""


@pytest.fixture(scope="module", autouse=True)
def factories(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("factories")
    (folder / "seerc_test_models.py").write_text(FACTORY)
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], str]:
    """Folder of the program, the JSON, and the report of one compile with everything."""
    folder = tmp_path_factory.mktemp("compiled")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compile_command, "BENCH_SECONDS", 0.02)
        patch.setattr(timing, "REST_S", 0.0)
        patch.setattr(timing, "WARMUP_S", 0.0)
        with (folder / "out.json").open("w") as out:
            patch.setattr(sys, "stdout", out)
            options = ["--verify", "--bench", "--report", str(folder / "report.html"), "-o", str(folder / "program")]
            assert main(["compile", "seerc_test_models:small", *options, "--threads", "1", "--json"]) == 0
    data = json.loads((folder / "out.json").read_text())
    return folder / "program", data, (folder / "report.html").read_text()


def test_the_json(compiled: tuple[Path, dict[str, Any], str]) -> None:
    folder, data, _ = compiled
    assert (data["model"], data["program"], data["ok"], data["verified"]) == ("small", str(folder), True, True)
    assert 0 <= data["max_rel_err"] <= data["tolerance"] == 1e-4
    assert data["bench"]["peers"]["eager"]["ratio"] > 0
    assert data["bench"]["peers"]["eager"]["version"].startswith("torch 2.")
    runs = sum(kernel["runs"] for kernel in data["kernels"])
    assert runs == sum(kernel["calls"] for kernel in data["kernels"]) >= 2
    assert all(kernel["measured_ns"] >= 0 for kernel in data["kernels"])


def test_the_report_is_one_complete_file(compiled: tuple[Path, dict[str, Any], str]) -> None:
    _, data, html = compiled
    assert all(f'id="{kernel["kernel"]}"' in html for kernel in data["kernels"])
    assert '<i class="op">linalg.generic</i>' in html
    assert "seerc is" in html
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!#)|url\(|@import|<script""", html), "nothing from outside"


def test_the_saved_program_runs_and_can_be_profiled(compiled: tuple[Path, dict[str, Any], str]) -> None:
    folder, data, _ = compiled
    program = seerc.load(folder)
    x = np.random.default_rng(0).random((6, 24), np.float32)
    np.testing.assert_allclose(program(x, threads=1)[0].sum(-1), np.ones(6), rtol=1e-5)
    times = profile(program, [x], seconds=0.0)
    assert {t.kernel: t.calls for t in times} == {k["kernel"]: k["runs"] for k in data["kernels"]}


def test_the_tables(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["compile", "seerc_test_models:small", "--verify", "--cost-model", "none"]) == 0
    out = capsys.readouterr().out
    assert "6x24 24x40 40 → 6x40" in out
    assert "agrees with PyTorch" in out
    assert "cost model none; 0 calls on the plain lowering" in out


def test_a_program_that_differs_exits_with_3(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", "seerc_test_models:drifting", "--verify", "--json"]) == 3
    data = json.loads(capsys.readouterr().out)
    assert data["ok"] is False
    assert data["max_rel_err"] > 1e-4


@pytest.mark.parametrize(
    ("stage", "holds"),
    [
        ("torch", "torch.aten."),
        ("linalg", 'seerc.weight = "'),
        ("regions", "seerc.kind"),
        ("scheduled", "seerc.schedule = {"),
        ("loops", "scf.for"),
        ("llvm", "llvm.func @seerc_run("),
        ("asm", "\nseerc_run:\n"),
    ],
)
def test_a_stage_as_text(stage: str, holds: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", "seerc_test_models:small", "--emit", stage]) == 0
    out = capsys.readouterr().out
    assert holds in out
    if stage not in ("torch", "asm"):
        (tmp_path / "stage.mlir").write_text(out)
        assert main(["opt", str(tmp_path / "stage.mlir"), "--split-input-file"]) == 0, "opt reads it back"


def test_a_stage_as_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", "seerc_test_models:small", "--emit", "so", "-o", str(tmp_path / "so")]) == 0
    names = ["small.h", "small.so", "small.weights.bin", "small_example.c"]
    assert sorted(p.name for p in (tmp_path / "so").iterdir()) == names
    assert main(["compile", "seerc_test_models:small", "--emit", "obj", "-o", str(tmp_path / "obj")]) == 0
    assert (tmp_path / "obj" / "seerc_run.o").read_bytes()[:4] == b"\x7fELF"
    assert capsys.readouterr().out.count("wrote ") == len(names) + len(list((tmp_path / "obj").iterdir()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["zoo:mlpp"], "no zoo model 'mlpp'; did you mean mlp"),
        (["seerc_test_models:smal"], "has no 'smal'"),
        (["seerc_test_models:small", "--emit", "so"], "say where with -o"),
        (["seerc_test_models:small", "--threads", "0"], "--threads must be at least 1"),
        (["seerc_test_models:small", "--cost-model", "defalt"], "did you mean default?"),
    ],
)
def test_user_errors_are_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", *arguments]) == 1
    error = capsys.readouterr().err.splitlines()
    assert message in error[-1]
    assert error[-1].startswith("seerc: error: ")


def test_a_peer_that_fails_is_absent_and_the_others_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    from compiler.bench import BenchOptions, bench_model

    def broken(*_: object) -> Any:
        raise RuntimeError("no such\nengine")

    monkeypatch.setattr(timing, "REST_S", 0.0)
    monkeypatch.setattr(timing, "WARMUP_S", 0.0)
    peers = ("eager", "broken", "none")
    options = BenchOptions("seerc_test_models:small", peers=peers, threads=1, seconds=0.01, cost_model="analytic")
    found = bench_model(options, {"broken": broken})
    assert list(found["peers"]) == ["eager", "none"]
    assert found["absent"] == {"broken": "RuntimeError: no such engine"}
    assert found["peers"]["none"]["version"].endswith("cost model none")
    assert found["seerc_version"].endswith("cost model analytic")
    assert (found["threads"], found["fallbacks"], found["checked"]) == (1, 0, True)


def test_bench_reports_models_and_failures(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from compiler import bench

    def in_child(options: bench.BenchOptions, more: object) -> dict[str, Any]:
        if options.model == "broken":
            return {"model": "broken", "error": "its process died"}
        peer = {"ms": 2.0, "iqr_ms": 0.1, "ratio": 2.0, "low": 1.9, "high": 2.1, "version": "torch 2"}
        found = {"model": options.model, "threads": 1, "seerc_ms": 1.0, "seerc_iqr_ms": 0.1, "seerc_version": "0.1"}
        checks = {"max_rel_err": 1e-3 if options.model == "wrong" else 1e-6, "checked": True, "fallbacks": 0}
        return {**found, **checks, "compile_s": 1.0, "peers": {"eager": peer}, "absent": {}, "noisy": []}

    monkeypatch.setattr(bench, "_in_child", in_child)
    assert main(["bench", "good", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["geomean"], data["noisy"]) == ({"eager": pytest.approx(2.0)}, False)
    assert main(["bench", "good", "wrong"]) == 3
    assert "2.00 [1.90, 2.10]" in capsys.readouterr().out
    assert main(["bench", "good", "broken"]) == 1
    assert "broken: FAILED: its process died" in capsys.readouterr().out
    assert main(["bench"]) == 1
    assert "say which models" in capsys.readouterr().err
