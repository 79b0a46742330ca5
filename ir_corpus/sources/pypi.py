"""Packages of the Python index, fetched by pip as plain archives: no setup code runs."""

from __future__ import annotations

import email
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from costmodel.errors import SeercError
from ir_corpus.sources.archives import extracted, sha256, top
from ir_corpus.sources.licences import UNKNOWN, spdx
from ir_corpus.sources.package import Package

_SECONDS = 1800

# pip downloads a source archive and then runs its build backend to learn its name. This runs the same pip, keeps the
# archive and ends before anything is unpacked; should pip's internals move, the false interpreter still runs nothing.
_WITHOUT_UNPACKING = """
import shutil, sys
from pip._internal.cli.main import main
from pip._internal.operations import prepare
folder, sys.executable = sys.argv.pop(1), "/bin/false"

def keep(filename, location, content_type=None):
    shutil.copy(filename, folder)
    raise SystemExit(0)

prepare.unpack_file = keep
main(sys.argv[1:])
"""


def fetch(name: str, cache: Path) -> Package:
    """`NAME` or `NAME==VERSION` is the wheel for this machine, `NAME@sdist` the source archive."""
    requirement, _, kind = name.partition("@")
    folder = cache / "pypi" / name.replace("==", "-").replace("@", "-")
    archive = _archive(folder) or _downloaded(requirement, folder, sdist=kind == "sdist")
    digest = sha256(archive)
    package = requirement.split("==")[0]
    root = cache / "trees" / f"{package}-{digest[:16]}"
    reasons = {} if root.exists() else extracted(archive, root)
    root = top(root)
    version = (
        archive.name.split("-")[1]
        if archive.suffix == ".whl"
        else archive.name.removesuffix(".tar.gz").rpartition("-")[2]
    )
    return Package(f"pypi:{name}", package, version, digest, root, _declared(root), reasons)


def _archive(folder: Path) -> Path | None:
    files = sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
    return files[0] if files else None


def _downloaded(requirement: str, folder: Path, sdist: bool) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".pip."))
    words = ["--no-deps", "--disable-pip-version-check", "-q", "-d", str(temporary), requirement]
    start = ["-c", _WITHOUT_UNPACKING, str(temporary)] if sdist else ["-m", "pip"]
    kind = "--no-binary=:all:" if sdist else "--only-binary=:all:"
    try:
        argv = [sys.executable, *start, "download", kind, *words]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_SECONDS, check=False)
        archive = _archive(temporary)
        if done.returncode or archive is None:
            last = (done.stderr.strip().splitlines() or ["no output"])[-1]
            raise SeercError(f"pypi:{requirement} cannot be fetched by pip: {last}")
        temporary.rename(folder)
        return folder / archive.name
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _declared(root: Path) -> str:
    """The licence in a wheel's METADATA or an sdist's PKG-INFO."""
    found = [*sorted(root.glob("*.dist-info/METADATA")), *sorted(root.glob("PKG-INFO"))]
    if not found:
        return ""
    fields = email.message_from_string(found[0].read_text(encoding="utf-8", errors="replace"))
    stated = fields.get("License-Expression") or fields.get("License") or ""
    if stated and len(stated) < 80 and "\n" not in stated and stated != "UNKNOWN":
        return spdx(stated)
    classifiers = [
        value.rpartition("::")[2].strip() for value in fields.get_all("Classifier", []) if "License ::" in value
    ]
    named = [spdx(value.removesuffix(" License").removeprefix("OSI Approved")) for value in classifiers if value]
    return " AND ".join(sorted(set(named) - {UNKNOWN, ""}))
