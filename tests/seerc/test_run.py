"""`seerc run` on a small program made by hand: arrays in by name or by order, arrays out, and bad files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seerc
from seerc.cli import main
from tests.compiler.native.conftest import axpy_program

X = np.linspace(-1, 1, 64, dtype=np.float32)
Y = np.ones((3, 64), np.float32)
W = np.arange(64, dtype=np.float32) / 64


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved program: inputs x and y, outputs `twice` = x (w + 1)^2 and `rows` = y (w + 1)."""
    folder = tmp_path_factory.mktemp("program")
    axpy_program(folder).save(folder / "saved")
    return folder / "saved"


def run(program: Path, folder: Path, *options: str, **arrays: Any) -> int:
    np.savez(folder / "in.npz", **arrays)
    return main(["run", str(program), "--input", str(folder / "in.npz"), *options])


@pytest.mark.parametrize("names", [("x", "y"), ("arr_0", "arr_1")])
def test_outputs_go_to_a_file(program: Path, tmp_path: Path, names: tuple[str, str]) -> None:
    assert run(program, tmp_path, "-o", str(tmp_path / "out.npz"), **dict(zip(names, (X, Y), strict=True))) == 0
    with np.load(tmp_path / "out.npz") as outputs:
        np.testing.assert_allclose(outputs["twice"], X * (W + 1) ** 2, rtol=1e-6)
        np.testing.assert_allclose(outputs["rows"], Y * (W + 1), rtol=1e-6)


def test_names_win_over_order(program: Path, tmp_path: Path) -> None:
    assert run(program, tmp_path, "-o", str(tmp_path / "out.npz"), y=Y, x=X) == 0
    with np.load(tmp_path / "out.npz") as outputs:
        assert outputs["twice"].shape == (64,)


def test_the_report(program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    y = Y.copy()
    y[0, 0] = np.nan
    assert run(program, tmp_path, "--json", x=X, y=y) == 0
    twice, rows = json.loads(capsys.readouterr().out)["outputs"]
    assert twice["min"] == pytest.approx(-1.0, rel=0.01)
    assert (twice["shape"], twice["dtype"], twice["finite"]) == ([64], "float32", True)
    assert (rows["min"], rows["max"], rows["finite"]) == (None, None, False)
    assert run(program, tmp_path, "--threads", "1", x=X, y=y) == 0
    assert "rows" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": X}, "lacks y: the program takes x, y, found x"),
        ({"x": X, "y": Y[:2]}, "(y) must be float32[3, 64]"),
        ({"x": X, "y": np.array([None], object)}, "is no .npz file of plain arrays"),
    ],
)
def test_wrong_arrays_are_user_errors(
    program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arrays: dict[str, Any], message: str
) -> None:
    assert run(program, tmp_path, **arrays) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_wrong_files_are_user_errors(program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.npz").write_text("hello")
    for arguments, message in (
        ([str(program), "--input", str(tmp_path / "text.npz")], "is no .npz file"),
        ([str(program), "--input", str(tmp_path / "none.npz")], "none.npz: No such file"),
        ([str(tmp_path), "--input", str(tmp_path / "text.npz")], str(tmp_path)),
    ):
        assert main(["run", *arguments]) == 1
        assert message in capsys.readouterr().err


def test_load_is_the_front_door(program: Path) -> None:
    assert [spec.name for spec in seerc.load(program).outputs] == ["twice", "rows"]
