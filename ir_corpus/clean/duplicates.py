"""Near-duplicate sources (MinHash) and equal functions (canonical hash): the first of each stays."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

THRESHOLD = 0.7
PERMUTATIONS = 256
_BANDS = 64  # of 4 rows: at a similarity of 0.75 a pair meets in one with 1 - 1e-10; rensa's own choice finds 3 of 4
_NGRAM = 5
_WORD = re.compile(r"[A-Za-z_]\w*|\d+|[^\w\s]")


def shingles(text: str) -> list[str]:
    """The distinct runs of five tokens (the BigCode recipe), of the whole text where it is shorter."""
    words = _WORD.findall(text)
    if len(words) <= _NGRAM:
        return [" ".join(words)]
    return list(dict.fromkeys(" ".join(words[i : i + _NGRAM]) for i in range(len(words) - _NGRAM + 1)))


def jaccard(first: str, second: str) -> float:
    """The exact similarity that MinHash estimates."""
    one, other = set(shingles(first)), set(shingles(second))
    return len(one & other) / len(one | other)


def kept(texts: Iterable[tuple[str, str]], batch: int = 1_000) -> Iterator[bool]:
    """For (key, text) in order: whether no text before it, of those kept, is at least `THRESHOLD` similar.

    Estimated by R-MinHash (rensa) with 256 permutations and locality-sensitive hashing; memory grows by about 1 KiB
    a text that is kept.
    """
    import rensa

    compiled: Any = rensa
    index = compiled.RMinHashDeduplicator(THRESHOLD, PERMUTATIONS, use_lsh=True, num_bands=_BANDS, seed=77)
    pending = list[tuple[str, Sequence[str]]]()
    for key, text in texts:
        pending.append((key, shingles(text)))
        if len(pending) == batch:
            yield from index.add_pairs(pending)
            pending = []
    if pending:
        yield from index.add_pairs(pending)
