"""What the models read of a corpus: pairs of source and IR, chosen by a hash so that every run sees the same ones."""

from __future__ import annotations

import hashlib
import heapq
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol

from costmodel.errors import SeercError
from ir_corpus.lm.ssa import renumber

TRAIN, VALIDATION, TEST = "train", "valid", "test"
MOST_BYTES = 64_000
"""Pairs with a longer side are left out: a model reads the first few hundred tokens of it anyway."""

_TARGET = re.compile(r"^target (?:datalayout|triple) = .*\n", re.MULTILINE)


class CorpusPair(Protocol):
    """What is read of a row of a corpus."""

    @property
    def source(self) -> str: ...
    @property
    def ir(self) -> str: ...
    @property
    def language(self) -> str: ...
    @property
    def package(self) -> str: ...
    @property
    def split(self) -> str: ...
    @property
    def kind(self) -> str: ...


@dataclass(frozen=True)
class Pair:
    """Source and its IR, whose SSA names are renumbered, without the lines that say for which machine it is."""

    source: str
    ir: str
    language: str
    kind: str
    """`file` or `function`."""


def choose(
    rows: Iterable[CorpusPair], split: str, most: int, kinds: Iterable[str] = ("file", "function")
) -> list[Pair]:
    """At most `most` pairs of one split for each language, in the order of a hash of their text; equal ones once.

    The choice depends on nothing but the pairs, and holds no more than it returns in memory.
    """
    wanted = frozenset(kinds)
    best: dict[str, dict[int, Pair]] = {}
    for row in rows:
        if row.split != split or row.kind not in wanted or max(len(row.source), len(row.ir)) > MOST_BYTES:
            continue
        place = int.from_bytes(hashlib.blake2b(f"{row.source}\0{row.ir}".encode(), digest_size=8).digest(), "big")
        kept = best.setdefault(row.language, {})
        kept[place] = Pair(row.source, row.ir, row.language, row.kind)
        if len(kept) > 2 * most:
            best[row.language] = {place: kept[place] for place in heapq.nsmallest(most, kept)}
    return [_prepared(kept[p]) for _, kept in sorted(best.items()) for p in heapq.nsmallest(most, kept)]


def read_corpus(folder: Path, split: str) -> Iterator[CorpusPair]:
    """The pairs of one split of a corpus: a folder that `seerc corpus build` wrote, or a file of JSON lines.

    Each line has the fields of CorpusPair.

    Raises:
        SeercError: there is no corpus, or a line is no pair.
    """
    if folder.suffix == ".jsonl":
        return (row for row in _lines(folder) if row.split == split)
    if not folder.is_dir():
        raise SeercError(f"{folder}: no such folder; build a corpus with `seerc corpus build SOURCE -o {folder}`")
    from ir_corpus.store import read_pairs

    return read_pairs(folder, split=split)


@dataclass(frozen=True)
class _Row:
    source: str
    ir: str
    language: str
    package: str
    split: str
    kind: str


def _lines(path: Path) -> Iterator[_Row]:
    names = [f.name for f in fields(_Row)]
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                found = json.loads(line)
                yield _Row(*(str(found[n]) for n in names))
            except (ValueError, KeyError, TypeError) as error:
                raise SeercError(f"{path}:{number}: not a pair ({error!r}); wanted {', '.join(names)}") from error


def by_language(pairs: Iterable[Pair]) -> dict[str, list[Pair]]:
    """The pairs of each language, languages in alphabetical order."""
    found: dict[str, list[Pair]] = {}
    for pair in pairs:
        found.setdefault(pair.language, []).append(pair)
    return dict(sorted(found.items()))


def _prepared(pair: Pair) -> Pair:
    return Pair(pair.source, renumber(_TARGET.sub("", pair.ir)).lstrip("\n"), pair.language, pair.kind)
