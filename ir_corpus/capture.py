"""Runs somebody's build with compilers that note what they were called with: `seerc corpus capture -o DIR -- make`.

    DIR/compiles.jsonl    a first line with the folder of the build, then a line a call of a compiler
    DIR/bin/              the wrappers that stand first on PATH (`ir_corpus.capture_wrapper`)

The build itself runs as its user, without a sandbox, as it does without us. What is compiled for the corpus later
(`captured:DIR`) runs in the sandbox, with the flags that `ir_corpus.sources.captured` lets through.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from costmodel.errors import SeercError
from costmodel.files import write_atomically
from ir_corpus import capture_wrapper
from ir_corpus.capture_wrapper import BIN, LOG

COMPILES = "compiles.jsonl"
_NAMES = (
    *("cc", "c++", "gcc", "g++", "clang", "clang++", "clang-22", "clang++-22", "gfortran", "flang", "flang-22", "f77"),
    *("rustc-wrapper", "ghc", "ldc2", "ldmd2"),
)


def capture(command: Sequence[str], folder: Path, tree: Path | None = None) -> tuple[int, int]:
    """Run a build command in `tree` (default: here); its exit code, and how many calls of compilers were noted.

    Raises:
        SeercError: the command cannot be started.
    """
    tree, folder = (tree or Path.cwd()).resolve(), folder.resolve()
    tools, log = folder / "bin", folder / COMPILES
    shutil.rmtree(tools, ignore_errors=True)
    write_tools(tools, [name for name in _NAMES if name == "rustc-wrapper" or shutil.which(name)])
    write_atomically(log, json.dumps({"tree": str(tree), "command": list(command)}) + "\n")
    path = os.pathsep.join([str(tools), os.environ.get("PATH", os.defpath)])
    ours = {"PATH": path, LOG: str(log), BIN: str(tools), "RUSTC_WRAPPER": str(tools / "rustc-wrapper")}
    try:
        code = subprocess.run(command, cwd=tree, env={**os.environ, **ours}, check=False).returncode
    except OSError as error:
        raise SeercError(f"{command[0]} cannot be started: {error.strerror}") from error
    with log.open("rb") as file:
        return code, sum(1 for _ in file) - 1


def write_tools(folder: Path, names: Iterable[str]) -> None:
    """Write a wrapper that notes calls under each name."""
    folder.mkdir(parents=True)
    script = f"#!{sys.executable} -IS\n{Path(capture_wrapper.__file__).read_text(encoding='utf-8')}"
    for name in names:
        (folder / name).write_text(script, encoding="utf-8")
        (folder / name).chmod(0o755)
