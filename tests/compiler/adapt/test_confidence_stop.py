"""A confidence stop priced from what the oracle recorded, beside rounds that are played one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.adapt.confidence_stop import best_stopping, draft_chances, speculate_stopping
from compiler.adapt.costs import StepCosts
from compiler.adapt.oracle import Measured, Oracle
from compiler.adapt.skip import SkipOptions, decide_skips
from compiler.adapt.speculation import best_speculation, expected_tokens, speculate
from tests.compiler.adapt.test_speculation import flat


def texts_of(agrees: np.ndarray, confidence: np.ndarray, valid: np.ndarray | None = None) -> Measured:
    nothing = np.zeros(agrees.shape, np.float32)
    valid = np.ones(agrees.shape, np.bool_) if valid is None else valid
    return Measured(frozenset({1, 2}), agrees, nothing, nothing, valid, confidence, (~agrees).astype(np.int64))


def played(measured: Measured, longest: int, below: float) -> tuple[float, float]:
    """Mean tokens and mean drafts of rounds from every start that has `longest` tokens before it."""
    tokens, drafts = list[int](), list[int]()
    for agrees, confidence in zip(measured.agrees, measured.confidence, strict=True):
        for start in range(len(agrees) - longest + 1):
            unsure = next((j for j in range(longest - 1) if confidence[start + j] < below), longest - 1)
            drafts.append(unsure + 1)
            rejected = next((j for j in range(unsure + 1) if not agrees[start + j]), unsure + 1)
            tokens.append(rejected + 1)
    return float(np.mean(tokens)), float(np.mean(drafts))


def correlated(seed: int, texts: int = 60, length: int = 80) -> Measured:
    """A draft that is right as often as it is sure."""
    random = np.random.default_rng(seed)
    confidence = random.choice([0.35, 0.75, 0.97], (texts, length), p=[0.3, 0.3, 0.4])
    return texts_of(random.random(confidence.shape) < confidence, confidence)


@pytest.mark.parametrize("below", [0.5, 0.8, 1.0])
@pytest.mark.parametrize("longest", [1, 4, 8])
def test_chances_are_those_of_rounds(longest: int, below: float) -> None:
    measured = correlated(0)
    chances = draft_chances(measured, longest, below)
    tokens, drafts = played(measured, longest, below)
    assert chances.expected_tokens == pytest.approx(tokens, rel=0.02)
    assert sum(chances.drafted) == pytest.approx(drafts, rel=0.02)
    assert sum(chances.lengths()) == pytest.approx(1)
    if below == 1.0:  # never sure: one token a round
        assert sum(chances.drafted) == 1


@given(st.integers(0, 1000), st.integers(1, 12))
def test_without_doubt_there_is_no_stop(seed: int, longest: int) -> None:
    random = np.random.default_rng(seed)
    agrees = random.random((5, 30)) < 0.8
    lengths = random.integers(1, 31, 5)
    measured = texts_of(agrees, np.ones(agrees.shape), np.arange(30) < lengths[:, None])
    chances = draft_chances(measured, longest, 0.8)
    assert chances.drafted == (1.0,) * longest
    assert chances.expected_tokens == pytest.approx(expected_tokens(measured.by_position(longest), longest))


def test_padding_to_the_next_width_is_paid_for() -> None:
    def costs(width: int) -> StepCosts:
        return StepCosts((1.0 * width,) * 4, 0.0)

    measured = texts_of(np.ones((1, 40), np.bool_), np.tile([0.9, 0.5], (1, 20)))  # drafts of 1 and of 2, as often
    chances = draft_chances(measured, 6, 0.8)
    assert chances.lengths() == pytest.approx([0.5, 0.5, 0, 0, 0, 0], abs=0.02)
    point = speculate_stopping(costs, (1, 2), chances, 0.8)
    drafts, verification = 1.5 * 2, (2 + 4) / 2 * 4  # widths 2 and 4 stand for 2 and 3 tokens
    assert point.round_ns == pytest.approx(drafts + verification, rel=0.03)
    assert (point.draft_length, point.stop_below) == (6, 0.8)


def test_a_stop_pays_where_a_draft_knows_when_it_is_right() -> None:
    measured, costs = correlated(1), flat(10, 0.02)
    stopping = best_stopping(costs, measured.skipped | {3, 4, 5, 6, 7}, measured)
    plain = best_speculation(costs, measured.skipped | {3, 4, 5, 6, 7}, measured.by_position(8))
    assert stopping.speedup > plain.speedup
    lowered = best_stopping(costs, measured.skipped, measured, 0.9)
    assert lowered.speedup < best_stopping(costs, measured.skipped, measured).speedup


def test_the_chooser_takes_the_stop_only_where_it_is_surer(grown: tuple[Oracle, Oracle]) -> None:
    decision = decide_skips(*grown, flat(12), SkipOptions(evaluations=40, margin=0.02))
    low, length = decision.low_point, decision.point.draft_length
    assert decision.held_out.confidence[decision.held_out.valid].min() > 0
    if low.stop_below is None:
        assert decision.point == speculate(flat(12), decision.skipped, decision.held_out.by_position(8), length)
    else:
        assert f"ended by a token under {low.stop_below:g}" in decision.why
        chances = draft_chances(decision.held_out, length, low.stop_below)
        assert decision.point.tokens_per_round == pytest.approx(chances.expected_tokens)
