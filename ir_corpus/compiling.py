"""One source file through one frontend at one level: normalised IR, or the reason why there is none."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from ir_corpus import llvm, sandbox, slicing
from ir_corpus.debug_info import Place
from ir_corpus.frontends.frontend import Frontend, filled, places, substituted

_FRONTENDS = Path(__file__).parent / "frontends"


@dataclass(frozen=True)
class Compiled:
    """What came of a file: a module and its functions' places in the tree, or a reason; the compilers' CPU seconds."""

    reason: str
    message: str
    seconds: float
    module: llvm.Module | None = None


def compile_file(
    frontend: Frontend,
    root: Path,
    path: str,
    level: str,
    flags: tuple[str, ...],
    limits: sandbox.Limits,
    unit: str = "",
) -> Compiled:
    """Run the frontend's commands for `root / path` in a sandbox and normalise what they wrote.

    Args:
        frontend: the compiler.
        root: the package's folder, which the compiler sees read-only and where it runs.
        path: the file, relative to `root`.
        level: O0, O2 or Oz.
        flags: include folders, edition and the like for this file.
        limits: what each command may use.
        unit: the file that the compiler is given in its place; then only functions that stand in `path` are kept.
    """
    with tempfile.TemporaryDirectory(prefix="seerc-corpus-") as folder:
        place = sandbox.Place(root, Path(folder), frontend.in_tree)
        words = _words(frontend, place, unit or path)
        if not frontend.in_tree:
            shutil.copy(root / path, place.work)
        environment = {name: substituted(value, words) for name, value in frontend.environment.items()}
        outcome = _run_all(frontend, words, flags, level, replace(place, environment=environment), limits)
        if outcome.reason:
            return Compiled(outcome.reason, outcome.message, outcome.seconds)
        ir = place.work / substituted(frontend.output, words)
        if not ir.is_file() or ir.is_symlink():
            return Compiled("no output", outcome.message, outcome.seconds)
        try:
            module = _read(ir, place, path, frontend, bool(unit) or frontend.whole_program)
        except llvm.BadIR as error:
            return Compiled(error.reason, error.message, outcome.seconds)
        except (slicing.NoSlice, ValueError) as error:
            return Compiled("irregular IR", str(error), outcome.seconds)
        return Compiled("", "", outcome.seconds, module)


def _words(frontend: Frontend, place: sandbox.Place, path: str) -> dict[str, str]:
    relative = PurePosixPath(path)
    words = {
        "tree": str(place.inner_tree),
        "source": path,
        "absolute": str(place.inner_tree / path),
        "out": str(place.inner_work),
        "stem": relative.stem,
        "parent": str(relative.parent),
        "python": sys.executable,
        "harvest": str(_FRONTENDS / "numba_harvest.py"),
        "runner": str(_FRONTENDS / "test_runner.zig"),
        **places(),
    }
    return {**words, "ir": str(place.inner_work / substituted(frontend.output, words))}


def _run_all(
    frontend: Frontend,
    words: Mapping[str, str],
    flags: tuple[str, ...],
    level: str,
    place: sandbox.Place,
    limits: sandbox.Limits,
) -> sandbox.Outcome:
    limits = replace(limits, seconds=min(limits.seconds, frontend.seconds))
    seconds, outcome = 0.0, sandbox.Outcome("no output", "", 0.0)
    for command in frontend.levels[level]:
        outcome = sandbox.run(filled(command, words, flags), place, limits)
        seconds += outcome.seconds
        if outcome.reason:
            break
    return replace(outcome, seconds=seconds)


def _read(ir: Path, place: sandbox.Place, path: str, frontend: Frontend, only_own: bool) -> llvm.Module:
    if ir.stat().st_size > llvm.MAX_BYTES:
        raise llvm.BadIR("too large", f"{ir.stat().st_size} bytes of IR")
    sidecar = _from_sidecar(ir.parent / "places.json", path)

    def found(places: dict[str, Place]) -> dict[str, Place]:
        return sidecar or _in_tree(places, place, path)

    def own(places: dict[str, Place]) -> dict[str, Place]:
        return {symbol: place for symbol, place in found(places).items() if place.file == path}

    if only_own:
        return llvm.normalised(ir.read_bytes(), own, frontend.current)
    module = llvm.normalised(ir.read_bytes(), current=frontend.current)
    return replace(module, places=found(module.places))


def _in_tree(found: Mapping[str, Place], place: sandbox.Place, path: str) -> dict[str, Place]:
    """Places with files relative to the tree; those of files elsewhere (a language's library) go."""
    files = {file: _relative(file, place, path) for file in {one.file for one in found.values()}}
    return {symbol: replace(one, file=files[one.file]) for symbol, one in found.items() if files[one.file]}


def _relative(file: str, place: sandbox.Place, path: str) -> str:
    name = PurePosixPath(file)
    if name.is_relative_to(place.inner_work) and name.name == PurePosixPath(path).name:
        return path  # the copy that was compiled
    if not name.is_absolute():
        return _clean(file)
    if name.is_relative_to(place.inner_tree):
        return _clean(str(name.relative_to(place.inner_tree)))
    mapped = file.lstrip("/")  # what a prefix map left of the tree
    return _clean(mapped) if (place.tree / mapped).is_file() else ""


def _clean(path: str) -> str:
    parts = list[str]()
    for part in path.split("/"):
        if part == "..":
            if not parts:
                return ""
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _from_sidecar(path: Path, source: str) -> dict[str, Place]:
    """Places that a harvest wrote beside the IR: `{symbol: [name, line]}`; empty where there is no such file."""
    if not path.is_file():
        return {}
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return {str(symbol): Place(str(name), source, int(line)) for symbol, (name, line) in data.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise llvm.BadIR("unparsable IR", f"places.json: {error}") from error
