"""Rounds timed on a decoder whose steps take known times, and decisions made from them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from compiler.adapt.costs import Costs, StepCosts
from compiler.adapt.oracle import Oracle, Skips
from compiler.adapt.skip import SkipOptions, decide_skips
from compiler.adapt.speculation import draft_cost, speculate, verify_cost
from compiler.adapt.timed_rounds import middles, time_rounds
from tests.compiler.adapt.conftest import random_texts

BLOCKS = 4
ONE, OTHER = frozenset({1}), frozenset({1, 2})


def predicted(width: int) -> StepCosts:
    return StepCosts((1.0,) * BLOCKS, 0.1 * width)


class Clocked:
    """A decoder of one sequence; its steps move the clock: plain 10 ms, width q 10 + q, a draft 2 a sub-block run.

    The first step of a kind takes 100 ms more.
    """

    batch, blocks = 1, BLOCKS

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.lengths, self.before = 0.0, np.zeros(1, np.int64), ""
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def prefill(self, prompts: Sequence[Sequence[int]]) -> np.ndarray:
        self.lengths[:] = len(prompts[0]) - 1
        return np.array([[prompts[0][-1]]])

    def rewind(self, lengths: np.ndarray) -> None:
        self.lengths[:] = lengths

    def keep(self, counts: int) -> None:
        self.now += 1e-3
        self.lengths += counts

    def step(self, ids: np.ndarray) -> np.ndarray:
        return self._ran("full", ids, 10e-3 + 1e-3 * (ids.shape[1] if ids.shape[1] > 1 else 0))

    def draft(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return self._ran(f"draft {mask}", ids, 2e-3 * mask.sum())

    def _ran(self, kind: str, ids: np.ndarray, seconds: float) -> np.ndarray:
        kind = kind if kind.startswith("draft") or ids.shape[1] == 1 else self.before
        self.now += seconds + (0.1 if kind != self.before else 0)
        self.before = kind
        return np.zeros((1, ids.shape[1], 7))


def test_a_burst_is_timed_behind_its_first_round(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = Clocked(monkeypatch)
    found = time_rounds(decoder, [[1, 2, 3], [4, 5]], [ONE, OTHER], (2, 4))  # type: ignore[arg-type]
    for skipped, per_draft in ((ONE, 7.0), (OTHER, 5.0)):
        costs = found[skipped].costs(predicted)
        assert draft_cost(costs, skipped) == pytest.approx(per_draft / 11)  # with 1 ms to cache its token
        assert verify_cost(costs, 4) == pytest.approx(15 / 11)
        assert verify_cost(costs, 3) == pytest.approx(15 / 11)  # runs at the next width
        assert verify_cost(costs, 8) == pytest.approx(15 / 11 * 4.8 / 4.4)  # beyond: as predicted
        assert speculate(costs, skipped, 1.0, 3).round_ns == pytest.approx((3 * per_draft + 15) * 1e6)
        assert costs(1).spread == pytest.approx(0.0)


def test_texts_end_in_the_middle_of_their_continuations() -> None:
    texts = random_texts(2, prompt=4, made=6)
    assert [len(text) for text in middles(texts, 64)] == [7, 7]
    assert [len(text) for text in middles(texts, 5)] == [5, 5]


def test_what_was_timed_decides(grown: tuple[Oracle, Oracle]) -> None:
    """The search's choice turns out slow on this machine: another of the few best sets is taken, or none applies."""
    asked: list[Sequence[Skips]] = []

    def flat(width: int) -> StepCosts:
        return StepCosts((1.0,) * 12, 1.0)

    def timer(draft: Mapping[bool, float]) -> object:
        def timed(sets: Sequence[Skips], widest: int) -> dict[Skips, Costs]:
            asked.append(sets)
            assert 2 <= widest <= 10
            return {s: _constant(draft[s == sets[0]]) for s in sets}

        return timed

    options = SkipOptions(evaluations=40, margin=0.02)
    decided = [
        decide_skips(*grown, flat, options, timer=timer(draft))  # type: ignore[arg-type]
        for draft in ({True: 9.0, False: 3.0}, {True: 14.0, False: 14.0})
    ]
    assert decided[0].apply
    assert frozenset(decided[0].skipped) in asked[0][1:]
    assert decided[0].point.step_ns == 13.0
    assert not decided[1].apply


def _constant(draft: float) -> Costs:
    nothing = (0.0,) * 12
    return lambda width: StepCosts(nothing, 13.0, draft=StepCosts(nothing, draft))
