"""The recall task is the published one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.mod.mqar import IGNORED, RecallTask


@settings(max_examples=40, deadline=None)
@given(pairs=st.integers(1, 8), spare=st.integers(0, 8), noise=st.booleans(), seed=st.integers(0, 99))
def test_every_key_is_asked_once_and_answered_by_its_value(pairs: int, spare: int, noise: bool, seed: int) -> None:
    task = RecallTask(vocabulary=40, tokens=4 * pairs + 2 * spare, pairs=pairs, noise=noise)
    inputs, labels = task.batch(3, torch.Generator().manual_seed(seed))
    for row, wanted in zip(inputs.tolist(), labels.tolist(), strict=True):
        memory = dict(zip(row[0 : 2 * pairs : 2], row[1 : 2 * pairs : 2], strict=True))
        asked = [place for place, label in enumerate(wanted) if label != IGNORED]
        assert len(memory) == len(asked) == pairs
        assert {row[place] for place in asked} == set(memory)
        assert all(wanted[place] == memory[row[place]] for place in asked)
        assert all(place >= 2 * pairs and place % 2 == 0 for place in asked)
        assert all(1 <= key < 20 <= value < 40 for key, value in memory.items())


def test_filler_is_zero_without_noise() -> None:
    task = RecallTask(tokens=64, pairs=4, noise=False)
    inputs, labels = task.batch(8, torch.Generator().manual_seed(0))
    assert (inputs[:, 8:][labels[:, 8:] == IGNORED] == 0).all()


def test_queries_follow_the_power_law() -> None:
    task = RecallTask(vocabulary=64, tokens=64, pairs=1)
    _, labels = task.batch(20_000, torch.Generator().manual_seed(0))
    counts = (labels[:, 2::2] != IGNORED).float().mean(0)
    weights = torch.arange(1, 32).double() ** (task.power - 1)
    torch.testing.assert_close(counts.double(), weights / weights.sum(), atol=0.015, rtol=0)


@pytest.mark.parametrize(("tokens", "pairs", "vocabulary"), [(31, 4, 64), (32, 9, 64), (64, 16, 32)])
def test_impossible_sizes_are_refused(tokens: int, pairs: int, vocabulary: int) -> None:
    with pytest.raises(ValueError, match=r"pairs need|keys need"):
        RecallTask(vocabulary, tokens, pairs)
