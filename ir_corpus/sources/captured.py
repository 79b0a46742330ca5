"""`captured:DIR`: the files that a build compiled, with the flags that it gave, as `ir_corpus.capture` noted them.

The notes are not trusted: only flags of the lists below are taken, and only folders inside the build's tree or the
system's own are searched for headers. Levels and outputs are the corpus's own.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from costmodel.errors import SeercError
from ir_corpus.capture import COMPILES
from ir_corpus.capture_wrapper import SUFFIXES
from ir_corpus.sources.package import Package

PATH_FLAGS = ("-isystem", "-iquote", "-idirafter", "-include", "-I")  # the value follows, glued or as the next word
_C_VALUES = ("-D", "-U", "-std=", "-fvisibility=", "-fmax-errors=", "-m")
_C_WORDS = frozenset(
    "-ansi -pthread -nostdinc -nostdinc++ -ffreestanding -fno-builtin -fno-exceptions -fexceptions -fno-rtti "
    "-fsigned-char -funsigned-char -fshort-enums -fno-strict-aliasing -fwrapv -fPIC -fpic -fPIE -fpie -ffast-math "
    "-fno-math-errno -fobjc-arc -cpp -ffree-form -ffixed-form".split()
)
_RUST_VALUES = frozenset({"--edition", "--crate-type", "--crate-name", "--cfg", "--check-cfg"})
_SYSTEM = ("/usr/include", "/usr/lib", "/usr/local/include", "/usr/share")


def read(name: str, cache: Path) -> Package:
    """The package of a captured build; `cache` is not needed.

    Raises:
        SeercError: the folder holds no capture, or the tree of its build is gone.
    """
    del cache
    log = Path(name) / COMPILES
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        tree = Path(str(json.loads(lines[0])["tree"]))
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise SeercError(f"{name} holds no captured build: seerc corpus capture -o {name} -- make") from error
    if not tree.is_dir():
        raise SeercError(f"captured:{name}: the folder of the build, {tree}, is gone: capture it again")
    reasons = Counter[str]()
    flags = noted_flags(lines[1:], tree, reasons)
    known = hashlib.sha256(json.dumps(flags).encode()).hexdigest()
    return Package(f"captured:{tree.name}", tree.name, "", known, tree, "", dict(reasons), flags, walked=False)


def noted_flags(lines: Iterable[str], tree: Path, reasons: Counter[str]) -> dict[str, tuple[str, ...]]:
    """The files of `tree` that noted calls compile, in order, each with the flags of its first call that are safe."""
    flags = dict[str, tuple[str, ...]]()
    for line in sorted(lines):  # parallel builds note in any order
        for path, found in _sources(line, tree, reasons):
            flags.setdefault(path, found)
    return dict(sorted(flags.items()))


def _sources(line: str, tree: Path, reasons: Counter[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The source files of one noted call, relative to the tree, with their flags."""
    try:
        call: dict[str, Any] = json.loads(line)
        compiler, folder = str(call["compiler"]), str(call["directory"])
        words = [str(word) for word in call["arguments"]]
    except (ValueError, KeyError, TypeError):
        reasons["captured: unreadable line"] += 1
        return
    places = _Places(tree, folder)
    read = {"rustc": _rust, "ldc2": _d, "ldmd2": _d, "ghc": _haskell}.get(compiler, _c)
    flags = tuple(read(words, places))
    for word in words:
        if word.endswith(".d") and read is not _d:
            continue  # what a compiler of C writes for -MD
        if word.endswith(SUFFIXES) and not word.startswith("-"):
            path = places.inside(word)
            if path and (tree / path).is_file():
                yield path, flags
            else:
                reasons["captured: outside the tree"] += 1


class _Places:
    """Paths of a call, as they are called from the tree."""

    def __init__(self, tree: Path, folder: str) -> None:
        self._tree, self._folder = tree, folder

    def inside(self, path: str) -> str:
        """The path relative to the tree; empty if it is not inside."""
        name = os.path.relpath(os.path.realpath(os.path.join(self._folder, path)), os.path.realpath(self._tree))
        return "" if name == ".." or name.startswith("../") else name

    def holds(self, path: str) -> bool:
        """Whether the file is there, as the call sees it."""
        return os.path.isfile(os.path.join(self._folder, path))

    def allowed(self, path: str) -> str:
        """The path relative to the tree, or a folder of the system; empty for any other."""
        full = os.path.normpath(os.path.join(self._folder, path))
        return self.inside(path) or (full if any(full == s or full.startswith(f"{s}/") for s in _SYSTEM) else "")


def _c(words: Sequence[str], places: _Places) -> Iterator[str]:
    """Of clang, GCC and flang: headers, macros, standards, and what changes the meaning of a program."""
    rest = iter(words)
    for word in rest:
        flag = next((flag for flag in PATH_FLAGS if word.startswith(flag)), "")
        if flag:
            value = word.removeprefix(flag) or next(rest, "")
            found = flag == "-include" and not value.startswith(("/", "..")) and not places.holds(value)
            path = value if found else places.allowed(value)  # found on the include path
            yield from (flag, path) if path else ()
        elif word in ("-D", "-U"):
            yield word + next(rest, "")
        elif word in _C_WORDS or (word.startswith(_C_VALUES) and not word.endswith("=native")):
            yield word


def _rust(words: Sequence[str], places: _Places) -> Iterator[str]:
    """Edition, kind and name of the crate, its configuration, and the crates that it uses."""
    rest = iter(words)
    for word in rest:
        name, glued, value = word.partition("=")
        if name in _RUST_VALUES:
            yield from (name, value if glued else next(rest, ""))
        elif word == "--extern":
            crate, _, path = next(rest, "").partition("=")
            inside = places.inside(path) if path else ""
            yield from ("--extern", f"{crate}={inside}") if inside else ("--extern", crate) if not path else ()
        elif word == "-L":
            kind, _, path = next(rest, "").rpartition("=")
            inside = places.inside(path)
            yield from ("-L", f"{kind}={inside}" if kind else inside) if inside else ()


def _d(words: Sequence[str], places: _Places) -> Iterator[str]:
    """Folders of modules and of imported strings, and versions."""
    for word in words:
        if word.startswith(("-I", "-J")):
            path = places.allowed(word[2:].removeprefix("="))
            yield from (f"{word[:2]}={path}",) if path else ()
        elif word.startswith(("-d-version=", "--d-version=", "-preview=", "--preview=")):
            yield word


def _haskell(words: Sequence[str], places: _Places) -> Iterator[str]:
    """Language extensions and macros; what imports modules of its own project is rejected by the compiler."""
    del places
    yield from (word for word in words if word.startswith(("-X", "-D")))
