"""The arithmetic of speculation, and the whole chooser for skips on a model with a known answer."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.adapt.confidence import wilson_low
from compiler.adapt.costs import Costs, StepCosts
from compiler.adapt.int8_drafts import Int8Drafts
from compiler.adapt.local_search import Neighbourhood, search
from compiler.adapt.oracle import Oracle
from compiler.adapt.skip import SkipOptions, decide_skips
from compiler.adapt.speculation import (
    best_speculation,
    draft_cost,
    expected_tokens,
    pessimistic,
    speculate,
    verify_cost,
)
from compiler.adapt.stream import ResidualStream
from compiler.adapt.trials import Trials
from tests.compiler.adapt.conftest import build, random_texts

RATES = st.floats(0, 1, allow_nan=False)


def flat(blocks: int, growth: float = 0.0, rest: float = 1.0) -> Costs:
    """Each sub-block 1 ns, the rest `rest`, all growing by `growth` a further token."""
    return lambda width: StepCosts((1 + growth * (width - 1),) * blocks, rest * (1 + growth * (width - 1)))


def simulated_round(rates: list[float], length: int, generator: random.Random) -> int:
    made = 1
    for position in range(length):
        if generator.random() >= rates[min(position, len(rates) - 1)]:
            break
        made += 1
    return made


@given(RATES.filter(lambda a: a < 0.999), st.integers(1, 25))
def test_expected_tokens_is_the_closed_form(rate: float, length: int) -> None:
    assert expected_tokens(rate, length) == pytest.approx((1 - rate ** (length + 1)) / (1 - rate))
    assert expected_tokens([rate] * 3, length) == pytest.approx(expected_tokens(rate, length))


def test_expected_tokens_agrees_with_simulated_rounds() -> None:
    generator, rates = random.Random(0), [0.9, 0.8, 0.6]
    rounds = [simulated_round(rates, 5, generator) for _ in range(20_000)]
    assert expected_tokens(rates, 5) == pytest.approx(sum(rounds) / len(rounds), abs=0.05)


def test_published_orders_of_magnitude() -> None:
    """a = .98, c = .55: 1.54 where verification is free (SWIFT's band), about 1.28 with PyTorch's on a CPU."""
    free = flat(100, rest=0.0)
    assert draft_cost(free, range(45)) == pytest.approx(0.55)
    assert best_speculation(free, range(45), 0.98).speedup == pytest.approx(1.54, abs=0.02)
    widths, measured = (1, 2, 3, 4, 6, 8, 16, 26), (1, 1.85, 2.2, 1.82, 1.98, 2.19, 2.6, 3.1)

    def dear(width: int) -> StepCosts:
        return StepCosts((float(np.interp(width, widths, measured)),) * 100, 0.0)

    assert verify_cost(dear, 8) == pytest.approx(2.19)
    assert best_speculation(dear, range(45), 0.98).speedup == pytest.approx(1.28, abs=0.03)


@given(st.floats(0.3, 0.99), RATES, st.floats(0, 0.5), st.integers(0, 18))
def test_the_scan_finds_the_best_draft_length(rest: float, rate: float, growth: float, skipped: int) -> None:
    costs = flat(20, growth, rest * 10)
    best = best_speculation(costs, range(skipped), rate, longest=12)
    assert best.speedup == max(speculate(costs, range(skipped), rate, k).speedup for k in range(1, 13))


def test_one_draft_pays_exactly_when_acceptance_covers_it() -> None:
    """K = 1: G > 1 iff a > c + v(2) - 1."""
    costs = flat(10, 0.05, 0.0)
    threshold = draft_cost(costs, range(3)) + verify_cost(costs, 2) - 1
    assert speculate(costs, range(3), threshold + 0.01, 1).speedup > 1
    assert speculate(costs, range(3), threshold - 0.01, 1).speedup < 1


def test_pessimistic_times_lower_the_gain() -> None:
    def unsure(width: int) -> StepCosts:
        return StepCosts((1.0,) * 10, 2.0, spread=0.1)

    low = pessimistic(unsure, range(5))
    assert low(1).blocks == pytest.approx((0.9,) * 5 + (1.1,) * 5)
    assert low(1).rest == pytest.approx(2.2)
    assert draft_cost(low, range(5)) > draft_cost(unsure, range(5))
    assert speculate(low, range(5), 0.9, 4).speedup < speculate(unsure, range(5), 0.9, 4).speedup


def test_wilson_bound() -> None:
    assert wilson_low(0, 0) == 0.0
    assert wilson_low(90, 100, 0.975) == pytest.approx(0.8256, abs=1e-3)  # the two-sided 95 % interval of 90 / 100
    assert wilson_low(900, 1000) > wilson_low(90, 100)
    assert wilson_low(100, 100) < 1.0


def test_blocks_that_add_nothing_are_skipped_and_the_draft_applied(grown: tuple[Oracle, Oracle]) -> None:
    calibration, held_out = grown
    decision = decide_skips(calibration, held_out, flat(12), SkipOptions(evaluations=40, margin=0.02))
    assert decision.apply
    assert {3, 4, 7, 8} <= set(decision.skipped)
    # of 52 held-out tokens all are accepted; the bound on that, .95, asks for short drafts
    assert decision.held_out.acceptance == 1.0
    expected = speculate(flat(12), (3, 4, 7, 8), 1.0, decision.point.draft_length).speedup
    assert decision.point.speedup == pytest.approx(expected)
    assert 1.02 < decision.low_point.speedup < decision.point.speedup
    assert decision.evaluations <= 40
    saved = [point.time_saved for point in decision.front]
    assert saved == sorted(saved)
    assert all(a.acceptance > b.acceptance for a, b in itertools.pairwise(decision.front))


def test_dear_verification_is_refused_in_numbers(grown: tuple[Oracle, Oracle]) -> None:
    calibration, held_out = grown
    decision = decide_skips(calibration, held_out, flat(12, growth=1.0), SkipOptions(evaluations=30))
    assert not decision.apply
    assert decision.point.speedup < 1
    assert f"{decision.held_out.acceptance:.3f}" in decision.why
    assert "not surely above 1.05" in decision.why


@pytest.mark.parametrize("rest", [0.0, 6.0])
def test_search_is_within_two_percent_of_all_sets(grown: tuple[Oracle, Oracle], rest: float) -> None:
    """12 sub-blocks, of which 8 may be skipped: the best of all 256 sets by measured overlap, and 60 evaluations."""
    oracle, costs = grown[0], flat(12, 0.02, rest)
    choosable = oracle.stream.choosable
    sets = [frozenset(s) for n in range(1, 9) for s in itertools.combinations(choosable, n)]

    def gain(skipped: frozenset[int], acceptance: float) -> float:
        return best_speculation(costs, skipped, acceptance).speedup if skipped else 0.0

    exhaustive = max(gain(s, oracle.measure(s).mean_overlap) for s in sets)
    trials = Trials(oracle, 60)
    found = search(trials, [frozenset({5})], gain, Neighbourhood(choosable, resize=True))
    assert gain(found.skipped, found.mean_overlap) >= 0.98 * exhaustive
    assert trials.spent <= 60


def test_drafts_of_another_program_are_priced_as_such() -> None:
    draft = StepCosts((0.25,) * 10, 0.5, spread=0.1)

    def costs(width: int) -> StepCosts:
        return StepCosts((1.0,) * 10, 2.0, spread=0.1, draft=draft if width == 1 else None)

    assert draft_cost(costs, ()) == pytest.approx(3 / 12)
    assert draft_cost(costs, {1, 2}) == pytest.approx(2.5 / 12)
    point = speculate(costs, (), 1.0, 3)
    assert point.speedup == pytest.approx(4 * 12 / (3 * 3 + 12))
    low = pessimistic(costs, ())
    assert draft_cost(low, ()) == pytest.approx(3 * 1.1 / (12 * 0.9))
    assert verify_cost(low, 4) == pytest.approx(1.0)


def test_without_skips_8_bit_drafts_may_be_all_that_pays(grown: tuple[Oracle, Oracle]) -> None:
    """Where every sub-block matters and drafts are cheap, nothing is skipped; the draft's own errors are measured."""
    stream = ResidualStream(build("llama", 4, 0.3))
    drafting = Int8Drafts(stream)
    parts = [Oracle(stream, random_texts(8, seed=seed), drafting) for seed in (1, 2)]
    draft = StepCosts((0.1,) * 8, 0.1)
    found = decide_skips(*parts, lambda w: StepCosts((1.0,) * 8, 1.0, draft=draft), SkipOptions(evaluations=20))
    assert found.apply
    assert found.skipped == ()
    assert 0 < found.held_out.mean_kl < 0.1
    assert found.point.speedup > 2
    assert "weights of 8 bits" in found.why
