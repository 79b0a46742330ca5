"""docs/passes.md is followed to the letter: its file, its input, its command, its output."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from passes import registry
from seerc.cli import main

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "passes.md"


def test_the_tutorial_prints_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    python, mlir, console = (
        next(text for language, text in blocks if language == kind) for kind in ("python", "mlir", "")
    )
    (tmp_path / "count.py").write_text(python)
    (tmp_path / "in.mlir").write_text(mlir)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_decorated", {})
    command, _, expected = console.partition("\n")
    assert main(shlex.split(command.removeprefix("$ seerc "))) == 0
    output = capsys.readouterr()
    assert output.err + output.out == expected
