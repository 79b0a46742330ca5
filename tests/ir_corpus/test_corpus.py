"""A corpus from a folder of C: built, built again, killed and resumed, audited, and audited with faults planted."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from costmodel.errors import SeercError
from ir_corpus import frontends, llvm, worker
from ir_corpus.audit import audit
from ir_corpus.build import Options, build
from ir_corpus.journal import packed, unpacked
from ir_corpus.pairs import digest
from ir_corpus.store import ShardWriter, read_manifest, read_pairs, read_shard
from seerc.cli import main

LICENCE = "// SPDX-License-Identifier: MIT\n"
FILES = {
    "a/sum.c": "static int twice(int x) { return 2 * x + 1; }\nint sum(const int *v, int n) {\n  int s = 0;\n"
    "  for (int i = 0; i < n; i++) s += twice(v[i]);\n  return s;\n}\n",
    "a/copy.c": "static int twice(int x) { return 2 * x + 1; }\nint sum(const int *v, int n) {\n  int s = 0;\n"
    "  for (int i = 0; i < n; i++) s += twice(v[i]);\n  return s;\n}\n// a copy\n",
    "b/dot.c": "float dot(const float *a, const float *b, int n) {\n  float s = 0;\n"
    "  while (n--) s += a[n] * b[n];\n  return s;\n}\n",
    "b/same.c": "float named_otherwise(const float *p, const float *q, int k) {\n  float t = 0;\n"
    "  while (k--) t += p[k] * q[k];\n  return t;\n}\nlong own(long x) { return x * x - 3; }\n",
    "c/max.c": "int max(const int *v, int n) {\n  int m = v[0];\n"
    "  for (int i = 1; i < n; i++) if (v[i] > m) m = v[i];\n  return m;\n}\n",
    "c/broken.c": "int f( {\n",
    "d/swap.c": "void swap(int *a, int *b) {\n  int t = *a;\n  *a = *b;\n  *b = t;\n}\n",
    "d/gpl.c": "",
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("package")
    for name, text in FILES.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(LICENCE + text)
    (root / "d" / "gpl.c").write_text("// SPDX-License-Identifier: GPL-3.0-only\nint g(int x) { return x + 4; }\n")
    (root / "d" / "latin.c").write_bytes(b"// SPDX-License-Identifier: MIT\n// \xe9\nint l(void) { return 1; }\n")
    return root


def options(sources: Path) -> Options:
    return Options((str(sources),), ("c",), ("O0", "Oz"), jobs=1)


@pytest.fixture(scope="module")
def corpus(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    build(options(sources), folder)
    return folder


def stored(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "work" not in path.relative_to(folder).parts
    }


def test_a_packed_result_is_what_it_was() -> None:
    result = {"reasons": {"compiled": 1}, "seconds": 0.25, "rows": [{"source": "été \ud800 \U0001f600\n\0"}]}
    assert unpacked(packed(result)) == result


def test_what_is_stored(corpus: Path) -> None:
    pairs = list(read_pairs(corpus))
    assert {pair.path for pair in pairs} == {"a/copy.c", "b/dot.c", "b/same.c", "c/max.c", "d/swap.c"}
    assert {pair.name for pair in pairs if pair.kind == "function" and pair.level == "Oz"} <= {
        *("twice", "sum", "dot", "own", "max", "swap")
    }
    for pair in pairs:
        assert pair.source in FILES[pair.path] or pair.kind == "file"
        assert llvm.checked(pair.ir) == pair.ir
        assert (pair.licence, pair.tier, pair.file_sha256) == (
            *("MIT", "permissive"),
            digest(LICENCE + FILES[pair.path]),
        )


def test_every_loss_is_counted(corpus: Path) -> None:
    reasons = read_manifest(corpus)["reasons"]["c"]
    for reason, count in {
        "compile: rejected": 2,
        "licence: copyleft": 1,
        "source: wrong encoding": 1,
        "clean: near-duplicate source": 1,
    }.items():
        assert reasons[reason] == count
    assert reasons["clean: equal function"] >= 1


def test_long_functions_are_counted_and_left_out(corpus: Path, sources: Path, tmp_path: Path) -> None:
    tokens = sorted(pair.tokens for pair in read_pairs(corpus, "function"))
    shutil.copytree(corpus / "work", tmp_path / "work")
    build(replace(options(sources), max_tokens=tokens[-2]), tmp_path)
    manifest = read_manifest(tmp_path)
    assert sorted(pair.tokens for pair in read_pairs(tmp_path, "function")) == tokens[:-2]
    assert manifest["reasons"]["c"]["function: max tokens"] == 2
    assert manifest["functions_within_max_tokens"]["c"] == pytest.approx(1 - 2 / len(tokens), abs=1e-4)
    assert audit(tmp_path) == []
    (tmp_path / "manifest.json").write_text(json.dumps({**manifest, "max_tokens": tokens[-3]}))
    assert [finding.check for finding in audit(tmp_path)] == ["more tokens than allowed"]


def test_headers_are_found_as_a_package_names_them(tmp_path: Path) -> None:
    root = tmp_path / "package"
    for folder in ("include/pkg", "src"):
        (root / folder).mkdir(parents=True)
    (root / "include" / "pkg" / "time.h").write_text("#define PKG 7\n")
    text = "#include <pkg/time.h>\n#include <time.h>\ntime_t later(time_t t) { return t * PKG + 1; }\n"
    (root / "src" / "a.c").write_text(LICENCE + text)
    build(Options((str(root),), ("c",)), tmp_path / "corpus")
    assert [pair.name for pair in read_pairs(tmp_path / "corpus", "function")] == ["later"]


def test_splits_keep_folders_together(corpus: Path) -> None:
    splits: dict[str, set[str]] = {}
    for pair in read_pairs(corpus):
        splits.setdefault(pair.path.split("/")[0], set()).add(pair.split)
    assert all(len(found) == 1 for found in splits.values())
    assert {split for found in splits.values() for split in found} == {"train", "valid", "test"}


def test_a_rerun_and_a_fresh_build_give_the_same_bytes(corpus: Path, sources: Path, tmp_path: Path) -> None:
    before = stored(corpus)
    report = build(options(sources), corpus)
    assert (report.compiled, stored(corpus)) == (0, before)
    build(options(sources), tmp_path)
    assert stored(tmp_path) == before


def test_a_killed_build_goes_on(corpus: Path, sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ir_corpus.journal import Journal

    add, added = Journal.add, list[str]()

    def killed_at_the_fifth(self: Journal, key: str, result: bytes) -> None:
        if len(added) == 4:
            raise KeyboardInterrupt
        added.append(key)
        add(self, key, result)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "add", killed_at_the_fifth)
        with pytest.raises(KeyboardInterrupt):
            build(options(sources), tmp_path)
    report = build(options(sources), tmp_path)
    assert report.resumed == 4
    assert stored(tmp_path) == stored(corpus)


def dies(*_: object) -> bytes:
    os._exit(9)


def test_a_worker_that_dies_is_a_reason(sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "compile_file", dies)  # the forked workers inherit it
    build(replace(options(sources), limit=1, levels=("Oz",)), tmp_path)
    assert read_manifest(tmp_path)["reasons"]["c"] == {"compile: worker died (ProcessExpired)": 1}


def test_without_time_nothing_is_compiled_and_it_is_said(sources: Path, tmp_path: Path) -> None:
    build(replace(options(sources), minutes=0.0), tmp_path)
    manifest = read_manifest(tmp_path)
    assert manifest["pairs"] == {}
    assert manifest["reasons"]["c"]["not compiled yet"] == 14


def test_a_sound_corpus_has_no_findings(corpus: Path) -> None:
    assert audit(corpus) == []


def faulty(corpus: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "copy"
    shutil.copytree(corpus, copy)
    return copy


def manifest_of(folder: Path) -> dict[str, object]:
    return json.loads((folder / "manifest.json").read_text())


def test_a_shard_of_another_language_is_found(corpus: Path, tmp_path: Path) -> None:
    """The first fault of SLTrans: one language's shard is the file of another language."""
    copy = faulty(corpus, tmp_path)
    manifest = manifest_of(copy)
    shard = next(shard for shard in manifest["shards"] if "/file/c/train" in shard["path"])  # pyright: ignore
    path = shard["path"].replace("/c/", "/fortran/")
    (copy / path).parent.mkdir(parents=True)
    shutil.copy(copy / shard["path"], copy / path)
    manifest["shards"].append({**shard, "path": path})  # pyright: ignore
    (copy / "manifest.json").write_text(json.dumps(manifest))
    checks = {finding.check for finding in audit(copy)}
    assert "equal shards" in checks
    assert "row in the shard of another language, kind or split" in checks


