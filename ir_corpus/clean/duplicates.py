"""Near-duplicate sources (MinHash) and equal functions (canonical hash): the first of each stays."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import islice
from typing import Any

from ir_corpus.processes import die_with_parent

THRESHOLD = 0.7
PERMUTATIONS = 256
_BANDS = 64  # of 4 rows: at a similarity of 0.75 a pair meets in one with 1 - 1e-10; rensa's own choice finds 3 of 4
_NGRAM = 5
_SEED = 77
_WORD = re.compile(r"[A-Za-z_]\w*|\d+|[^\w\s]")


def shingles(text: str) -> list[str]:
    """The distinct runs of five tokens (the BigCode recipe), of the whole text where it is shorter."""
    words = _WORD.findall(text)
    if len(words) <= _NGRAM:
        return [" ".join(words)]
    return list(dict.fromkeys(map(" ".join, zip(*(words[start:] for start in range(_NGRAM)), strict=False))))


def jaccard(first: str, second: str) -> float:
    """The exact similarity that MinHash estimates."""
    one, other = set(shingles(first)), set(shingles(second))
    return len(one & other) / len(one | other)


def kept(texts: Iterable[tuple[str, str]], jobs: int = 1, batch: int = 2_000) -> Iterator[bool]:
    """For (key, text) in order: whether no text before it, of those kept, is at least `THRESHOLD` similar.

    Estimated by R-MinHash (rensa) with 256 permutations and locality-sensitive hashing; `jobs` processes make the
    signatures, which is nearly all of the work. Memory grows by about 1 KiB a text that is kept.
    """
    import rensa

    compiled: Any = rensa
    index = compiled.RMinHashDeduplicator(THRESHOLD, PERMUTATIONS, use_lsh=True, num_bands=_BANDS, seed=_SEED)
    left = iter(texts)
    with ExitStack() as stack:
        signed: Callable[..., Iterator[Any]] = map
        if jobs > 1:
            pool = stack.enter_context(ProcessPoolExecutor(jobs, initializer=die_with_parent))
            signed = partial(pool.map, chunksize=batch // (4 * jobs))
        while pending := list(islice(left, batch)):
            signatures = signed(_signature, (text for _, text in pending))
            yield from index.add_pairs([(key, found) for (key, _), found in zip(pending, signatures, strict=True)])


def _signature(text: str) -> Any:
    """The MinHash of one text."""
    import rensa

    compiled: Any = rensa
    found = compiled.RMinHash(num_perm=PERMUTATIONS, seed=_SEED)
    found.update(shingles(text))
    return found
