"""Comparing the speed of functions fairly: alternating blocks, medians, spread, ratios with intervals.

In each round every contestant has one block, in an order shuffled anew. Before a block all rest, so that the worker
threads of the others' OpenMP runtimes have gone to sleep, and one call that does not count brings caches and workers
back. A block lasts `seconds` / ROUNDS, at least one call.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

ROUNDS = 12
WARMUP_S = 0.2
REST_S = 0.02
NOISY_SPREAD = 0.10
NOISY_DRIFT = 0.05
NOISE = (
    f"noisy: the blocks' medians of a contestant spread (interquartile range) over more than {NOISY_SPREAD:.0%} of "
    f"their median, or the median of the first half of the rounds differs from that of the second by more than "
    f"{NOISY_DRIFT:.0%}"
)
_RESAMPLES = 1000


@dataclass(frozen=True)
class Contestant:
    """Something to time: `run` does the whole work once."""

    name: str
    run: Callable[[], object]
    version: str = ""


@dataclass(frozen=True)
class Timing:
    """Seconds of every call of a contestant, a tuple a round."""

    rounds: tuple[tuple[float, ...], ...]

    @property
    def medians(self) -> list[float]:
        """Seconds: the median of each round."""
        return [statistics.median(block) for block in self.rounds]

    @property
    def ms(self) -> float:
        """The median of the rounds' medians."""
        return statistics.median(self.medians) * 1e3

    @property
    def iqr_ms(self) -> float:
        """Interquartile range of all calls."""
        low, high = np.percentile([s for block in self.rounds for s in block], [25, 75])
        return float(high - low) * 1e3

    @property
    def spread(self) -> float:
        """Interquartile range of the rounds' medians over their median."""
        low, middle, high = np.percentile(self.medians, [25, 50, 75])
        return float((high - low) / middle)

    @property
    def drift(self) -> float:
        """How far the medians of the first and second half of the rounds are apart, over the median."""
        medians, half = self.medians, len(self.rounds) // 2
        if half == 0:
            return 0.0
        return abs(statistics.median(medians[:half]) - statistics.median(medians[half:])) / statistics.median(medians)

    @property
    def noisy(self) -> bool:
        """See NOISE."""
        return self.spread > NOISY_SPREAD or self.drift > NOISY_DRIFT


@dataclass(frozen=True)
class Ratio:
    """How many times faster ours is: above 1 is faster. [low, high] holds 95 % of the resampled ratios."""

    value: float
    low: float
    high: float


def alternate(
    contestants: Sequence[Contestant], seconds: float = 2.0, rounds: int = ROUNDS, seed: int = 0
) -> dict[str, Timing]:
    """Times of each contestant by name; about `seconds` of timed calls each."""
    for contestant in contestants:
        _block(contestant.run, min(WARMUP_S, seconds))
    order, shuffle = list(contestants), random.Random(seed).shuffle
    blocks: dict[str, list[tuple[float, ...]]] = {c.name: [] for c in contestants}
    for _ in range(rounds):
        shuffle(order)
        for contestant in order:
            time.sleep(REST_S)
            contestant.run()
            blocks[contestant.name].append(_block(contestant.run, seconds / rounds))
    return {name: Timing(tuple(found)) for name, found in blocks.items()}


def _block(run: Callable[[], object], seconds: float) -> tuple[float, ...]:
    """The times of calls for `seconds`, at least one."""
    clock, found = time.perf_counter, list[float]()
    end = clock() + seconds
    while True:
        begin = clock()
        run()
        now = clock()
        found.append(now - begin)
        if now >= end:
            return tuple(found)


def ratio(ours: Timing, peer: Timing, seed: int = 0) -> Ratio:
    """Peer's time over ours, with an interval by resampling whole rounds (both contestants of a round together)."""
    mine, theirs = np.array(ours.medians), np.array(peer.medians)
    picks = np.random.default_rng(seed).integers(0, len(mine), (_RESAMPLES, len(mine)))
    resampled = np.median(theirs[picks], axis=1) / np.median(mine[picks], axis=1)
    low, high = np.percentile(resampled, [2.5, 97.5])
    return Ratio(float(np.median(theirs) / np.median(mine)), float(low), float(high))


def geometric_mean(values: Sequence[float]) -> float:
    """NaN if there are none."""
    return float(np.exp(np.mean(np.log(values)))) if values else float("nan")