def test_ir_of_another_llvm_is_found(corpus: Path, tmp_path: Path) -> None:
    """The second: IR of several LLVM versions in one corpus, here with the pointers of LLVM 14."""
    copy = faulty(corpus, tmp_path)
    manifest = manifest_of(copy)
    rows = list(read_pairs(copy))
    old = "define void @f(i32* %p) {\n  store i32 1, i32* %p, align 4\n  ret void\n}\n"
    rows[0] = replace(rows[0], ir=old, ir_sha256=digest(old))
    shutil.rmtree(copy / "data")
    writer = ShardWriter(copy)
    for row in rows:
        writer.add(row)
    manifest["shards"] = writer.close()
    (copy / "manifest.json").write_text(json.dumps(manifest))
    found = {finding.check: finding for finding in audit(copy)}
    assert any(check.startswith("IR is not as LLVM 22") for check in found)


def test_rows_that_were_changed_are_found(corpus: Path, tmp_path: Path) -> None:
    copy = faulty(corpus, tmp_path)
    manifest = manifest_of(copy)
    rows = list(read_pairs(copy))
    rows[0] = replace(rows[0], source=rows[0].source + " ", licence="GPL-3.0-only")
    rows[1] = replace(rows[1], ir=rows[1].ir.replace("ret", "rot"), compiler_version="")
    rows.append(replace(rows[-1], split="test" if rows[-1].split != "test" else "train"))
    shutil.rmtree(copy / "data")
    writer = ShardWriter(copy)
    for row in rows:
        writer.add(row)
    manifest["shards"] = writer.close()
    (copy / "manifest.json").write_text(json.dumps(manifest))
    checks = {finding.check for finding in audit(copy)}
    assert checks >= {
        "source has another hash",
        "licence not allowed",
        "tier does not fit the licence",
        "IR has another hash",
        "IR: unparsable IR",
        "no provenance",
        "leakage: equal in two splits",
        "equal ids",
        "counts differ from the manifest",
    }


