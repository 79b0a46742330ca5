"""Records: candidate + target + metrics + provenance, in Parquet shards with a versioned schema.

A dataset is a folder of `shard-NNNNN.parquet` files. Each is written whole or not at all, so a killed run loses only
its unwritten buffer and the next run goes on after it.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from costmodel.errors import SeercError
from costmodel.protocol import METRICS
from costmodel.schedules import canonical_schedule
from costmodel.target import Target
from costmodel.text import canonical, hash_text, join_candidate, split_candidate

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = 1
_SCHEMA_KEY = b"seerc.schema"
Key = tuple[str, str, str]


@dataclass(frozen=True)
class Record:
    """One measured (or failed) candidate. Metrics are as in `costmodel.protocol.METRICS`; None was not obtained."""

    workload: str
    """Canonical workload text, without schedule."""
    schedule: str
    """The schedule attribute, canonical."""
    workload_hash: str
    target: str
    """`Target.to_json()`."""
    target_hash: str
    networks: tuple[str, ...] = ()
    """Models that the workload occurs in."""
    occurrences: tuple[int, ...] = ()
    """How often, in each of them."""
    heuristic: bool = False
    """Whether this is the schedule that the fixed heuristic picks for the workload."""
    latency_ns: float | None = None
    latency_spread: float | None = None
    """(90th - 10th percentile) / median of the repeats."""
    calibration_ns: float | None = None
    """Time of a fixed kernel in the same minute."""
    registers: float | None = None
    spills: float | None = None
    vector_utilisation: float | None = None
    utilisation: float | None = None
    instructions: float | None = None
    code_bytes: float | None = None
    peak_bytes: float | None = None
    error: str | None = None
    """Why the candidate failed; None if it did not."""
    versions: str = "{}"
    """JSON object of package versions."""
    date: str = ""
    """ISO 8601, UTC."""
    seed: int = 0

    @property
    def key(self) -> Key:
        """What a dataset holds once: workload, schedule, target."""
        return self.workload_hash, self.schedule, self.target_hash

    @property
    def candidate(self) -> str:
        """The text that a cost model reads."""
        return join_candidate(self.workload, self.schedule)


def make_record(
    candidate: str,
    target: Target,
    metrics: Mapping[str, float | None],
    *,
    networks: Mapping[str, int] | None = None,
    heuristic: bool = False,
    latency_spread: float | None = None,
    calibration_ns: float | None = None,
    error: str | None = None,
    versions: Mapping[str, str] | None = None,
    date: str = "",
    seed: int = 0,
) -> Record:
    """A record of a candidate text; the workload is made canonical.

    Raises:
        SeercError: the text cannot be read, or a metric's name is unknown.
    """
    unknown = metrics.keys() - METRICS.keys()
    if unknown:
        raise SeercError(f"unknown metrics {sorted(unknown)}; known: {', '.join(METRICS)}")
    raw, schedule = split_candidate(candidate)
    workload = canonical(raw)
    found = dict(networks or {})
    return Record(
        workload, canonical_schedule(schedule), hash_text(workload), target.to_json(), target.hash,
        tuple(found), tuple(found.values()), heuristic,
        latency_spread=latency_spread, calibration_ns=calibration_ns, error=error,
        versions=json.dumps(dict(versions or {}), sort_keys=True), date=date, seed=seed, **metrics,
    )  # fmt: skip


def schema() -> pa.Schema:
    """The Parquet schema; its version stands in the metadata."""
    import pyarrow as pa

    kinds = {
        "str": pa.string(),
        "str | None": pa.string(),
        "float | None": pa.float64(),
        "bool": pa.bool_(),
        "int": pa.int64(),
        "tuple[str, ...]": pa.list_(pa.string()),
        "tuple[int, ...]": pa.list_(pa.int32()),
    }
    columns = [pa.field(f.name, kinds[str(f.type)]) for f in fields(Record)]
    return pa.schema(columns, metadata={_SCHEMA_KEY: str(SCHEMA_VERSION).encode()})


@dataclass
class RecordWriter:
    """Appends records to a dataset folder; use as a context manager. Records that the folder holds are skipped."""

    folder: Path
    shard_rows: int = 256
    buffer: list[Record] = field(default_factory=list[Record])

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in shards(self.folder):
            try:
                read_table(path, ["seed"])
            except SeercError as error:
                if "schema version" in str(error):
                    raise
                os.replace(path, path.with_suffix(".corrupt"))
                warnings.warn(f"{error}; moved aside as {path.with_suffix('.corrupt').name}", stacklevel=3)

    @cached_property
    def done(self) -> set[Key]:
        """Keys of all records written or added so far."""
        if not shards(self.folder):
            return set()
        table = read_table(self.folder, ["workload_hash", "schedule", "target_hash"])
        return set(zip(*(table.column(c).to_pylist() for c in table.column_names), strict=True))

    def add(self, record: Record) -> bool:
        """Take a record unless its key is there already; writes a shard when the buffer is full."""
        if record.key in self.done:
            return False
        self.done.add(record.key)
        self.buffer.append(record)
        if len(self.buffer) >= self.shard_rows:
            self.flush()
        return True

    def flush(self) -> None:
        """Write the buffer as one shard, atomically."""
        if self.buffer:
            write_table(to_table(self.buffer), self.folder / _next_shard(self.folder))
            self.buffer.clear()

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()


def to_table(records: Iterable[Record]) -> pa.Table:
    """Records as a table of `schema()`."""
    import pyarrow as pa

    return pa.Table.from_pylist([asdict(r) for r in records], schema=schema())


def from_table(table: pa.Table) -> Iterator[Record]:
    """The records of a table."""
    for row in table.to_pylist():
        lists: dict[str, Any] = {k: tuple(row.pop(k) or ()) for k in ("networks", "occurrences")}
        yield Record(**row, **lists)


def write_table(table: pa.Table, path: Path) -> None:
    """Write one Parquet file (zstd) atomically."""
    import pyarrow.parquet as pq

    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            pq.write_table(table, file, compression="zstd", compression_level=9)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_table(source: Path | str, columns: Sequence[str] | None = None) -> pa.Table:
    """All records of a Parquet file or of a folder's shards, in order.

    Raises:
        SeercError: nothing there, a truncated or foreign file (named), or another schema version.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(source)
    paths = shards(path) if path.is_dir() else [path]
    if not paths or not path.exists():
        raise SeercError(
            f"{path}: no records (a folder of shard-*.parquet or a .parquet file); `seerc cost collect` makes them"
        )
    tables: list[pa.Table] = []
    for each in paths:
        try:
            file = pq.ParquetFile(each)
            _check_schema(each, file.schema_arrow)
            tables.append(file.read(list(columns) if columns else schema().names))
        except (pa.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0][:120]
            raise SeercError(
                f"{each}: not a readable Parquet file ({reason}); truncated? Delete it and collect again"
            ) from error
    return pa.concat_tables(tables)


