"""Which pairs are read depends on the pairs alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from costmodel.errors import SeercError
from ir_corpus.lm.pairs import MOST_BYTES, by_language, choose, read_corpus
from ir_corpus.lm.train import halves
from tests.ir_corpus.lm.conftest import Row


def test_the_choice_does_not_depend_on_the_order(corpus_rows: list[Row]) -> None:
    chosen = choose(corpus_rows, "train", 10)
    assert chosen == choose(reversed(corpus_rows), "train", 10)
    assert {name: len(group) for name, group in by_language(chosen).items()} == {"c": 10, "rust": 10}


def test_more_pairs_hold_the_fewer_ones(corpus_rows: list[Row]) -> None:
    assert set(choose(corpus_rows, "train", 10)) <= set(choose(corpus_rows, "train", 40))


def test_equal_pairs_count_once_and_huge_ones_not(corpus_rows: list[Row]) -> None:
    row = next(r for r in corpus_rows if r.split == "train")
    rows = [row, replace(row, package="other"), replace(row, source="x" * (MOST_BYTES + 1))]
    assert len(choose(rows, "train", 10)) == 1


def test_kinds_and_splits_are_kept_apart(corpus_rows: list[Row]) -> None:
    assert choose(corpus_rows, "train", 10, ("file",)) == []
    assert choose(corpus_rows, "valid", 10) == []


def test_halves_share_nothing_and_hold_all_languages(corpus_rows: list[Row]) -> None:
    pairs = choose(corpus_rows, "train", 41)
    one, other = halves(pairs)
    assert not set(one) & set(other)
    assert len(one) + len(other) == len(pairs)
    assert by_language(one).keys() == by_language(other).keys()


def test_a_missing_corpus_is_named(tmp_path: Path) -> None:
    with pytest.raises(SeercError, match=r"nowhere: no such folder; build a corpus"):
        read_corpus(tmp_path / "nowhere", "train")
