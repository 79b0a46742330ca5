"""P2: the multiple-choice knapsack: one variant for each sub-block, least time within a loss budget.

Exact up to a certified gap: dynamic programming over latency in units, each variant's time rounded *down*. That is a
relaxation, so its value bounds every selection from below, and its own selection costs at most one unit a block more.
The linear relaxation (Lagrangian dual, Sinha & Zoltners 1979) gives the second bound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from costmodel.errors import SeercError

UNITS = 1 << 15


@dataclass(frozen=True)
class Variant:
    """One way to compute a block: its name, time (ns) and loss (nats of KL, or any additive measure), both >= 0."""

    name: str
    time: float
    loss: float


@dataclass(frozen=True)
class Selection:
    """`chosen[b]` indexes the variants of block b; `bound` is a time that no selection within the budget beats."""

    chosen: tuple[int, ...]
    time: float
    loss: float
    bound: float

    @property
    def gap(self) -> float:
        """(time - bound) / time: how far from the best this can be at most."""
        return (self.time - self.bound) / self.time if self.time else 0.0


Blocks = Sequence[Sequence[Variant]]


def cheapest(blocks: Blocks, budget: float, units: int = UNITS) -> Selection:
    """The selection of least time with sum of losses <= budget.

    Args:
        blocks: the variants of each block, at least one each.
        budget: the largest sum of losses.
        units: of latency, in the time of all slowest variants together; the gap is at most blocks / units of that.

    Raises:
        SeercError: no selection meets the budget.
    """
    least = sum(min(variant.loss for variant in variants) for variants in blocks)
    if least > budget * (1 + 1e-12):
        raise SeercError(f"no selection loses at most {budget:g}: the least possible is {least:g}")
    unit = sum(max(variant.time for variant in variants) for variants in blocks) / units or 1.0
    table, steps = _tabulate(blocks, unit)
    used = int(np.argmax(table <= budget + 1e-12 * (1 + abs(budget))))  # the first entry within the budget
    chosen = _backtrack(steps, used, blocks, unit)
    picked = [variants[index] for variants, index in zip(blocks, chosen, strict=True)]
    bound = max(used * unit, linear_bound(blocks, budget))
    time = math.fsum(variant.time for variant in picked)
    return Selection(chosen, time, math.fsum(variant.loss for variant in picked), min(bound, time))


def front(blocks: Blocks, units: int = UNITS) -> list[Selection]:
    """Every selection on the (time, loss) Pareto front of the table, fastest first, without bounds of their own."""
    unit = sum(max(variant.time for variant in variants) for variants in blocks) / units or 1.0
    table, steps = _tabulate(blocks, unit)
    result: list[Selection] = []
    least = math.inf
    for used in np.flatnonzero(np.isfinite(table)):
        if table[used] < least - 1e-15:
            least = float(table[used])
            chosen = _backtrack(steps, int(used), blocks, unit)
            picked = [variants[index] for variants, index in zip(blocks, chosen, strict=True)]
            result.append(Selection(chosen, sum(v.time for v in picked), sum(v.loss for v in picked), used * unit))
    return result


def _tabulate(blocks: Blocks, unit: float) -> tuple[np.ndarray, list[np.ndarray]]:
    """(least loss by latency used exactly, the variant that each entry took by block)."""
    size = sum(max(int(variant.time / unit) for variant in variants) for variants in blocks) + 1
    table = np.full(size, np.inf)
    table[0] = 0.0
    steps: list[np.ndarray] = []
    for variants in blocks:
        best, step = np.full(size, np.inf), np.zeros(size, np.int16)
        for index, variant in enumerate(variants):
            weight = int(variant.time / unit)
            reached = np.full(size, np.inf)
            reached[weight:] = table[: size - weight] + variant.loss
            better = reached < best
            best[better], step[better] = reached[better], index
        table = best
        steps.append(step)
    return table, steps


def _backtrack(steps: list[np.ndarray], used: int, blocks: Blocks, unit: float) -> tuple[int, ...]:
    chosen: list[int] = []
    for step, variants in zip(reversed(steps), reversed(blocks), strict=True):
        chosen.append(int(step[used]))
        used -= int(variants[chosen[-1]].time / unit)
    return tuple(reversed(chosen))


def linear_bound(blocks: Blocks, budget: float) -> float:
    """The Lagrangian dual: max over l >= 0 of sum_b min_m (time + l loss) - l budget, concave in l; ternary search."""
    times = [np.array([variant.time for variant in variants]) for variants in blocks]
    losses = [np.array([variant.loss for variant in variants]) for variants in blocks]

    def dual(multiplier: float) -> float:
        relaxed = sum(float((t + multiplier * d).min()) for t, d in zip(times, losses, strict=True))
        return relaxed - multiplier * budget

    every = np.concatenate(losses)
    least = float(every[every > every.max() * 1e-9].min(initial=np.inf))  # a larger multiplier cannot help much
    low, high = 0.0, max(float(t.max()) for t in times) / least + 1.0
    for _ in range(200):
        third = (high - low) / 3
        low, high = (low + third, high) if dual(low + third) < dual(high - third) else (low, high - third)
    return max(dual(0.0), dual((low + high) / 2))
