"""A synthetic corpus: small functions in two languages and their IR, written by templates, no compiler needed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from ir_corpus.lm.options import SIZES, LmOptions, Size
from ir_corpus.lm.pairs import Pair, choose

OPERATIONS = {"add": "+", "sub": "-", "mul": "*", "and": "&", "or": "|", "xor": "^"}


@dataclass(frozen=True)
class Row:
    """What ir_corpus.store.read_pairs yields, as far as models read it."""

    source: str
    ir: str
    language: str
    package: str
    split: str
    kind: str


def rows() -> Iterator[Row]:
    """Functions f(a, b) = (a OP1 b) OP2 CONSTANT in C and Rust."""
    for index in range(240):
        (one, sign), (two, other) = (list(OPERATIONS.items())[(index * k) % 6] for k in (1, 5))
        constant, name = 3 + index * 7 % 100, f"{one}_{two}_{index}"
        language = ("c", "rust")[index % 2]
        if language == "c":
            source = f"int {name}(int left, int right)\n{{\n    return (left {sign} right) {other} {constant};\n}}\n"
        else:
            source = f"pub fn {name}(left: i32, right: i32) -> i32 {{\n    (left {sign} right) {other} {constant}\n}}\n"
        ir = (
            f"define i32 @{name}(i32 %left, i32 %right) {{\nentry:\n  %first = {one} i32 %left, %right\n"
            f"  %second = {two} i32 %first, {constant}\n  ret i32 %second\n}}\n"
        )
        split = "test" if index % 6 == 5 or index % 6 == 2 else "train"
        yield Row(source, ir, language, f"package{index % 6}", split, "function")


@pytest.fixture(scope="session")
def corpus_rows() -> list[Row]:
    """240 pairs; a third of them are held out."""
    return list(rows())


QUICK = LmOptions(model="quick", tokens=2_000, window=64, batch=2, checkpoint_steps=7)


@pytest.fixture(autouse=True)
def quick_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """A size of model that trains in a second."""
    monkeypatch.setitem(SIZES, "quick", Size(32, 2, 2, 64, 400))


@pytest.fixture(scope="session")
def train_rows(corpus_rows: list[Row]) -> list[Pair]:
    """The pairs of the split `train`."""
    return choose(corpus_rows, "train", 1000)


@pytest.fixture(scope="session")
def test_rows(corpus_rows: list[Row]) -> list[Pair]:
    """The pairs of the split `test`."""
    return choose(corpus_rows, "test", 1000)