def merge(sources: Sequence[Path | str], out: Path | str) -> int:
    """Join datasets into one Parquet file; of equal keys a success is kept before a failure, then the first.

    Returns:
        The number of records written.

    Raises:
        SeercError: a source cannot be read or has another schema version.
    """
    best: dict[Key, Record] = {}
    for source in sources:
        for record in from_table(read_table(source)):
            held = best.get(record.key)
            if held is None or (held.error is not None and record.error is None):
                best[record.key] = record
    write_table(to_table(best.values()), Path(out))
    return len(best)


def shards(folder: Path) -> list[Path]:
    """The shard files of a dataset folder, in order."""
    return sorted(folder.glob("*.parquet"))


def _next_shard(folder: Path) -> str:
    numbers = [int(p.stem.removeprefix("shard-")) for p in folder.glob("shard-*.*") if p.stem[6:].isdigit()]
    return f"shard-{max(numbers, default=-1) + 1:05d}.parquet"


def _check_schema(path: Path, found: pa.Schema) -> None:
    version = (found.metadata or {}).get(_SCHEMA_KEY)
    if version is None:
        raise SeercError(f"{path}: has no seerc schema version; it is not a cost dataset")
    if version != str(SCHEMA_VERSION).encode():
        raise SeercError(
            f"{path}: schema version {version.decode(errors='replace')}, "
            f"this seerc reads {SCHEMA_VERSION}; collect it again"
        )
