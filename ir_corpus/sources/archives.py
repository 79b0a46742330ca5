"""Extraction of archives that nobody vouches for: nothing lands outside the folder, and sizes have limits."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from costmodel.errors import SeercError

_MAX_FILE = 8 << 20
_MAX_TOTAL = 6 << 30
_MAX_MEMBERS = 500_000
_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".tar.zst", ".zip", ".whl", ".deb")


@dataclass(frozen=True)
class _Member:
    path: str
    size: int
    plain: bool
    open: Callable[[], IO[bytes] | None]


def sha256(path: Path) -> str:
    """The hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def extracted(archive: Path, into: Path) -> dict[str, int]:
    """Extract an archive into a folder that does not exist yet; whole or not at all.

    Returns:
        What was left out, by reason: `archive: escaping path`, `archive: link or device`, `archive: too large`.

    Raises:
        SeercError: the archive is damaged, of an unknown kind, or larger than 6 GiB or 500,000 members.
    """
    into.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=into.parent, prefix=f".{into.name}."))
    try:
        reasons = _write_all(_members(archive), folder, archive)
        os.rename(folder, into)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, ValueError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise SeercError(f"{archive} cannot be extracted: {error}") from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return dict(sorted(reasons.items()))


def top(folder: Path) -> Path:
    """The folder itself, or the one folder in which an archive keeps everything."""
    entries = [path for path in folder.iterdir() if path.name != "debian"]
    return entries[0] if len(entries) == 1 and entries[0].is_dir() else folder


def _write_all(members: Iterator[_Member], folder: Path, archive: Path) -> Counter[str]:
    reasons, total = Counter[str](), 0
    for count, member in enumerate(members):
        total += member.size
        if total > _MAX_TOTAL or count > _MAX_MEMBERS:
            raise SeercError(f"{archive} holds more than {_MAX_TOTAL >> 30} GiB or {_MAX_MEMBERS} members: left alone")
        if reason := _refused(member):
            reasons[reason] += 1
        else:
            _write(member, folder)
    return reasons


def _refused(member: _Member) -> str:
    path = PurePosixPath(member.path)
    if path.is_absolute() or ".." in path.parts or "\\" in member.path or "\0" in member.path or not path.parts:
        return "archive: escaping path"
    if not member.plain:
        return "archive: link or device"
    return "archive: too large" if member.size > _MAX_FILE else ""


def _write(member: _Member, folder: Path) -> None:
    source = member.open()
    if source is None:
        return
    target = folder / member.path
    target.parent.mkdir(parents=True, exist_ok=True)
    with source, target.open("wb") as file:
        shutil.copyfileobj(source, file)


def _members(archive: Path) -> Iterator[_Member]:
    if zipfile.is_zipfile(archive):
        return _zip_members(archive)
    if archive.name.endswith(_SUFFIXES):
        return _tar_members(archive)
    raise SeercError(f"{archive} is no archive that seerc reads: {', '.join(_SUFFIXES)}")


def _zip_members(archive: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            if not info.is_dir():
                link = (info.external_attr >> 16) & 0o170000 == 0o120000
                yield _Member(info.filename, info.file_size, not link, lambda info=info: file.open(info))


def _tar_members(archive: Path) -> Iterator[_Member]:
    with tarfile.open(archive) as file:
        for info in file:
            if not info.isdir():
                yield _Member(info.name, info.size, info.isreg(), lambda info=info: file.extractfile(info))
            file.members = []  # pyright: ignore[reportAttributeAccessIssue] - a tar file remembers every member that it has read
