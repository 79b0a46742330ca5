"""Users' own data: MLIR texts with numeric columns, from Parquet, JSON lines, or a folder of .mlir files with a CSV.

Any dialect that `costmodel.syntax` reads is welcome. Rows that cannot be used are left out, counted and named.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from costmodel.errors import SeercError, unknown_name
from costmodel.schedules import Array
from costmodel.syntax import MAX_CHARACTERS
from costmodel.text import canonical_functions, hash_text

MAX_ROWS = 1_000_000
MAX_FILE_BYTES = 2_000_000_000
TEXT_COLUMNS = ("text", "mlir", "ir", "module", "workload")
"""Where the text is looked for if no column is named."""
CORPUS_COLUMNS = frozenset({"source", "ir", "language", "source_sha256"})
"""What a shard of the IR corpus has: its `source` is the text, its `ir` is LLVM's."""
_SHOWN = 5
"""Unusable rows that are named; the others are counted."""


class Row(NamedTuple):
    """One row as it was read: its name for messages, the text (None: missing), which function of it (None: all)."""

    name: str
    text: Any
    cells: Mapping[str, Any]
    function: str | None = None


@dataclass(frozen=True)
class TextTable:
    """n usable rows."""

    texts: tuple[str, ...]
    """Canonical: of one function, or of all functions of a module."""
    targets: dict[str, Array]
    """Columns to learn, shape (n,) each; NaN where a row has none."""
    groups: tuple[str, ...]
    """Rows of one group are never on both sides of a split; by default the hash of the text."""
    unusable: tuple[str, ...] = ()
    """`row 17: why` of every row left out."""

    def __len__(self) -> int:
        return len(self.texts)

    def unusable_lines(self) -> list[str]:
        """For a reader: how many rows were left out, and the first few of them."""
        if not self.unusable:
            return []
        total = len(self.texts) + len(self.unusable)
        return [f"{len(self.unusable)} of {total} rows are left out: {first_few(self.unusable)}"]


def first_few(rows: Sequence[str]) -> str:
    """For a reader: the first of the rows that cannot be used, and how many more there are."""
    more = len(rows) - _SHOWN
    return "; ".join([*rows[:_SHOWN], *([f"and {more} more"] if more > 0 else [])])


def read_texts(
    path: Path | str, targets: Sequence[str], text: str | None = None, group: str | None = None
) -> TextTable:
    """The texts and targets of a Parquet file, a .jsonl file, or a folder of .mlir files with one .csv.

    Args:
        path: the file or folder. The CSV has the columns file, targets and optionally function.
        targets: numeric columns.
        text: the column of the MLIR text; None looks for one of TEXT_COLUMNS. Not used for a folder.
        group: a column whose values keep rows together in splits; None takes the canonical text.

    Raises:
        SeercError: the file or a column is missing, too large or unreadable, or no row is usable.
    """
    path = Path(path)
    if not targets:
        raise SeercError(f"{path}: name at least one numeric column to learn with --target")
    wanted = [*targets, *([group] if group else [])]
    rows = _folder(path, wanted) if path.is_dir() else file_rows(path, wanted, text)
    texts: list[str] = []
    values: dict[str, list[float]] = {t: [] for t in targets}
    groups: list[str] = []
    unusable: list[str] = []
    for row in rows:
        try:
            numbers = [_number(row.cells.get(t), t) for t in targets]
            if all(map(math.isnan, numbers)):
                raise SeercError(f"no value in {' or '.join(targets)}")
            made = _canonical(row.text, row.function)
        except SeercError as error:
            unusable.append(f"{row.name}: {error}")
            continue
        texts.append(made)
        groups.append(hash_text(made) if group is None else str(row.cells.get(group)))
        for target, number in zip(targets, numbers, strict=True):
            values[target].append(number)
    table = TextTable(tuple(texts), {t: np.array(v) for t, v in values.items()}, tuple(groups), tuple(unusable))
    if not texts:
        raise SeercError(f"{path}: no usable row. {' '.join(table.unusable_lines())}")
    return table


def canonical_text(text: object) -> str:
    """Canonical text of every function with a body in `text`, in order; SeercError if there is none."""
    return "".join(canonical for _, canonical in row_functions(text))


def row_functions(text: object) -> list[tuple[str, str]]:
    """(name, canonical text) of every function with a body in a row's text; SeercError if it is none, or has none."""
    if not isinstance(text, str):
        raise SeercError("no MLIR text, or no .mlir file of at most 16 MB inside of the folder")
    found = canonical_functions(text)
    if not found:
        raise SeercError("no func.func with a body")
    return found


