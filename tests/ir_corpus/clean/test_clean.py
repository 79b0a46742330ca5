"""Duplicates, splits, filters and contamination, each against an oracle or a case that must not pass."""

from __future__ import annotations

import hashlib
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ir_corpus.clean import split
from ir_corpus.clean.canonical import canonical_hash
from ir_corpus.clean.contamination import Benchmark
from ir_corpus.clean.duplicates import THRESHOLD, jaccard, kept
from ir_corpus.clean.filters import function_refused, source_refused


def variant(words: list[str], changes: int, seed: int) -> str:
    """A copy with some words changed."""
    generator, words = random.Random(seed), list(words)
    for _ in range(changes):
        words[generator.randrange(len(words))] = f"w{generator.randrange(10**6)}"
    return " ".join(words)


def test_minhash_agrees_with_exact_jaccard() -> None:
    generator = random.Random(0)
    pairs = list[tuple[str, str]]()
    for seed in range(200):
        words = [f"w{generator.randrange(10**6)}" for _ in range(150)]
        pairs.append((" ".join(words), variant(words, seed % 12, seed)))
    for pair in pairs:
        assert pair[0] != pair[1] or jaccard(*pair) == 1.0
    texts = [(str(number), text) for number, text in enumerate(text for pair in pairs for text in pair)]
    flags = list(kept(texts))
    near = [index for index, pair in enumerate(pairs) if jaccard(*pair) >= THRESHOLD + 0.05]
    far = [index for index, pair in enumerate(pairs) if jaccard(*pair) < THRESHOLD - 0.1]
    assert len(near) > 50
    assert len(far) > 20
    assert all(flags[2 * index] for index in range(len(pairs)))
    assert sum(not flags[2 * index + 1] for index in near) >= 0.95 * len(near)
    assert sum(flags[2 * index + 1] for index in far) >= 0.95 * len(far)


def test_two_processes_keep_what_one_keeps() -> None:
    texts = [(str(i), " ".join(f"w{(i // 3) * 40 + k}" for k in range(60))) for i in range(90)]
    assert list(kept(texts, jobs=2, batch=16)) == list(kept(texts)) == [i % 3 == 0 for i in range(90)]


def test_the_first_of_equal_texts_stays() -> None:
    assert list(kept([("a", "x"), ("b", "x"), ("c", "int f(void) { return 1; }")])) == [True, False, True]


IR = """%pair = type { i32, i32 }

@a = external global i32

define i32 @first(ptr %0) #0 {
  %2 = load i32, ptr @a, align 4
  %3 = call i32 @helper(i32 %2)
  ret i32 %3
}

declare i32 @helper(i32)

attributes #0 = { nounwind }
"""


def test_the_canonical_hash_sees_operations_and_not_names() -> None:
    renamed = IR.replace("first", "second").replace("helper", "other").replace("@a", "@b").replace("#0", "#1")
    assert canonical_hash(renamed) == canonical_hash(IR)
    assert canonical_hash(IR.replace("align 4", "align 8")) != canonical_hash(IR)
    assert canonical_hash(IR.replace("@helper(i32 %2)", "@helper(i32 7)")) != canonical_hash(IR)
    intrinsic = IR.replace("helper", "llvm.abs.i32")
    assert canonical_hash(intrinsic) != canonical_hash(IR.replace("helper", "llvm.ctpop.i32"))


def test_the_canonical_hash_of_a_corpus_that_was_built_stays_what_it_is() -> None:
    assert canonical_hash(IR) == "fb0b9c6e62ced6147e643d3d6ee370670931efd73d8c93b3e74b2195ef36860f"


def test_strings_and_nodes_are_no_names() -> None:
    text = 'define void @f() {\n  call void asm "#1 %x", ""()\n  call void @g(metadata !4)\n  ret void\n}\n'
    assert canonical_hash(text.replace("%x", "%y")) != canonical_hash(text)
    assert canonical_hash(text.replace("!4", "!5")) != canonical_hash(text)
    assert canonical_hash(text.replace("@f", '@"f g"').replace("\n  ret", "\n\n  ret")) == canonical_hash(text)


@given(st.dictionaries(st.text("abcdef", min_size=1, max_size=4), st.integers(1, 500), max_size=30))
def test_every_group_has_one_split_and_training_is_never_empty(groups: dict[str, int]) -> None:
    chosen = split.splits(groups)
    assert set(chosen) == set(groups)
    assert not groups or "train" in chosen.values()
    if len(groups) >= 3:
        assert set(chosen.values()) == set(split.SPLITS)


def test_splits_do_not_depend_on_other_groups() -> None:
    groups = {f"package-{number}": 10 for number in range(400)}
    counts = Counter(split.splits(groups).values())
    assert 320 < counts["train"] < 390
    fewer = {name: size for name, size in groups.items() if name < "package-3"}
    assert all(split.splits(groups)[name] == chosen for name, chosen in split.splits(fewer).items())


def test_few_packages_are_split_by_folder() -> None:
    assert split.group_of("musl", "src/math/sin.c", 2) == "musl/src/math"
    assert split.group_of("musl", "src/math/sin.c", 9) == "musl"


@pytest.mark.parametrize(
    ("raw", "language", "reason"),
    [
        (b"int x;", "c", ""),
        (b"", "c", "source: empty"),
        (b"x\0y", "c", "source: wrong encoding"),
        (b"// \xff\xfe", "c", "source: wrong encoding"),
        (b"x" * (1 << 20), "c", "source: too large"),
        (b"x" * 6000, "c", "source: very long lines"),
        (b"// expected-error {{no}}", "c", "source: a test that expects an error"),
        (b"fn main() {} //~ ERROR no", "rust", "source: a test that expects an error"),
        (b"/* DO NOT EDIT */ int x;", "c", "source: generated"),
    ],
)
def test_sources_that_are_not_compiled(raw: bytes, language: str, reason: str) -> None:
    assert source_refused(raw, language) == reason


def test_functions_that_are_no_pairs() -> None:
    trivial = "define void @f() {\n  ret void\n}\n"
    assert function_refused(trivial, 20) == "function: trivial"
    assert function_refused(IR, 20) == ""
    assert function_refused(IR, 9000) == "function: too long"


def test_a_benchmark_is_found_by_its_words_and_by_its_hash() -> None:
    text = "def has_close_elements(numbers, threshold): return any(abs(a - b) < threshold for a in numbers)"
    benchmark = Benchmark([text, hashlib.sha256(b"intmain(){}").hexdigest()])
    assert benchmark.holds(f"import x\n\n{text.replace(': ', ':    ')}\n")
    assert benchmark.holds("int main() { }\n")
    assert not benchmark.holds("int main() { return 0; }\n")
    assert not Benchmark([]).holds(text)
