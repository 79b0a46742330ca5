"""`SOURCE@configured`: the package's own configure, CMake or Meson runs once, in the sandbox, on a copy of its tree.

What it leaves behind is used in two ways: headers that it wrote lie in the tree's folder `.configured` and are on the
include path, and the calls that its build would make of compilers, which only note them, give each file its flags.
Nothing else of the build is kept, no compiler runs but for configure's own checks and for programs of one call that
write headers, and the flags pass the same list as those of a captured build.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from costmodel.errors import SeercError
from costmodel.files import write_atomically
from ir_corpus import sandbox
from ir_corpus.capture import write_tools
from ir_corpus.capture_wrapper import BIN, DRY, LAUNCHER, LOG
from ir_corpus.sources.captured import PATH_FLAGS, noted_flags
from ir_corpus.sources.package import Package

SUFFIX = "@configured"
FOLDER = ".configured"
_NOTES, _LOG = "notes.json", "calls.jsonl"
_HEADERS = (".h", ".hh", ".hpp", ".inc", ".def", ".tbl", ".ipp", ".inl")
_MAX_HEADER_BYTES = 4 << 20
_LIMITS = sandbox.Limits(seconds=300.0, wall_seconds=500.0, disk_mib=4_096)
_COMMANDS = {  # where the package's way is none of those below; `{dry}` stands before what only notes its compilers
    "debian:openssl": "./config no-asm; {dry} make -k build_generated; {dry} make -k -i",
    "debian:nginx": "./configure --without-http_rewrite_module --without-http_gzip_module; {dry} make -k -i",
    "debian:postgresql-15": "./configure --without-readline --without-zlib --without-icu; "
    "make -C src/backend generated-headers; {dry} make -k -i -C src; {dry} make -k -i -C contrib",
    "debian:krb5": "cd src; ./configure; {dry} make -k -i",
    "debian:tcl8.6": "cd unix; ./configure; {dry} make -k -i",
}
_DEFAULT = """
if [ -f CMakeLists.txt ] && command -v cmake; then
  cmake -S . -B .configured -DCMAKE_EXPORT_COMPILE_COMMANDS=ON \
    -DCMAKE_C_COMPILER_LAUNCHER={launcher} -DCMAKE_CXX_COMPILER_LAUNCHER={launcher} && {dry} make -C .configured -k -i
elif [ -f meson.build ] && command -v meson; then
  meson setup .configured
fi
if [ ! -s {log} ] && [ ! -s .configured/compile_commands.json ]; then
  [ -f configure ] || [ ! -f configure.ac ] || autoreconf -fi
  [ ! -f configure ] || ./configure
  {dry} make -k -i
