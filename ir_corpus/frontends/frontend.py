"""What a frontend is: how a compiler is found, installed and called to turn one source file into LLVM IR."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path

Command = tuple[str, ...]


def no_rules(source: str) -> Command:
    """The flags that a file needs by its own text: none."""
    return ()


@dataclass(frozen=True)
class Frontend:
    """One compiler for one language.

    A command is an argv of templates. Words in braces: {source} (the file, relative to the tree), {absolute} (the
    same, absolute), {out} (the work folder), {ir} (the file to write), {stem} (file name without suffix), {python};
    the word {flags} becomes the flags of the file (include folders, edition). Commands of a level run in order.
    """

    name: str
    language: str
    suffixes: tuple[str, ...]
    programs: tuple[str, ...]  # on PATH, a path that must exist, or `python:MODULE`
    install: str  # empty: not to be had from pip or Debian
    levels: Mapping[str, tuple[Command, ...]]
    optimiser: str  # whose optimisation a level is: the frontend's own, LLVM's (and which), or both
    version: Command = ()
    output: str = "out.ll"
    rules: Callable[[str], Command] = no_rules
    include_flag: str = ""  # what stands before each include folder of a package, as -I
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    seconds: float = 60.0
    in_tree: bool = True  # the compiler's current folder: the tree, else the work folder
    whole_program: bool = False  # the IR holds more than the file: only the file's functions are kept
    current: bool = False  # the IR is text that LLVM 22 printed, so it can be edited before it is read
    states_llvm: Command = ()  # what tells which LLVM prints the IR, where that differs from one machine to another
    revision: int = 0  # raised when the same file would give another row: what a journal holds of it is not taken
    names: str = "debug"  # how functions are found in the source: `debug` info, `symbol`, `sidecar`, `none`
    default: bool = True
    note: str = ""

    def missing(self) -> tuple[str, ...]:
        """The programs and modules that are not here."""
        return tuple(program for program in self.programs if not _present(program))


@dataclass(frozen=True)
class Available:
    """A line of `seerc doctor`: a language, the frontend that serves it, and what to install where one is missing."""

    language: str
    name: str
    found: bool
    version: str
    install: str
    note: str


@cache
def _present(program: str) -> bool:
    if program.startswith("python:"):
        return find_spec(program.removeprefix("python:")) is not None
    if program.startswith("/"):
        return Path(program).exists()
    found = shutil.which(program)
    if found is not None and Path(found).resolve().name == "rustup":  # stands for a toolchain that may not be there
        return subprocess.run([found, "--version"], capture_output=True, check=False).returncode == 0
    return found is not None


def filled(command: Sequence[str], words: Mapping[str, str], flags: Sequence[str]) -> list[str]:
    """A command with its templates filled in; braces that are no word of `words` stay as they are."""
    argv = list[str]()
    for template in command:
        argv += flags if template == "{flags}" else [substituted(template, words)]
    return argv


def substituted(template: str, words: Mapping[str, str]) -> str:
    """One template filled in, in one pass: a value that itself holds braces is not read again."""
    return re.sub(r"\{(\w+)\}", lambda match: words.get(match[1], match[0]), template)


@cache
def llvm_major(command: Command) -> int:
    """The number of the LLVM that a compiler says it is built on; 0 if it does not say."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.search(r"^LLVM version:? (\d+)", done.stdout, re.MULTILINE)
    return int(found[1]) if found else 0


@cache
def version_of(command: Command) -> str:
    """The first line with a digit that a compiler says of itself; empty if it does not run."""
    if not command:
        return ""
    try:
        argv = filled(command, {"python": sys.executable, **places()}, ())
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = (done.stdout + done.stderr).splitlines()
    return next((line.strip() for line in lines if any(c.isdigit() for c in line)), "")


@cache
def places() -> dict[str, str]:
    """Folders of compilers that come as Python packages, by template word."""
    found = dict[str, str]()
    for word, module, folder in (
        ("codon", "codon_compiler_demo", "binaries/linux-x86_64"),
        ("ziglib", "ziglang", "lib"),
    ):
        spec = find_spec(module)
        if spec and spec.origin:
            found[word] = str(Path(spec.origin).parent / folder)
    return found
