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
import stat
import tempfile
from collections import Counter
from collections.abc import Iterator
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
_LOG = "calls.jsonl"
_HEADERS = (".h", ".hh", ".hpp", ".inc", ".def", ".tbl", ".ipp", ".inl")
_MAX_HEADER_BYTES, _MAX_ALL_HEADERS, _MAX_LOG_BYTES = 4 << 20, 128 << 20, 64 << 20
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


def configured(package: Package, cache: Path) -> Package:
    """The package with flags for the files that its build compiles, its generated headers in its tree.

    The version says which headers and flags: `1.3+configured-` and the first digits of their hash, so that rows made
    with others are other rows. What was found is noted in `cache`, not in the tree, which may hold anything.

    Raises:
        SeercError: no bubblewrap, without which a build must not run.
    """
    notes = cache / "configured" / f"{_sha256(str(package.root).encode())[:32]}.json"
    if not (notes.is_file() and (package.root / FOLDER).is_dir()):
        if sandbox.isolation() != "bubblewrap":
            raise SeercError(f"{package.spec}{SUFFIX} runs a build, which needs bubblewrap: apt install bubblewrap")
        found = _run(package)
        notes.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(notes, json.dumps(found, indent=1) + "\n")
    found = json.loads(notes.read_text(encoding="utf-8"))
    flags = {path: tuple(words) for path, words in found["flags"].items()}
    reasons = {**package.reasons, **found["reasons"]}
    version = f"{package.version}+configured-{found['sha256'][:8]}"
    return replace(package, spec=package.spec + SUFFIX, version=version, flags=flags, reasons=reasons)


def _run(package: Package) -> dict[str, Any]:
    """Run the build and write its headers into `.configured`; its flags, reasons, and the hash of flags and headers."""
    target = package.root / FOLDER
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    with tempfile.TemporaryDirectory(prefix="seerc-configure-") as name:
        work = Path(name)
        shutil.copytree(package.root, work / "tree", symlinks=True, ignore=shutil.ignore_patterns(".git", FOLDER))
        write_tools(work / "bin", ("cc", "c++", LAUNCHER))
        place = sandbox.Place(package.root, work, in_tree=False)
        outcome = sandbox.run(["bash", "-c", _script(package.spec, place.inner_work)], place, _LIMITS)
        reasons = Counter({f"configure: {outcome.reason}": 1} if outcome.reason else {})
        hashes = dict(_keep_headers(work / "tree", package.root, reasons))
        lines = [line.replace(str(place.inner_work / "tree"), str(package.root)) for line in _calls(work)]
        flags = dict(_flags(lines, package.root, set(hashes), reasons))
    known = _sha256(json.dumps([sorted(hashes.items()), sorted(flags.items())]).encode())
    return {"sha256": known, "flags": flags, "reasons": reasons}


def _script(spec: str, inner: Path) -> str:
    tools, log = inner / "bin", inner / _LOG
    noting = {LOG: str(log), BIN: str(tools), DRY: "1", "CC": str(tools / "cc"), "CXX": str(tools / "c++")}
    dry = " ".join(["env", *(f"{name}={value}" for name, value in noting.items())])
    body = _COMMANDS.get(spec.partition("==")[0], _DEFAULT).replace("{dry} make", f"{dry} make -e")
    body = body.replace("{launcher}", str(tools / LAUNCHER)).replace("{log}", str(log))
    start = "export CC=clang-22 CXX=clang++-22; cd tree; chmod -R u+x ."  # archives are extracted without that bit
    return f"{start}; {body}"


def _keep_headers(copy: Path, root: Path, reasons: Counter[str]) -> Iterator[tuple[str, str]]:
    """Copy headers that the tree lacks or has otherwise into its `.configured`; path and SHA-256 of each."""
    total = 0
    for folder, _, names in os.walk(copy):
        for name in sorted(names):
            file = Path(folder) / name
            path = str(file.relative_to(copy)).removeprefix(f"{FOLDER}/")
            if not name.endswith(_HEADERS) or not stat.S_ISREG(file.lstat().st_mode):
                continue
            if file.stat().st_size > _MAX_HEADER_BYTES or total > _MAX_ALL_HEADERS:
                reasons["configure: header too large"] += 1
                continue
            data, old = file.read_bytes(), root / path
            if not old.is_file() or old.read_bytes() != data:
                total += len(data)
                (root / FOLDER / path).parent.mkdir(parents=True, exist_ok=True)
                write_atomically(root / FOLDER / path, data)
                yield path, _sha256(data)


def _calls(work: Path) -> Iterator[str]:
    """Lines as `ir_corpus.capture` writes them: what compilers noted, else what CMake or Meson would do."""
    commands = _read(work / "tree" / FOLDER / "compile_commands.json")
    if noted := _read(work / _LOG):
        yield from noted.splitlines()
    elif commands:
        try:
            entries: Any = json.loads(commands)
        except ValueError:
            entries = ["not JSON"]
        yield from map(_as_call, entries if isinstance(entries, list) else ["no list"])


def _as_call(entry: Any) -> str:
    """An entry of compile_commands.json as a noted call; what is none stays, and is counted as unreadable."""
    try:
        words = entry.get("arguments") or shlex.split(entry["command"])
        return json.dumps({"compiler": "cc", "directory": entry["directory"], "arguments": words[1:]})
    except (AttributeError, KeyError, TypeError, ValueError):
        return json.dumps(str(entry))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _read(path: Path) -> str:
    """The text of a plain file that a build left, the first 64 MiB of it; empty where there is none."""
    if path.is_symlink() or not path.is_file():
        return ""
    with path.open("rb") as file:
        return file.read(_MAX_LOG_BYTES).decode("utf-8", errors="replace")


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
