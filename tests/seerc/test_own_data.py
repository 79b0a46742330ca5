"""`seerc cost train --target` and `seerc predict` on texts and numbers of the user's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from seerc.cli import main

LOOP = """func.func @{name}(%m: memref<{n}xf32>) {{
  affine.for %i = 0 to {n} {{
    %v = affine.load %m[%i] : memref<{n}xf32>
    affine.store %v, %m[%i] : memref<{n}xf32>
  }}
  return
}}
"""


def write_folder(folder: Path) -> Path:
    folder.mkdir()
    lines = ["file,cycles"]
    for n in range(8, 68):
        (folder / f"loop{n}.mlir").write_text(LOOP.format(name=f"f{n}", n=n))
        lines.append(f"loop{n}.mlir,{3 * n}")
    (folder / "cycles.csv").write_text("\n".join([*lines, "../escape.mlir,1"]) + "\n")
    return folder


def test_train_and_predict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_folder(tmp_path / "data")
    model = str(tmp_path / "model")
    assert main(["cost", "train", str(data), "-o", model, "--target", "cycles", "--json"]) == 0
    captured = capsys.readouterr()
    made = json.loads(captured.out)
    assert (made["rows"], made["unusable"]) == (60, 1)
    assert "1 of 61 rows are left out: line 62: no MLIR text" in captured.err
    (error,) = made["held_out"]
    assert (error["column"], error["rows"], error["groups"]) == ("cycles", 60, 60)
    assert error["mae"] < error["median_mae"]

    (tmp_path / "x.mlir").write_text(LOOP.format(name="a", n=10) + LOOP.format(name="b", n=60))
    command = ["predict", str(tmp_path / "x.mlir"), "--cost-model", model, "--metric", "cycles"]
    assert main([*command, "--json"]) == 0
    short, long = json.loads(capsys.readouterr().out)["functions"]
    assert (short["name"], list(short["metrics"])) == ("a", ["cycles"])
    assert 2 * short["metrics"]["cycles"]["value"] < long["metrics"]["cycles"]["value"]
    assert main(command) == 0
    assert "a column of the data" in capsys.readouterr().out
    assert main([*command, "--metric", "cycle"]) == 1
    assert "unknown metric 'cycle': did you mean cycles?" in capsys.readouterr().err


def test_mistakes_get_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_folder(tmp_path / "data")
    for options, reason in {
        ("--target", "cycels"): "unknown column 'cycels': did you mean cycles?",
        ("--target", "cycles", "--model", "xgboost"): "unknown architecture for texts 'xgboost'",
        ("--text", "mlir"): "name a column to learn with --target",
    }.items():
        assert main(["cost", "train", str(data), "-o", str(tmp_path / "model"), *options]) == 1
        captured = capsys.readouterr()
        assert reason in captured.err
        assert len(captured.err.strip().splitlines()) == 1
