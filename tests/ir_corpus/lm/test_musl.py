"""The corpus from pip alone: musl's files compile and are read back as pairs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from costmodel.errors import SeercError
from ir_corpus.lm import musl
from ir_corpus.lm.pairs import choose, read_corpus


def test_a_file_of_musl_is_a_pair(tmp_path: Path) -> None:
    source = next(s for s in musl.sources() if s.name == "strverscmp.c")
    found = musl.row(source)
    assert found is not None
    assert (found["package"], found["split"], found["language"]) == ("string", "test", "c")
    corpus = tmp_path / "musl.jsonl"
    corpus.write_text(json.dumps(found) + "\n")
    (pair,) = choose(read_corpus(corpus, "test"), "test", 5)
    assert pair.ir.startswith("define dso_local")
    assert "@strverscmp(ptr" in pair.ir
    assert "%v0" in pair.ir
    assert not list(read_corpus(corpus, "train"))


def test_lines_that_are_no_pairs_are_named(tmp_path: Path) -> None:
    corpus = tmp_path / "own.jsonl"
    corpus.write_text('{"source": "int f;"}\n')
    with pytest.raises(SeercError, match=r"own\.jsonl:1: not a pair .*wanted source, ir, language"):
        list(read_corpus(corpus, "train"))


def test_a_file_that_does_not_compile_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "bad.c").write_text("int f(\n")
    assert musl.row(tmp_path / "bad.c") is None
