"""Users' own data: three formats give the same table, bad rows are counted and named, no path leads out."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import costmodel
from costmodel.errors import SeercError
from costmodel.tables import TextTable, read_texts
from costmodel.text import canonical, hash_text


def loop(n: int, op: str = "addf", name: str = "f") -> str:
    return f"""func.func @{name}(%m: memref<{n}xf32>) {{
  affine.for %i = 0 to {n} {{
    %v = affine.load %m[%i] : memref<{n}xf32>
    %w = arith.{op} %v, %v : f32
    affine.store %w, %m[%i] : memref<{n}xf32>
  }}
  return
}}
"""


ROWS: list[dict[str, Any]] = [
    {"mlir": loop(8), "cycles": 10.5, "size": 3, "kind": "a"},
    {"mlir": loop(16), "cycles": None, "size": 4, "kind": "a"},
    {"mlir": loop(32, "mulf"), "cycles": 7, "size": 5, "kind": "b"},
]


def as_parquet(folder: Path, rows: list[dict[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), folder / "data.parquet")
    return folder / "data.parquet"


def as_json_lines(folder: Path, rows: list[dict[str, Any]]) -> Path:
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "data.jsonl"


def as_folder(folder: Path, rows: list[dict[str, Any]]) -> Path:
    (folder / "deep").mkdir()
    with (folder / "index.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["file", "cycles", "size", "kind"])
        writer.writeheader()
        for i, row in enumerate(rows):
            (folder / "deep" / f"{i}.mlir").write_text(row["mlir"])
            writer.writerow({"file": f"deep/{i}.mlir"} | {k: v for k, v in row.items() if k != "mlir"})
    return folder


@pytest.mark.parametrize("write", [as_parquet, as_json_lines, as_folder])
def test_formats_give_the_same_table(write: Any, tmp_path: Path) -> None:
    table = read_texts(write(tmp_path, ROWS), ["cycles", "size"], group="kind")
    assert table.texts == tuple(canonical(row["mlir"]) for row in ROWS)
    assert table.targets["size"].tolist() == [3, 4, 5]
    assert [math.isnan(v) for v in table.targets["cycles"]] == [False, True, False]
    assert table.groups == ("a", "a", "b")
    assert table.unusable == ()
    assert read_texts(write_again(tmp_path, write), ["size"]).groups[0] == hash_text(canonical(loop(8)))


def write_again(folder: Path, write: Any) -> Path:
    again = folder / "again"
    again.mkdir()
    return write(again, ROWS)


def test_bad_rows_are_counted_and_named(tmp_path: Path) -> None:
    lines = [
        json.dumps(ROWS[0]),
        "{not json",
        json.dumps([1]),
        json.dumps({"mlir": "func.func @f() {", "size": 1}),
        json.dumps({"mlir": loop(8), "size": "many"}),
        json.dumps({"mlir": loop(8), "size": 1e999}),
        json.dumps({"size": 1}),
        json.dumps({"mlir": loop(8)}),
        json.dumps({"mlir": "func.func private @f()", "size": 1}),
        json.dumps({"mlir": 5, "size": 1}),
    ]
    (tmp_path / "x.jsonl").write_text("\n".join(lines) + "\n")
    table = read_texts(tmp_path / "x.jsonl", ["size"], text="mlir")
    assert len(table) == 1
    assert [row.partition(":")[0] for row in table.unusable] == [f"line {n}" for n in range(2, 11)]
    assert "truncated" in table.unusable[2]
    assert "'many', not a finite number" in table.unusable[3]
    (line,) = table.unusable_lines()
    assert line.startswith("9 of 10 rows are left out: line 2: ")
    assert line.endswith("and 4 more")


def test_no_path_leads_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "secret.mlir").write_text(loop(8))
    inner = tmp_path / "data"
    inner.mkdir()
    (inner / "good.mlir").write_text(loop(8, name="f") + loop(16, name="g"))
    (inner / "link.mlir").symlink_to(tmp_path / "secret.mlir")
    names = ["good.mlir", "../secret.mlir", str(tmp_path / "secret.mlir"), "link.mlir", "index.csv", "none.mlir", ""]
    (inner / "index.csv").write_text("file,function,size\n" + "".join(f"{n},,1\n" for n in names) + "good.mlir,g,2\n")
    table = read_texts(inner, ["size"])
    assert table.texts == (canonical(loop(8)) + canonical(loop(16)), canonical(loop(16)))
    assert len(table.unusable) == len(names) - 1


@pytest.mark.parametrize(
    ("targets", "text", "reason"),
    [
        ([], None, "--target"),
        (["sise"], None, "unknown column 'sise': did you mean size"),
        (["size"], "ml", "no column ml; name it with --text"),
        (["kind"], None, "no usable row"),
    ],
)
def test_what_is_asked_for_must_be_there(targets: list[str], text: str | None, reason: str, tmp_path: Path) -> None:
    for path in (as_parquet(tmp_path, ROWS), as_json_lines(tmp_path, ROWS)):
        with pytest.raises(SeercError, match=reason):
            read_texts(path, targets, text)


def test_unreadable_files_give_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1 no")
    (tmp_path / "x.pickle").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    for name, reason in {
        "x.parquet": "not a readable Parquet file",
        "x.pickle": "expected .parquet or .jsonl",
        "nothing": "not found",
        "empty": "expected one .csv file",
    }.items():
        with pytest.raises(SeercError, match=reason):
            read_texts(tmp_path / name, ["size"])


@pytest.mark.parametrize("name", ["zero\0byte.mlir", "x" * 5000 + ".mlir", "../out.mlir", ""])
def test_names_that_no_file_can_have_are_unusable_rows(tmp_path: Path, name: str) -> None:
    (tmp_path / "good.mlir").write_text(loop(8))
    (tmp_path / "x.csv").write_text(f"file,size\ngood.mlir,1\n{name},2\n")
    table = read_texts(tmp_path, ["size"])
    assert (len(table), len(table.unusable)) == (1, 1)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_give_rows_or_a_clear_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "x.jsonl").write_bytes(json.dumps(ROWS[0]).encode() + b"\n" + content)
    table: TextTable = read_texts(folder / "x.jsonl", ["size"])
    assert len(table) + len(table.unusable) >= 1
    (folder / "x.jsonl").unlink()
    (folder / "good.mlir").write_text(loop(8))
    (folder / "x.csv").write_bytes(b"file,size\ngood.mlir,1\n" + content)
    try:
        assert len(read_texts(folder, ["size"])) >= 1
    except SeercError as error:
        assert "x.csv" in str(error)  # noqa: PT017


def test_the_shipped_table_is_whole() -> None:
    path = Path(costmodel.__file__).parent / "data" / "affine.parquet"
    table = read_texts(path, ["code_bytes", "instructions"], group="file")
    rows = pq.read_table(path).to_pylist()
    assert table.unusable == ()
    assert list(table.texts) == [row["text"] for row in rows]
    assert len(set(table.texts)) == len(rows)
    assert len(set(table.groups)) > 20
    assert {row["licence"] for row in rows} == {"Apache-2.0 WITH LLVM-exception"}
    assert table.targets["code_bytes"].min() >= 16
