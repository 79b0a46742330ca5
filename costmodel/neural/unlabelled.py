"""Texts without numbers: each function of Parquet and .jsonl files and of folders of .mlir files, once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from costmodel.errors import SeercError
from costmodel.record import read_table
from costmodel.tables import MAX_ROWS, Row, file_rows, first_few, row_functions, text_of
from costmodel.text import canonical, hash_text, split_candidate


@dataclass(frozen=True)
class Unlabelled:
    """Functions as workload texts: canonical, without schedule, all different."""

    texts: tuple[str, ...]
    repeated: int = 0
    """Functions that were there before."""
    excluded: int = 0
    """Different functions that are workloads of the excluded records."""
    unreadable: tuple[str, ...] = ()
    """`file, row 17: why` of every row that gave no text."""

    def lines(self) -> list[str]:
        """For a reader: what was found and what was left out."""
        found = f"{len(self.texts)} different functions; {self.repeated} repeated ones are left out"
        found += f", and {self.excluded} that are workloads of the excluded records"
        if not self.unreadable:
            return [found]
        return [found, f"{len(self.unreadable)} rows are not readable: {first_few(self.unreadable)}"]


def read_unlabelled(paths: Sequence[Path], text: str | None = None, exclude: Path | None = None) -> Unlabelled:
    """The functions of files and folders.

    Args:
        paths: see the module.
        text: the column of the MLIR text; None takes a corpus shard's source, or one of `tables.TEXT_COLUMNS`.
        exclude: records whose workloads are left out.

    Raises:
        SeercError: a file or column is missing or unreadable, or no function is left.
    """
    out = set(read_table(exclude, ["workload_hash"]).column("workload_hash").to_pylist()) if exclude else set[str]()
    kept, excluded, total = dict[str, str](), set[str](), 0
    unreadable: list[str] = []
    for path in paths:
        for row in _rows(path, text):
            try:
                found = [_workload(function) for _, function in row_functions(row.text)]
            except SeercError as error:
                unreadable.append(f"{path.name}, {row.name}: {error}")
                continue
            hashes = [hash_text(workload) for workload in found]
            total += len(found)
            excluded.update(h for h in hashes if h in out)
            kept.update((h, w) for h, w in zip(hashes, found, strict=True) if h not in out)
    left = total - len(kept) - len(excluded)
    made = Unlabelled(tuple(kept.values()), left, len(excluded), tuple(unreadable))
    if not kept:
        raise SeercError(f"{', '.join(map(str, paths))}: no text is left. {' '.join(made.lines())}")
    return made


def _rows(path: Path, text: str | None) -> Iterator[Row]:
    return _folder(path) if path.is_dir() else file_rows(path, [], text)


def _folder(path: Path) -> Iterator[Row]:
    """Every .mlir file below a folder."""
    places = sorted(path.rglob("*.mlir"))
    if not places or len(places) > MAX_ROWS:
        raise SeercError(f"{path}: {len(places)} .mlir files below it; expected 1 to {MAX_ROWS}")
    for place in places:
        name = str(place.relative_to(path))
        yield Row(name, text_of(path, name), {})


def _workload(function: str) -> str:
    """A canonical function without its schedule."""
    raw, schedule = split_candidate(function)
    return function if schedule is None else canonical(raw)
