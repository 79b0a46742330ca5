"""The knapsack against exhaustive search, its bounds, and mixture-of-depths capacities."""

from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.adapt.capacity import CAPACITIES, choose_capacities, expected_ns
from compiler.adapt.knapsack import Blocks, Variant, cheapest, front, linear_bound
from costmodel.errors import SeercError

NUMBERS = st.floats(0.01, 10, allow_nan=False)


@st.composite
def twelve_blocks(draw: st.DrawFn) -> Blocks:
    """12 blocks, each whole (no loss) or skipped (no time, some loss); a third variant for two of them."""
    blocks = [[Variant("full", draw(NUMBERS), 0.0), Variant("skip", 0.0, draw(NUMBERS))] for _ in range(12)]
    for block in blocks[:2]:
        share = draw(st.floats(0.1, 0.9))
        block.append(Variant("low", block[0].time * share, block[1].loss * draw(st.floats(0.0, 1.0))))
    return blocks


def exhaustive(blocks: Blocks, budget: float) -> float:
    times, losses = np.zeros(1), np.zeros(1)
    for variants in blocks:
        times = np.add.outer(times, [v.time for v in variants]).ravel()
        losses = np.add.outer(losses, [v.loss for v in variants]).ravel()
    return float(times[losses <= budget].min())


@settings(deadline=None, max_examples=25)
@given(twelve_blocks(), st.floats(0.05, 0.95))
def test_within_the_gap_of_the_best_of_all_selections(blocks: Blocks, share: float) -> None:
    budget = share * sum(variants[1].loss for variants in blocks)
    found, best = cheapest(blocks, budget, units=1 << 12), exhaustive(blocks, budget)
    total = sum(variants[0].time for variants in blocks)
    assert found.loss <= budget * (1 + 1e-9)
    assert found.bound <= best + 1e-9 * total
    assert best <= found.time + 1e-9 * total
    assert found.time <= best + 13 * total / (1 << 12)
    assert linear_bound(blocks, budget) <= best + 1e-6 * total


def test_at_the_size_of_a_model_the_gap_is_small() -> None:
    generator = random.Random(0)
    for _ in range(5):
        blocks = [
            [Variant("full", t := generator.uniform(0.7, 1.4), 0.0), Variant("skip", 0.0, generator.expovariate(20))]
            + [Variant(f"{r}", t * r * 1.37, generator.expovariate(100)) for r in (0.25, 0.5)]
            for _ in range(56)
        ]
        for budget in (0.02, 0.1, 0.5):
            found = cheapest(blocks, budget)
            assert 0 <= found.gap <= 0.02
            assert found.loss <= budget


def test_nothing_fits() -> None:
    with pytest.raises(SeercError, match="the least possible is 3"):
        cheapest([[Variant("a", 1.0, 1.0)], [Variant("b", 1.0, 2.0)]], 2.0)
    assert cheapest([[Variant("a", 1.0, 1.0)], [Variant("b", 1.0, 2.0)]], 3.0).chosen == (0, 0)


def test_the_front_falls_and_ends_with_no_loss() -> None:
    generator = random.Random(1)
    blocks = [[Variant("full", 1.0, 0.0), Variant("skip", 0.0, generator.random())] for _ in range(8)]
    points = front(blocks)
    assert len(points) == 9
    assert all(a.time < b.time and a.loss > b.loss for a, b in itertools.pairwise(points))
    cheap = sorted(variants[1].loss for variants in blocks)
    for point in points:
        assert point.loss == pytest.approx(sum(cheap[: 8 - round(point.time)]))


@given(st.integers(1, 12), st.sampled_from(CAPACITIES[:-1]))
def test_expected_time_is_the_sum_over_all_outcomes(batch: int, capacity: float) -> None:
    expected = sum(
        math.comb(batch, width) * capacity**width * (1 - capacity) ** (batch - width) * (5 + width)
        for width in range(1, batch + 1)
    )
    assert expected_ns(lambda width, _: 5 + width, batch, capacity, 2.0) == pytest.approx(expected + 2.0)
    assert expected_ns(lambda width, _: 5 + width, batch, 1.0, 2.0) == 5 + batch


def test_batches_take_the_gain_of_a_half_capacity_away() -> None:
    """Memory-bound layers (time without width): at B = 1 half the time is saved, at B = 8 nearly nothing."""
    losses = [[9.0, 9.0, 0.1, 0.0]] * 4
    assert choose_capacities([lambda _, __: 1.0] * 4, losses, 1, 1.0).time == pytest.approx(2.0)
    batched = choose_capacities([lambda _, __: 1.0] * 4, losses, 8, 1.0)
    assert batched.time == pytest.approx(4 * (1 - 0.5**8))
    assert choose_capacities([lambda _, __: 1.0] * 4, losses, 8, 1.0, router_ns=0.1).chosen == (3, 3, 3, 3)
