"""Renaming identifiers in source of any language: names that stand in one file only mean nothing but themselves."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ir_corpus.lm.scoring import Scored, Scorer, bits_per_byte
from ir_corpus.lm.tokenizer import END

_LEXEME = re.compile(
    r'"(?:[^"\\\n]|\\.)*"|//[^\n]*|/\*.*?\*/|^\s*#[^\n]*'  # strings, comments, preprocessor lines: left alone
    r"|(?P<name>[A-Za-z_]\w*)",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Renamed:
    """A text before or after renaming."""

    text: str
    spans: tuple[tuple[int, int], ...]
    """(start, end) characters of the names that change, with the space before them: tokenizers join it to words."""


def own_names(texts: Sequence[str]) -> list[frozenset[str]]:
    """Of each text the identifiers that it uses at least twice and no other of the texts uses.

    Keywords, types and library functions of any language stand in several files and are not among them.
    """
    counts = [Counter(m["name"] for m in _LEXEME.finditer(text) if m["name"]) for text in texts]
    files = Counter(name for count in counts for name in count)
    return [frozenset(n for n, uses in count.items() if uses >= 2 and files[n] == 1) for count in counts]


def rename(text: str, names: frozenset[str]) -> tuple[Renamed, Renamed]:
    """The text as it is, and with its names replaced by n0, n1, ... in the order of their first use."""
    taken = {m["name"] for m in _LEXEME.finditer(text)}
    fresh = (f"n{i}" for i in range(len(taken) + len(names) + 1) if f"n{i}" not in taken)
    new: dict[str, str] = {}
    pieces, length, last = list[str](), 0, 0
    before, after = list[tuple[int, int]](), list[tuple[int, int]]()
    for found in _LEXEME.finditer(text):
        name = found["name"]
        if name not in names:
            continue
        if name not in new:
            new[name] = next(fresh)
        pieces += [text[last : found.start()], new[name]]
        length += found.start() - last
        space = int(text[found.start() - 1 : found.start()].isspace())
        before.append((found.start() - space, found.end()))
        after.append((length - space, length + len(new[name])))
        length, last = length + len(new[name]), found.end()
    return Renamed(text, tuple(before)), Renamed("".join([*pieces, text[last:]]), tuple(after))


def change_under_renaming(scorer: Scorer, sources: Sequence[str]) -> float | None:
    """Bits per byte of what was not renamed, after renaming minus before; None where no name can be.

    Tokens that touch a renamed name are left out on both sides, so the same bytes are compared.
    """
    pairs = [rename(s, names) for s, names in zip(sources, own_names(sources), strict=True) if names]
    before = bits_per_byte(_unrenamed(scorer, [b for b, _ in pairs]))
    after = bits_per_byte(_unrenamed(scorer, [a for _, a in pairs]))
    return None if before is None or after is None else after - before


def _unrenamed(scorer: Scorer, texts: Sequence[Renamed]) -> list[Scored]:
    tokenizer = scorer.model.tokenizer
    tokenizer.encode_special_tokens = True
    encodings = [tokenizer.encode(t.text, add_special_tokens=False) for t in texts]
    scored = scorer.texts([e.ids for e in encodings], scorer.sentinels[END])
    keeps = [_untouched(e.offsets, t.spans) for e, t in zip(encodings, texts, strict=True)]
    return [s.masked(keep[: len(s.bits)]) for s, keep in zip(scored, keeps, strict=True)]


def _untouched(offsets: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]) -> NDArray[np.bool_]:
    """Tokens whose characters overlap none of the spans."""
    keep = np.ones(len(offsets), bool)
    remaining = iter(spans)
    span = next(remaining, None)
    for i, (start, end) in enumerate(offsets):
        while span is not None and span[1] <= start:
            span = next(remaining, None)
        if span is not None and end > span[0]:
            keep[i] = False
    return keep
