"""The corpus on disk: zstd Parquet shards by kind, language and split, and manifest.json, which names and hashes them.

    DIR/manifest.json  DIR/README.md (the card)  DIR/data/{file,function}/LANGUAGE/SPLIT-00000.parquet

Shards open with `datasets`, DuckDB and pandas; writing and reading take constant memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from costmodel.errors import SeercError
from ir_corpus.pairs import FIELDS, Pair
from ir_corpus.sources.archives import sha256

MANIFEST = "manifest.json"
_BATCH_BYTES = 4 << 20
_SHARD_BYTES = 256 << 20  # of text, before compression
_INTEGERS = frozenset({"first_line", "last_line", "tokens"})


def schema() -> Any:
    """The Arrow schema: one column a field of `Pair`."""
    import pyarrow as pa

    kinds = {"bitcode": pa.binary(), "source": pa.large_string(), "ir": pa.large_string()}
    return pa.schema([(name, kinds.get(name, pa.int32() if name in _INTEGERS else pa.string())) for name in FIELDS])


def shard_folder(pair: Pair) -> str:
    """Where rows of this kind and language lie, relative to the corpus."""
    return f"data/{pair.kind}/{pair.language.replace('+', 'p')}"


class ShardWriter:
    """Writes pairs into shards below a folder, in the order in which they come."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, _Shard] = {}
        self._counts: dict[str, int] = {}
        self._done: list[dict[str, Any]] = []

    def add(self, pair: Pair) -> None:
        """Append a row to the shard of its kind, language and split."""
        series = f"{shard_folder(pair)}/{pair.split}"
        shard = self._open.get(series)
        if shard is None:
            number = self._counts[series] = self._counts.get(series, -1) + 1
            shard = self._open[series] = _Shard(self._folder, f"{series}-{number:05d}.parquet")
        if shard.add(pair):
            self._done.append(shard.close())
            del self._open[series]

    def close(self) -> list[dict[str, Any]]:
        """Finish all shards; for each its path, rows, bytes and sha256, in the order of paths."""
        self._done += [shard.close() for shard in self._open.values()]
        self._open = {}
        return sorted(self._done, key=lambda shard: shard["path"])


class _Shard:
    def __init__(self, folder: Path, path: str) -> None:
        import pyarrow.parquet as pq

        self._path, self._file = path, folder / path
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._writer = pq.ParquetWriter(self._file, schema(), compression="zstd", compression_level=9)
        self._rows: list[dict[str, Any]] = []
        self._pending, self._total, self._count = 0, 0, 0

    def add(self, pair: Pair) -> bool:
        """Whether the shard is full."""
        self._rows.append(asdict(pair))
        size = len(pair.source) + len(pair.ir) + len(pair.bitcode)
        self._pending += size
        self._total += size
        self._count += 1
        if self._pending >= _BATCH_BYTES:
            self._flush()
        return self._total >= _SHARD_BYTES

    def _flush(self) -> None:
        import pyarrow as pa

        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema()))
        self._rows, self._pending = [], 0

    def close(self) -> dict[str, Any]:
        self._flush()
        self._writer.close()
        size = self._file.stat().st_size
        return {"path": self._path, "rows": self._count, "bytes": size, "sha256": sha256(self._file)}


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a corpus; SeercError if the folder holds none that can be read."""
    path = folder / MANIFEST
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(data, dict) or not isinstance(data["shards"], list):
            raise ValueError("no list of shards")
        return data
    except FileNotFoundError as error:
        raise SeercError(
            f"{folder} is no corpus: it has no {MANIFEST}; `seerc corpus build SOURCE -o {folder}`"
        ) from error
    except (ValueError, KeyError, UnicodeDecodeError) as error:
        raise SeercError(f"{path} cannot be read ({error}): build the corpus again into the same folder") from error


def read_pairs(
    folder: Path | str, kind: str | None = None, language: str | None = None, split: str | None = None
) -> Iterator[Pair]:
    """The rows of a corpus in the order of its shards, as they are read; each argument narrows what is given.

    Raises:
        SeercError: no corpus, or a shard that is missing or damaged; it names the shard.
    """
    folder = Path(folder)
    for shard in read_manifest(folder)["shards"]:
        _, of_kind, of_language, name = shard["path"].split("/")
        if kind not in (None, of_kind) or (split is not None and not name.startswith(f"{split}-")):
            continue
        if language is None or of_language == language.replace("+", "p"):
            yield from read_shard(folder / shard["path"])


def read_shard(path: Path) -> Iterator[Pair]:
    """The rows of one shard; SeercError if it is missing, truncated or of another schema."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=64):
                yield from (Pair(**row) for row in batch.to_pylist())
    except (pa.ArrowException, OSError, TypeError) as error:
        raise SeercError(
            f"shard {path} cannot be read ({error}): build the corpus again into the same folder"
        ) from error
