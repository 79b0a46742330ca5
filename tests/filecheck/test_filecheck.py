"""Runs every .mlir file here: `// RUN: seerc opt %s ... | filecheck %s`, both in this process."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from filecheck.finput import FInput
from filecheck.matcher import Matcher
from filecheck.options import Options
from filecheck.parser import Parser

from seerc.cli import main

HERE = Path(__file__).parent
RUN = re.compile(r"^// RUN: seerc (.*) \| filecheck %s$", re.MULTILINE)


@pytest.mark.parametrize("name", sorted(str(path.relative_to(HERE)) for path in HERE.rglob("*.mlir")))
def test_file(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = HERE / name
    commands = RUN.findall(path.read_text(encoding="utf-8"))
    assert commands, f"{name} has no `// RUN: seerc ... | filecheck %s` line"
    for command in commands:
        code = main([str(path) if word == "%s" else word for word in shlex.split(command)])
        output = capsys.readouterr()
        assert code == 0, output.err
        options = Options(match_filename=str(path))
        failed = Matcher(options, FInput("output", output.out), Parser.from_opts(options)).run()
        assert not failed, capsys.readouterr().err + output.out
