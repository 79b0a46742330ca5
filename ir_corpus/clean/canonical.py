"""A hash of IR that does not see names: equal for two functions that compute the same by the same instructions."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from ir_corpus.ir_text import WORD, split_functions

_EMPTY_LINES = re.compile(r"\n\n+")


def canonical_hash(ir: str) -> str:
    """SHA-256 over a printed module whose globals, types and locals are numbered in order of appearance.

    Strings stay, names of intrinsics stay (they are operations), attribute groups and target lines go. Names are
    numbered from the functions first.
    """
    parts = split_functions(ir)
    lines = "".join(parts[::2]).split("\n")
    others = (line for line in lines if line and not line.startswith(("target ", "attributes ", "!")))
    words = WORD.split(_EMPTY_LINES.sub("\n", "\n".join([*parts[1::2], *others])))
    words[1::2] = map(_stands(words[1::2]).__getitem__, words[1::2])
    return hashlib.sha256("".join(words).encode()).hexdigest()


def _stands(words: Iterable[str]) -> dict[str, str]:
    """Word -> what stands for it: for a name its sigil and the number of names before it."""
    stands, names = dict[str, str](), 0
    for word in dict.fromkeys(words):
        if word[0] in '"!' or word.startswith("@llvm."):
            stands[word] = word
        elif word[0] == "#":
            stands[word] = ""
        else:
            stands[word] = f"{word[0]}{names}"
            names += 1
    return stands
