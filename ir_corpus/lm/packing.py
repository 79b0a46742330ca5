"""Documents into windows of equal length, none cut: best-fit packing (Ding et al., arXiv 2404.10830)."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray

BLOCK = 512
"""Documents that are packed together; a longer block wastes less and mixes further."""


def pack(documents: Iterator[NDArray[np.int32]], window: int, pad: int, seed: int) -> Iterator[NDArray[np.int32]]:
    """Windows, shape (window,), of whole documents and padding at the end; longer documents are cut.

    Windows of one block come in random order: best-fit fills those of long documents first.
    """
    random = np.random.default_rng([seed, 4])
    while block := [d[:window] for d in islice(documents, BLOCK)]:
        rows = [_row([block[i] for i in bin], window, pad) for bin in best_fit([len(d) for d in block], window)]
        for i in random.permutation(len(rows)):
            yield rows[i]


def best_fit(lengths: list[int], window: int) -> list[list[int]]:
    """Bins of indices: each document, longest first, goes where the least room is left that holds it."""
    bins: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (what is left, bin), sorted
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        place = bisect_left(room, (lengths[index], -1))
        if place == len(room):
            left, bin = window, len(bins)
            bins.append([])
        else:
            left, bin = room.pop(place)
        bins[bin].append(index)
        insort(room, (left - lengths[index], bin))
    return bins


def _row(documents: list[NDArray[np.int32]], window: int, pad: int) -> NDArray[np.int32]:
    row = np.full(window, pad, np.int32)
    whole = np.concatenate(documents)
    row[: len(whole)] = whole
    return row
