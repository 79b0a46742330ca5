"""Packing loses nothing and wastes little."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ir_corpus.lm.packing import best_fit, pack


@given(st.lists(st.integers(1, 64), max_size=80))
def test_every_document_is_in_one_bin_that_holds_it(lengths: list[int]) -> None:
    bins = best_fit(lengths, 64)
    assert sorted(i for each in bins for i in each) == list(range(len(lengths)))
    sums = sorted(sum(lengths[i] for i in each) for each in bins)
    assert all(s <= 64 for s in sums)
    assert len(sums) < 2 or sums[0] + sums[1] > 64  # no two bins could be one


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60), st.integers(0, 3))
def test_windows_hold_whole_documents(lengths: list[int], seed: int) -> None:
    documents = [np.full(n, i + 1, np.int32) for i, n in enumerate(lengths)]
    rows = list(pack(iter(documents), 32, 0, seed))
    assert all(row.shape == (32,) for row in rows)
    for i, n in enumerate(lengths):
        assert sorted(int((row == i + 1).sum()) for row in rows if (row == i + 1).any()) == [min(n, 32)]


def test_little_is_padding() -> None:
    random = np.random.default_rng(0)
    documents = (np.ones(n, np.int32) for n in random.integers(5, 200, size=2000))
    rows = np.stack(list(pack(documents, 256, 0, 0)))
    assert (rows == 0).mean() < 0.02
