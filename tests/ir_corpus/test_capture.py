"""Builds of make and CMake whose compilers note their calls, and a corpus from what they noted."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from costmodel.errors import SeercError
from ir_corpus.build import Options, build
from ir_corpus.capture import COMPILES, capture
from ir_corpus.sources import resolve
from ir_corpus.store import read_manifest, read_pairs
from seerc.cli import main

SCALE = '#include "scale.h"\nint scale(int x) {\n  return x * FACTOR + OFFSET;\n}\n'
LICENCE = "/* SPDX-License-Identifier: MIT */\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    for folder in ("src", "inc"):
        (root / folder).mkdir(parents=True)
    (root / "src" / "scale.c").write_text(LICENCE + SCALE)
    (root / "inc" / "scale.h").write_text("#define OFFSET 5\n")
    return root


needs_make = pytest.mark.skipif(not (shutil.which("make") and shutil.which("cc")), reason="needs make and cc")


def only_function(captured: Path, folder: Path) -> tuple[str, str]:
    """Flags and IR of the one function pair of a corpus built from a capture."""
    build(Options((f"captured:{captured}",), ("c",)), folder)
    (pair,) = read_pairs(folder, "function")
    assert (pair.path, pair.name, pair.licence, pair.first_line) == ("src/scale.c", "scale", "MIT", 3)
    return pair.flags, pair.ir


@needs_make
def test_a_build_by_make_becomes_pairs(project: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (project / "Makefile").write_text(
        "all:\n\tcd src && cc -I ../inc -DFACTOR=$$((3 * 7)) -O3 -Wall -c scale.c\n\tcc --version\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        assert main(["corpus", "capture", "-o", str(tmp_path / "captured"), "--json", "--", "make", "-s"]) == 0
    assert (project / "src" / "scale.o").is_file()  # the real compiler ran
    assert json.loads("{" + capfd.readouterr().out.rpartition("{")[2]) == {"calls": 1}
    flags, ir = only_function(tmp_path / "captured", tmp_path / "corpus")
    assert flags == "-I inc -DFACTOR=21"
    assert "mul" in ir
    assert "21" in ir


@needs_make
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake")
def test_a_build_by_cmake_becomes_pairs(project: Path, tmp_path: Path) -> None:
    (project / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.10)\nproject(scale C)\nadd_library(scale src/scale.c)\n"
        "target_include_directories(scale PRIVATE inc)\ntarget_compile_definitions(scale PRIVATE FACTOR=9)\n"
    )
    code, calls = capture(["sh", "-c", "cmake -S . -B out && cmake --build out"], tmp_path / "captured", project)
    assert code == 0
    assert calls >= 1
    shutil.rmtree(project / "out")  # the compiler checks of CMake, whose sources come and go
    flags, _ = only_function(tmp_path / "captured", tmp_path / "corpus")
    assert set(flags.split()) == {"-I", "inc", "-DFACTOR=9"}


def noted(folder: Path, tree: Path, *calls: Mapping[str, object] | str) -> Path:
    folder.mkdir()
    lines = [
        json.dumps({"tree": str(tree), "command": []}),
        *(c if isinstance(c, str) else json.dumps(c) for c in calls),
    ]
    (folder / COMPILES).write_text("\n".join(lines) + "\n")
    return folder


def flags_of(compiler: str, words: list[str], project: Path, folder: Path) -> tuple[str, ...]:
    call = {"compiler": compiler, "directory": str(project / "src"), "arguments": [*words, "scale.c"]}
    flags = resolve(f"captured:{noted(folder, project, call)}").flags
    assert flags is not None
    return flags["src/scale.c"]


@pytest.mark.parametrize(
    ("compiler", "words", "expected"),
    [
        ("cc", ["-fplugin=evil.so", "-Xclang", "-load", "-B/tmp/x", "-o/etc/passwd", "-MD", "-wrapper", "x"], ()),
        ("cc", ["-march=native", "-mavx2", "-std=c11", "-D", "A=1"], ("-mavx2", "-std=c11", "-DA=1")),
        ("cc", ["-include", "conf.h", "-include", "../inc/scale.h", "-include", "../../x.h", "-MF", "x.d"],
         ("-include", "conf.h", "-include", "inc/scale.h")),
        ("cc", ["-I../../other", "-I/root/x", "-isystem", "/usr/include/x", "-I."],
         ("-isystem", "/usr/include/x", "-I", "src")),
        ("rustc", ["--edition=2021", "-Clinker=evil", "--extern", "a=../liba.rlib", "-L", "dependency=/tmp"],
         ("--edition", "2021", "--extern", "a=liba.rlib")),
        ("ldc2", ["-I../inc", "-of=/etc/passwd", "-d-version=X"], ("-I=inc", "-d-version=X")),
        ("ghc", ["-XLambdaCase", "-pgmF", "evil", "-F"], ("-XLambdaCase",)),
    ],
)  # fmt: skip
def test_only_safe_flags_are_taken(
    compiler: str, words: list[str], expected: tuple[str, ...], project: Path, tmp_path: Path
) -> None:
    assert flags_of(compiler, words, project, tmp_path / "captured") == expected


def test_damaged_notes_are_reasons(project: Path, tmp_path: Path) -> None:
    outside = {"compiler": "cc", "directory": "/", "arguments": ["/usr/src/x.c"]}
    odd = {"compiler": "cc", "directory": "/", "arguments": 7}
    folder = noted(tmp_path / "captured", project, "{", "[]", odd, outside)
    build(Options((f"captured:{folder}",), ("c",)), tmp_path / "corpus")
    assert read_manifest(tmp_path / "corpus")["sources"][0]["left_out"] == {
        "captured: outside the tree": 1,
        "captured: unreadable line": 3,
    }
    with pytest.raises(SeercError, match="holds no captured build"):
        resolve(f"captured:{tmp_path}")


def test_a_build_that_fails_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["corpus", "capture", "-o", str(tmp_path), "--", sys.executable, "-c", "raise SystemExit(7)"]
    assert main(words) == 1
    assert "failed with exit code 7" in capsys.readouterr().err
    with pytest.raises(SeercError, match="cannot be started"):
        capture(["no-such-command"], tmp_path)
