"""Compiled kernels and other bytes on disk, by content hash: checked when read, bounded in size, never in the way."""

from __future__ import annotations

import hashlib
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

from costmodel.files import write_atomically

_DIGEST = 32


def cache_folder() -> Path:
    """$SEERC_CACHE, else seerc under $XDG_CACHE_HOME, else ~/.cache/seerc."""
    if chosen := os.environ.get("SEERC_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "seerc"


def cache_key(*parts: str | bytes) -> str:
    """A key for content: SHA-256 over the parts and their lengths. Put versions and target among them."""
    digest = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        digest.update(len(raw).to_bytes(8, "little") + raw)
    return digest.hexdigest()


@dataclass
class Cache:
    """Bytes by key in `folder`, one file an entry with its SHA-256 before the content.

    A damaged entry is a miss and is removed. The least recently used entries go when the sum passes `limit_bytes`. If
    the folder cannot be written (permissions, full disk) it warns once and remembers nothing.
    """

    folder: Path
    limit_bytes: int = 4 << 30
    _unusable: bool = False
    _room: int = 0
    """Bytes that may be written before the folder must be measured again."""

    @staticmethod
    def default() -> Cache:
        return Cache(cache_folder())

    def get(self, key: str) -> bytes | None:
        """The bytes put under `key`, None if there are none or they are damaged."""
        path = self._path(key)
        try:
            raw = path.read_bytes()
        except OSError:
            return None
        content = raw[_DIGEST:]
        if hashlib.sha256(content).digest() != raw[:_DIGEST]:
            path.unlink(missing_ok=True)
            return None
        self._touch(path)
        return content

    def put(self, key: str, content: bytes) -> None:
        """Remember `content`; a reader sees all of it or nothing."""
        if self._unusable:
            return
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, hashlib.sha256(content).digest() + content)
            self._room -= len(content) + _DIGEST
            if self._room < 0:
                self._trim()
        except OSError as error:
            self._unusable = True
            warnings.warn(
                f"the cache {self.folder} cannot be written ({error.strerror}): going on without", stacklevel=2
            )

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / key

    def _touch(self, path: Path) -> None:
        """Mark as used now; a read-only cache stays usable, only its order of use is not kept."""
        if os.access(path, os.W_OK):
            os.utime(path)

    def _trim(self) -> None:
        """Remove the least recently used entries beyond the limit; measure the room left."""
        entries = sorted(_entries(self.folder))
        total = sum(size for _, size, _ in entries)
        if total > self.limit_bytes:
            for _, size, path in entries:
                if total <= self.limit_bytes * 3 // 4:
                    break
                path.unlink(missing_ok=True)
                total -= size
        # Other processes write too: measure again after an eighth of the room.
        self._room = max(0, self.limit_bytes - total) // 8


def _entries(folder: Path) -> list[tuple[float, int, Path]]:
    """(time of last use, bytes, path) of every entry; those that another process removes meanwhile are left out."""
    found: list[tuple[float, int, Path]] = []
    for path in folder.glob("??/*"):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        found.append((status.st_mtime, status.st_size, path))
    return found
