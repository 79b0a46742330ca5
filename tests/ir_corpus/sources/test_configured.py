"""Packages whose own configure or CMake runs in the sandbox, for the headers and flags that it gives."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from costmodel.errors import SeercError
from ir_corpus import sandbox
from ir_corpus.build import Options, build
from ir_corpus.sources import resolve
from ir_corpus.sources.package import Package
from ir_corpus.store import read_pairs

LICENCE = "/* SPDX-License-Identifier: MIT */\n"
SCALE = LICENCE + '#include "config.h"\nint scale(int x) {\n  return x * FACTOR + OFFSET + TABLE;\n}\n'
CONFIGURE = """#!/bin/sh
echo '#define OFFSET 5' > config.h
touch {outside}/escaped
cat > Makefile <<'END'
all: prog
gen: gen.c
\t$(CC) gen.c -o gen
src/table.h: gen
\t./gen > src/table.h
prog: src/table.h
\t$(CC) -I. -DFACTOR=7 -include src/table.h -MD -MF src/scale.d -c src/scale.c -o src/scale.o
\t$(CC) src/scale.o -o prog
\t./prog
END
"""
needs_sandbox = pytest.mark.skipif(
    sandbox.isolation() != "bubblewrap" or not all(map(shutil.which, ("make", "clang-22"))),
    reason="needs bubblewrap, make and clang-22",
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEERC_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "src").mkdir(parents=True)
    (root / "src" / "scale.c").write_text(SCALE)
    (root / "gen.c").write_text(LICENCE + '#include <stdio.h>\nint main(void) { puts("#define TABLE 9"); }\n')
    return root


def configured(root: Path, script: str) -> Package:
    (root / "configure").write_text(script)
    return resolve(f"{root}@configured")


@needs_sandbox
def test_headers_and_flags_of_a_build_make_a_pair(project: Path, tmp_path: Path) -> None:
    package = configured(project, CONFIGURE.replace("{outside}", str(tmp_path)))
    assert (project / ".configured" / "config.h").read_text() == "#define OFFSET 5\n"
    assert (project / ".configured" / "src" / "table.h").read_text() == "#define TABLE 9\n"  # its generator really ran
    assert not (project / "config.h").exists()
    assert not (project / "src" / "scale.o").exists()
    assert not (tmp_path / "escaped").exists()
    assert "-DFACTOR=7" in package.flags["src/scale.c"]
    assert package.version.startswith("+configured-")
    build(Options((f"{project}@configured",), ("c",)), tmp_path / "corpus")
    (pair,) = [pair for pair in read_pairs(tmp_path / "corpus", "function") if pair.name == "scale"]
    assert (pair.path, pair.version) == ("src/scale.c", package.version)
    assert "mul" in pair.ir
    assert ", 14\n" in pair.ir  # OFFSET and TABLE together


@needs_sandbox
def test_other_headers_are_another_version(project: Path) -> None:
    first = configured(project, "echo '#define OFFSET 5' > config.h\n").version
    assert resolve(f"{project}@configured").version == first  # it is not run again
    shutil.rmtree(project / ".configured")
    assert configured(project, "echo '#define OFFSET 5' > config.h\n").version == first
    shutil.rmtree(project / ".configured")
    assert configured(project, "echo '#define OFFSET 6' > config.h\n").version != first


@needs_sandbox
def test_a_configure_that_fails_is_a_reason(project: Path) -> None:
    package = configured(project, "exit 1\n")
    assert package.flags == {}
    assert package.reasons == {"configure: rejected": 1}


@needs_sandbox
def test_notes_that_a_tree_brings_along_are_not_read(project: Path) -> None:
    (project / ".configured").mkdir()
    (project / ".configured" / "notes.json").write_text('{"flags": {"src/scale.c": ["-fplugin=evil.so"]}}')
    (project / ".configured" / "config.h").write_text("#define OFFSET 666\n")
    package = configured(project, "true\n")
    assert package.flags == {}
    assert list((project / ".configured").iterdir()) == []


@needs_sandbox
@pytest.mark.parametrize("commands", ["{", "7", '[3, {"command": 4, "directory": "."}, {"command": "cc \'"}]'])
def test_damaged_commands_are_reasons(commands: str, project: Path) -> None:
    script = f"mkdir -p .configured; cat > .configured/compile_commands.json <<'END'\n{commands}\nEND\n"
    package = configured(project, script)
    assert package.flags == {}
    assert package.reasons["captured: unreadable line"] >= 1


@needs_sandbox
def test_a_log_that_is_a_link_is_not_followed(project: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret\n")
    package = configured(project, f"ln -s {tmp_path / 'secret'} ../calls.jsonl; ln -s {tmp_path / 'secret'} x.h\n")
    assert (package.flags, package.reasons) == ({}, {"configure: rejected": 1})  # make found nothing to do
    assert not list((project / ".configured").iterdir())


@needs_sandbox
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake")
def test_cmake_gives_headers_and_flags(project: Path) -> None:
    (project / "config.h.in").write_text("#define OFFSET @OFFSET@\n#define TABLE 1\n")
    (project / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.10)\nproject(scale C)\nset(OFFSET 3)\nconfigure_file(config.h.in config.h)\n"
        "add_library(scale src/scale.c)\ntarget_compile_definitions(scale PRIVATE FACTOR=9)\n"
        "target_include_directories(scale PRIVATE ${CMAKE_BINARY_DIR})\n"
    )
    package = resolve(f"{project}@configured")
    assert (project / ".configured" / "config.h").read_text() == "#define OFFSET 3\n#define TABLE 1\n"
    assert {"-DFACTOR=9", ".configured"} <= set(package.flags["src/scale.c"])
    assert package.reasons == {}


def test_without_a_sandbox_no_build_is_run(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "isolation", lambda: "unshare")
    with pytest.raises(SeercError, match="bubblewrap"):
        configured(project, "touch ran\n")
    assert not (project / ".configured").exists()