fi
"""


def configured(package: Package) -> Package:
    """The package with flags for the files that its build compiles, its generated headers in its tree.

    The version says which headers: `1.3+configured-` and the first digits of their hash, so that rows made with other
    headers are other rows.

    Raises:
        SeercError: no bubblewrap, without which a build must not run.
    """
    notes = package.root / FOLDER / _NOTES
    if not notes.is_file():
        if sandbox.isolation() != "bubblewrap":
            raise SeercError(f"{package.spec}{SUFFIX} runs a build, which needs bubblewrap: apt install bubblewrap")
        _run(package, notes)
    found: dict[str, Any] = json.loads(notes.read_text(encoding="utf-8"))
    flags = {path: tuple(words) for path, words in found["flags"].items()}
    reasons = {**package.reasons, **found["reasons"]}
    version = f"{package.version}+configured-{found['sha256'][:8]}"
    return replace(package, spec=package.spec + SUFFIX, version=version, flags=flags, reasons=reasons)


def _run(package: Package, notes: Path) -> None:
    """Run the build and write what came of it into `.configured`; the notes come last and say that all is there."""
    target = package.root / FOLDER
    shutil.rmtree(target, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="seerc-configure-") as name:
        work = Path(name)
        copy = work / "tree"
        shutil.copytree(package.root, copy, symlinks=True, ignore=shutil.ignore_patterns(".git", FOLDER))
        write_tools(work / "bin", ("cc", "c++", LAUNCHER))
        place = sandbox.Place(package.root, work, in_tree=False)
        outcome = sandbox.run(["bash", "-c", _script(package.spec, place.inner_work)], place, _LIMITS)
        headers = dict(_new_headers(copy, package.root))
        for path, data in headers.items():
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(target / path, data)
        counts = Counter({f"configure: {outcome.reason}": 1} if outcome.reason else {})
        lines = "\n".join(_calls(work)).replace(str(place.inner_work / "tree"), str(package.root))
        flags = dict(_flags(lines.splitlines(), package.root, set(headers), counts))
    known = hashlib.sha256(json.dumps([sorted(_digests(headers).items()), sorted(flags.items())]).encode())
    target.mkdir(exist_ok=True)
    found = {"sha256": known.hexdigest(), "flags": flags, "reasons": counts}
    write_atomically(notes, json.dumps(found, indent=1) + "\n")


def _script(spec: str, inner: Path) -> str:
    tools, log = inner / "bin", inner / _LOG
    noting = {LOG: str(log), BIN: str(tools), DRY: "clang", "CC": str(tools / "cc"), "CXX": str(tools / "c++")}
    dry = " ".join(["env", *(f"{name}={value}" for name, value in noting.items())])
    body = _COMMANDS.get(spec.partition("==")[0], _DEFAULT).replace("{dry} make", f"{dry} make -e")
    body = body.replace("{launcher}", str(tools / LAUNCHER)).replace("{log}", str(log))
    return (
        f"export CC=clang-22 CXX=clang++-22; cd tree; chmod -R u+x .; {body}"  # archives are extracted without that bit
    )


def _new_headers(copy: Path, root: Path) -> Iterator[tuple[str, bytes]]:
    """Headers of the copy that the tree lacks or has otherwise, by their path."""
    for folder, _, names in os.walk(copy):
        for name in sorted(names):
            file = Path(folder) / name
            path = str(file.relative_to(copy)).removeprefix(f"{FOLDER}/")
            if not name.endswith(_HEADERS) or file.is_symlink() or file.stat().st_size > _MAX_HEADER_BYTES:
                continue
            data, old = file.read_bytes(), root / path
            if not old.is_file() or old.read_bytes() != data:
                yield path, data


def _digests(files: Mapping[str, bytes]) -> dict[str, str]:
    return {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}


def _calls(work: Path) -> Iterator[str]:
    """Lines as `ir_corpus.capture` writes them: what compilers noted, else what CMake or Meson would do."""
    log, commands = work / _LOG, work / "tree" / FOLDER / "compile_commands.json"
    if log.is_file():
        yield from log.read_text(encoding="utf-8", errors="replace").splitlines()
    elif commands.is_file():
        for entry in json.loads(commands.read_text(encoding="utf-8", errors="replace")):
            words = shlex.split(entry.get("command", "")) or entry.get("arguments", [])
            yield json.dumps({"compiler": "cc", "directory": entry["directory"], "arguments": words[1:]})


def _flags(
    lines: list[str], root: Path, headers: set[str], reasons: Counter[str]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each file's flags; a folder that has generated headers is searched in `.configured` first."""
    folders = {os.path.dirname(path) or "." for path in headers}
    after = [word for name in sorted(folders) for word in ("-idirafter", _moved(name))]
    for path, words in noted_flags(lines, root, reasons).items():
        yield path, (*_doubled(words, headers, folders), *after)


def _doubled(words: tuple[str, ...], headers: set[str], folders: set[str]) -> Iterator[str]:
    flag = ""
    for word in words:
        if flag == "-include" and word in headers:
            word = _moved(word)
        elif flag and flag != "-include" and word in folders:
            yield from (_moved(word), flag)
        flag = word if word in PATH_FLAGS else ""
        yield word


def _moved(path: str) -> str:
    return os.path.normpath(f"{FOLDER}/{path}")