def _canonical(text: object, function: str | None) -> str:
    if not function:
        return canonical_text(text)
    found = dict(row_functions(text))
    if function not in found:
        raise unknown_name("function", function, found)
    return found[function]


def _number(value: object, column: str) -> float:
    """A finite number, NaN for an empty cell."""
    if value is None or value == "":
        return math.nan
    try:
        number = float(value) if isinstance(value, int | float | str) else math.inf
    except ValueError:
        number = math.inf
    if math.isinf(number):
        raise SeercError(f"{column} is {str(value)[:40]!r}, not a finite number")
    return number


def file_rows(path: Path, wanted: list[str], text: str | None) -> Iterator[Row]:
    """The rows of a Parquet or .jsonl file as they are read; arguments and errors as `read_texts`."""
    if not path.is_file():
        raise SeercError(f"{path}: not found; give a .parquet or .jsonl file, or a folder of .mlir files with a .csv")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise SeercError(f"{path}: larger than {MAX_FILE_BYTES} bytes; split it")
    if path.suffix == ".parquet":
        return _parquet(path, wanted, text)
    if path.suffix in (".jsonl", ".ndjson"):
        return _json_lines(path, wanted, text)
    raise SeercError(f"{path}: expected .parquet or .jsonl, or a folder of .mlir files with a .csv")


def _parquet(path: Path, wanted: list[str], text: str | None) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        column = _check_columns(path, file.schema_arrow.names, wanted, text)
        if file.metadata.num_rows > MAX_ROWS:
            raise SeercError(f"{path}: {file.metadata.num_rows} rows exceed the limit of {MAX_ROWS}")
        columns = sorted({column, *wanted})
        number = 0
        for batch in file.iter_batches(1024, columns=columns):
            for row in batch.to_pylist():
                number += 1
                yield Row(f"row {number}", row[column], row)
    except (pa.ArrowException, OSError) as error:
        raise SeercError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0][:120]})") from error


def _json_lines(path: Path, wanted: list[str], text: str | None) -> Iterator[Row]:
    column = ""
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(2 * MAX_CHARACTERS), b""), 1):
            if number > MAX_ROWS:
                raise SeercError(f"{path}: more than {MAX_ROWS} rows")
            name = f"line {number}"
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict):
                yield Row(name, None, dict.fromkeys(wanted, "not a JSON object"))
                continue
            cells = cast(dict[str, Any], row)
            column = column or _check_columns(path, cells, wanted, text)
            yield Row(name, cells.get(column), cells)


def _folder(path: Path, wanted: list[str]) -> Iterator[Row]:
    tables = sorted(path.glob("*.csv"))
    if len(tables) != 1:
        raise SeercError(f"{path}: expected one .csv file beside the .mlir files, found {len(tables)}")
    if tables[0].stat().st_size > MAX_FILE_BYTES:
        raise SeercError(f"{tables[0]}: larger than {MAX_FILE_BYTES} bytes; split it")
    with tables[0].open(encoding="utf-8", newline="") as file:
        try:
            reader = csv.DictReader(file)
            _check_columns(tables[0], reader.fieldnames or [], wanted, "file")
            for number, row in enumerate(reader, 2):
                if number > MAX_ROWS:
                    raise SeercError(f"{tables[0]}: more than {MAX_ROWS} rows")
                yield Row(f"line {number}", text_of(path, row.get("file")), row, row.get("function"))
        except (csv.Error, UnicodeDecodeError) as error:
            raise SeercError(f"{tables[0]}: not a readable CSV file ({error})") from error


def text_of(folder: Path, name: object) -> str | None:
    """The text of a file, which must lie inside of the folder (a link out of it does not); None if there is none."""
    inside = folder.resolve()
    try:
        place = (inside / str(name)).resolve()
        if not place.is_relative_to(inside) or place.suffix != ".mlir" or not place.is_file():
            return None
        return place.read_text(encoding="utf-8", errors="replace") if place.stat().st_size <= MAX_CHARACTERS else None
    except (OSError, ValueError):  # a name that no file can have: too long, or with a zero byte
        return None


def _check_columns(path: Path, names: Iterable[str], wanted: list[str], text: str | None) -> str:
    """The text's column; SeercError if it or a wanted one is missing."""
    known = list(names)
    for column in wanted:
        if column not in known:
            raise SeercError(f"{path}: {unknown_name('column', column, known)}")
    usual = ("source",) if CORPUS_COLUMNS <= set(known) else TEXT_COLUMNS
    found = [text] if text else [c for c in usual if c in known]
    if not found or found[0] not in known:
        raise SeercError(f"{path}: no column {found[0] if found else 'of MLIR text'}; name it with --text: {known}")
    return found[0]
