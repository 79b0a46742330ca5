"""Source and binary packages of Debian, through apt with a configuration of our own.

Nothing of the system's apt changes: lists, caches and sources lie in the corpus's cache folder; only the addresses
and keys are the system's.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

from costmodel.errors import SeercError
from ir_corpus.sources.archives import extracted, sha256, top
from ir_corpus.sources.package import Package

_SECONDS = 3600
_ORIG = re.compile(r"\.orig\.tar\.\w+$")
_DEBIAN = re.compile(r"\.debian\.tar\.\w+$")
_NATIVE = re.compile(r"\.tar\.\w+$")


def fetch_source(name: str, cache: Path) -> Package:
    """A source package: the upstream archive, with Debian's own folder beside it where the mirror has it."""
    folder = cache / "debian" / name
    if not folder.is_dir():
        _download(cache, folder, ["source", "--download-only", name], f"debian:{name}", partial=True)
    files = sorted(path for path in folder.iterdir() if path.is_file())
    main = next((path for path in files if _ORIG.search(path.name)), None)
    main = main or next((path for path in files if _NATIVE.search(path.name) and not _DEBIAN.search(path.name)), None)
    if main is None:
        raise SeercError(f"debian:{name}: the mirror has no archive of it")
    digest = sha256(main)
    root = cache / "trees" / f"{name}-{digest[:16]}"
    reasons = {} if root.exists() else extracted(main, root)
    root = top(root)
    extra = next((path for path in files if _DEBIAN.search(path.name)), None)
    if extra is not None and not (root / "debian").exists():
        _take_debian(extra, root)
    return Package(f"debian:{name}", name, _version(main, name), digest, root, "", reasons)


def fetch_rust(name: str, cache: Path) -> Package:
    """The crate in `librust-NAME-dev`: its sources lie under usr/share/cargo/registry."""
    package = fetch_binary(name if name.startswith("librust-") else f"librust-{name}-dev", cache)
    crate = next(iter(sorted(package.root.glob("usr/share/cargo/registry/*"))), None)
    if crate is None:
        raise SeercError(f"debian-rust:{name}: the package holds no crate")
    _take_copyright(package.root, crate)
    return replace(package, spec=f"debian-rust:{name}", root=crate)


def fetch_binary(name: str, cache: Path) -> Package:
    """A binary package, for those that ship sources: examples, standard libraries."""
    folder = cache / "debian-binary" / name
    if not folder.is_dir():
        _download(cache, folder, ["download", name], f"debian-binary:{name}", partial=False)
    archive = next(iter(sorted(folder.glob("*.deb"))), None)
    if archive is None:
        raise SeercError(f"debian-binary:{name}: apt downloaded no package")
    digest = sha256(archive)
    root = cache / "trees" / f"{name}-{digest[:16]}"
    reasons = {} if root.exists() else _extract_deb(archive, root)
    _take_copyright(root, root)
    return Package(f"debian-binary:{name}", name, archive.name.split("_")[1], digest, root, "", reasons)


def _take_copyright(root: Path, into: Path) -> None:
    """The copyright file of a binary package, where `Licences` looks for it."""
    shipped = next(iter(sorted(root.glob("usr/share/doc/*/copyright"))), None)
    if shipped is not None and not (into / "debian").exists():
        (into / "debian").mkdir()
        shutil.copy(shipped, into / "debian" / "copyright")


def _version(archive: Path, name: str) -> str:
    return re.sub(r"(?:\.orig)?\.tar\.\w+$", "", archive.name).removeprefix(f"{name}_")


def _take_debian(archive: Path, root: Path) -> None:
    """Debian's copyright file; `Licences` looks for it under the package's root."""
    with tempfile.TemporaryDirectory(dir=root.parent) as temporary:
        folder = Path(temporary) / "extra"
        extracted(archive, folder)
        if (folder / "debian" / "copyright").exists():
            (root / "debian").mkdir(exist_ok=True)
            shutil.copy(folder / "debian" / "copyright", root / "debian" / "copyright")


def _extract_deb(archive: Path, root: Path) -> dict[str, int]:
    """A .deb is an ar archive; dpkg-deb gives the tar inside it, and we extract that."""
    if shutil.which("dpkg-deb") is None:
        raise SeercError("debian-rust packages need dpkg-deb, which this system lacks")
    with tempfile.TemporaryDirectory(dir=archive.parent) as temporary:
        data = Path(temporary) / "data.tar"
        with data.open("wb") as file:
            subprocess.run(["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=file, check=True, timeout=600)
        return extracted(data, root)


def _download(cache: Path, folder: Path, words: list[str], spec: str, partial: bool) -> None:
    """Fill `folder` by one apt-get command; with `partial` an archive that the mirror lacks is forgiven."""
    configuration = _configured(cache / "apt")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        argv = ["apt-get", "-q", *configuration, *words]
        done = subprocess.run(argv, cwd=temporary, capture_output=True, text=True, timeout=_SECONDS, check=False)
        if not any(temporary.iterdir()) or (done.returncode and not partial):
            errors = [line for line in done.stderr.splitlines() if line.startswith("E:")]
            raise SeercError(f"{spec} cannot be fetched by apt: {(errors or ['no output'])[0]}")
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _configured(folder: Path) -> list[str]:
    """Options that keep apt inside `folder`; the lists are fetched once."""
    if shutil.which("apt-get") is None:
        raise SeercError("debian packages need apt-get, which this system lacks")
    parts, lists, archives = folder / "sources", folder / "lists", folder / "cache"
    options = {
        "Dir::Etc::SourceList": "/dev/null",
        "Dir::Etc::SourceParts": str(parts),
        "Dir::State::Lists": str(lists),
        "Dir::Cache": str(archives),
        "APT::Sandbox::User": "root",
    }
    argv = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    if not lists.is_dir():
        for path in (parts, lists / "partial", archives):
            path.mkdir(parents=True, exist_ok=True)
        (parts / "debian.sources").write_text(_with_sources(), encoding="utf-8")
        subprocess.run(["apt-get", "-q", *argv, "update"], capture_output=True, timeout=_SECONDS, check=False)
    return argv


def _with_sources() -> str:
    """The system's Debian entries, asking for source packages too."""
    path = Path("/etc/apt/sources.list.d/debian.sources")
    if path.exists():
        return re.sub(r"^Types:.*$", "Types: deb deb-src", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    old = Path("/etc/apt/sources.list")
    lines = old.read_text(encoding="utf-8").splitlines() if old.exists() else []
    found = [re.match(r"deb(?:-src)?\s+(?:\[.*?\]\s+)?(\S+)\s+(\S+)\s+(.*)$", line) for line in lines]
    return "\n".join(f"Types: deb deb-src\nURIs: {m[1]}\nSuites: {m[2]}\nComponents: {m[3]}\n" for m in found if m)
