"""`seerc compile` and `seerc.compile` on a small network: compiled, verified, saved, run in this process."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import seerc
from seerc.cli import main

MODEL = """
import torch

def make():
    torch.manual_seed(0)
    layers = torch.nn.Linear(24, 40), torch.nn.GELU(), torch.nn.Linear(40, 8)
    return torch.nn.Sequential(*layers).eval(), (torch.randn(4, 24),)
"""


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "small_network.py").write_text(MODEL)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)


def test_compile_verify_save_and_run(capsys: pytest.CaptureFixture[str]) -> None:
    import small_network

    assert main(["compile", "small_network:make", "-o", "out", "--verify", "--json", "--jobs", "1"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["ok"]
    assert 0 <= data["max_rel_err"] <= 1e-4
    assert data["program"] == "out"
    assert sum(kernel["calls"] for kernel in data["kernels"]) >= 1
    module, (x,) = small_network.make()
    np.savez("in.npz", x=x.numpy())
    assert main(["run", "out", "--input", "in.npz", "-o", "y.npz"]) == 0
    with np.load("y.npz") as outputs:
        (y,) = outputs.values()
    np.testing.assert_allclose(y, module(x).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_a_wrong_result_exits_with_3(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("compiler.check.program_error", lambda *_: float("nan"))
    command = ["compile", "small_network:make", "--verify", "--cost-model", "none", "--jobs", "1"]
    assert main(command) == 3
    assert "DIFFERS from PyTorch" in capsys.readouterr().out
    assert main([*command, "--json"]) == 3
    data = json.loads(capsys.readouterr().out)
    assert (data["ok"], data["max_rel_err"]) == (False, None)


def test_a_module_compiles_from_python() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(16, 16), torch.nn.ReLU())
    x = torch.randn(2, 16)
    program = seerc.compile(module, (x,), cost_model="none", jobs=1)
    np.testing.assert_allclose(program(x)[0], module(x).detach(), rtol=1e-4, atol=1e-5)
    with pytest.raises(seerc.SeercError, match="needs its example tensors"):
        seerc.compile(module)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("zoo:mpl", "did you mean mlp"),
        ("small_network:mak", "has no 'mak'"),
        ("nowhere.onnx", "no such file"),
    ],
)
def test_an_unknown_model_is_a_user_error(model: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", model]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
