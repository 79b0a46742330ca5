"""What has been compiled so far: one SQLite file, one row a source file, written at once; a killed build goes on."""

from __future__ import annotations

import json
import sqlite3
from functools import cache
from pathlib import Path
from typing import Any

from costmodel.errors import SeercError


class Journal:
    """Key -> the result of a file (a JSON object, compressed); only the main process of a build writes."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._base = sqlite3.connect(path)
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.execute("PRAGMA synchronous=NORMAL")
            self._base.execute("CREATE TABLE IF NOT EXISTS results (key TEXT PRIMARY KEY, result BLOB) WITHOUT ROWID")
        except sqlite3.DatabaseError as error:
            raise SeercError(
                f"{path} is no journal of a corpus ({error}): remove it, and the build starts anew"
            ) from error

    def __contains__(self, key: str) -> bool:
        return self._base.execute("SELECT 1 FROM results WHERE key = ?", (key,)).fetchone() is not None

    def add(self, key: str, result: bytes) -> None:
        """Keep a packed result; it is on disk when this returns."""
        with self._base:
            self._base.execute("INSERT OR REPLACE INTO results VALUES (?, ?)", (key, result))

    def get(self, key: str) -> dict[str, Any] | None:
        """The result under a key, unpacked."""
        found = self._base.execute("SELECT result FROM results WHERE key = ?", (key,)).fetchone()
        return None if found is None else unpacked(found[0])

    def close(self) -> None:
        """Write everything into the one file."""
        self._base.close()


def packed(result: dict[str, Any]) -> bytes:
    """A result as compressed JSON."""
    return _compressor().compress(json.dumps(result).encode())


@cache
def _compressor() -> Any:
    """One for all results of a process: a new one costs more than most results."""
    import zstandard

    return zstandard.ZstdCompressor(level=3)


def unpacked(data: bytes) -> dict[str, Any]:
    """The result that `packed` packed."""
    import zstandard

    return json.loads(zstandard.decompress(data))