def test_a_truncated_shard_is_found_and_named(corpus: Path, tmp_path: Path) -> None:
    copy = faulty(corpus, tmp_path)
    shard = sorted(copy.rglob("*.parquet"))[0]
    shard.write_bytes(shard.read_bytes()[:-40])
    checks = {finding.check for finding in audit(copy)}
    assert {"changed shard", "unreadable shard"} <= checks
    with pytest.raises(SeercError, match=shard.name):
        list(read_shard(shard))
    shard.unlink()
    assert "missing shard" in {finding.check for finding in audit(copy)}


def test_arrow_opens_the_shards(corpus: Path) -> None:
    shards = [shard["path"] for shard in read_manifest(corpus)["shards"]]
    table = pq.read_table(corpus / shards[0])
    assert {"source", "ir", "licence", "split"} <= set(table.column_names)
    assert (corpus / "README.md").read_text().startswith("---\npretty_name")


def test_pandas_opens_the_shards(corpus: Path) -> None:
    pandas = pytest.importorskip("pandas")
    for shard in read_manifest(corpus)["shards"]:
        frame = pandas.read_parquet(corpus / shard["path"])
        assert list(frame["ir"]) == [pair.ir for pair in read_shard(corpus / shard["path"])]


def test_duckdb_opens_the_shards(corpus: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    found = duckdb.sql(f"SELECT kind, count(*) FROM '{corpus}/data/*/*/*.parquet' GROUP BY kind").fetchall()
    assert dict(found) == {kind: len(list(read_pairs(corpus, kind))) for kind in ("file", "function")}


@pytest.mark.parametrize("kind", ["file", "function"])
def test_datasets_opens_the_card(kind: str, corpus: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    found = datasets.load_dataset(str(corpus), kind, cache_dir=str(tmp_path))
    for split, rows in found.items():
        assert list(rows["id"]) == [pair.id for pair in read_pairs(corpus, kind, split=split)]
    assert sum(map(len, found.values())) == len(list(read_pairs(corpus, kind)))


def test_what_is_no_corpus_is_named(tmp_path: Path) -> None:
    with pytest.raises(SeercError, match="is no corpus"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(SeercError, match="cannot be read"):
        read_manifest(tmp_path)


def test_unknown_levels_and_languages(sources: Path, tmp_path: Path) -> None:
    with pytest.raises(SeercError, match="unknown level O9"):
        build(replace(options(sources), levels=("O9",)), tmp_path)
    with pytest.raises(SeercError, match="did you mean"):
        build(replace(options(sources), languages=("fortrn",)), tmp_path)
    assert "c" in frontends.chosen()


def test_the_command_line(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["corpus", "stats", str(corpus), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["pairs"] == {"c": 10}
    assert data["licences"] == {"MIT": sum(data["functions"].values()) + 10}
    assert main(["corpus", "audit", str(corpus), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"ok": True, "findings": []}
    assert main(["corpus", "pairs", str(corpus), "--limit", "2"]) == 0
    assert [json.loads(line)["kind"] for line in capsys.readouterr().out.splitlines()] == ["function", "function"]
    copy = faulty(corpus, tmp_path)
    next(copy.rglob("*.parquet")).unlink()
    assert main(["corpus", "audit", str(copy)]) == 3
    assert main(["corpus", "stats", str(tmp_path)]) == 1
