"""P1 with a confidence stop: a draft ends early with the first token that it is not sure of.

A round drafts n <= K tokens; E[N] = 1 + sum over j of P(token j is drafted, and it and all before it are accepted), and
its time is that of n drafts and of a verification of n + 1 tokens, which runs at the next width that is compiled.
Stop: Draft & Verify (arXiv 2309.08168), SWIFT (arXiv 2410.06916: .8, at most 25 drafts).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from compiler.adapt.costs import Costs, drafting
from compiler.adapt.oracle import Measured
from compiler.adapt.speculation import LONGEST_DRAFT, Speculation, repeated_ns, step_ns
from compiler.decode.generate import next_width, verify_widths

THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
LENGTHS = (3, 5, 7, 10, 15, LONGEST_DRAFT)


@dataclass(frozen=True)
class DraftChances:
    """By draft token j = 1 ... K of a round: that it is drafted; that it is drafted and accepted."""

    drafted: tuple[float, ...]
    accepted: tuple[float, ...]

    @property
    def expected_tokens(self) -> float:
        """E[N] of one round: the accepted drafts, and one token of the full model."""
        return 1 + sum(self.accepted)

    def lengths(self) -> list[float]:
        """The probability of 1, 2, ... K drafts."""
        return [one - more for one, more in pairwise((*self.drafted, 0.0))]


def draft_chances(measured: Measured, longest: int, stop_below: float, factor: float = 1.0) -> DraftChances:
    """Counted over all starts of a round; later positions by those texts that reach them.

    Args:
        measured: with the draft's confidence at every position.
        longest: K.
        stop_below: a draft token of lower probability is the last of its round.
        factor: of every acceptance, for a bound.
    """
    going, alive = measured.valid.copy(), measured.valid.copy()
    sure = measured.confidence >= stop_below
    drafted, accepted = [1.0], list[float]()
    go_rate = rate = 0.0
    for place in range(longest):
        inside = _ahead(measured.valid, place)
        if place:
            before = going & inside
            going = before & _ahead(sure, place - 1)
            go_rate = _share(going, before, go_rate)
            drafted.append(drafted[-1] * go_rate)
            alive = alive & inside
            tried, alive = alive, alive & _ahead(sure, place - 1)
            goes_on = _share(alive, tried, go_rate)
        else:
            goes_on = 1.0
        taken = alive & _ahead(measured.agrees, place)
        rate = _share(taken, alive, rate)
        alive = taken
        accepted.append((accepted[-1] if accepted else 1.0) * goes_on * rate * factor)
    return DraftChances(tuple(drafted), tuple(accepted))


def _ahead(values: np.ndarray, shift: int) -> np.ndarray:
    """values[:, i + shift] at i, false beyond the end."""
    result = np.zeros_like(values)
    result[:, : max(0, values.shape[1] - shift)] = values[:, shift:]
    return result


def _share(some: np.ndarray, all_: np.ndarray, otherwise: float) -> float:
    count = int(all_.sum())
    return int(some.sum()) / count if count else otherwise


def speculate_stopping(
    costs: Costs, skipped: Collection[int], chances: DraftChances, stop_below: float, overhead_ns: float = 0.0
) -> Speculation:
    """The point of a skip set, a longest draft and a threshold."""
    one, longest = costs(1), len(chances.drafted)
    widths = verify_widths(longest, stops=True)
    draft = drafting(costs)
    first, again = step_ns(draft, skipped), repeated_ns(draft, skipped)
    verify = {width: step_ns(costs(width)) for width in widths}
    spent = overhead_ns + sum(
        chance * (first + (count - 1) * again + verify[next_width(widths, count + 1)])
        for count, chance in enumerate(chances.lengths(), 1)
    )
    return Speculation(longest, chances.expected_tokens, spent, step_ns(one), stop_below)


def best_stopping(
    costs: Costs, skipped: Collection[int], measured: Measured, factor: float = 1.0, overhead_ns: float = 0.0
) -> Speculation:
    """The longest draft and the threshold of LENGTHS and THRESHOLDS with the largest speed-up."""
    points = [
        speculate_stopping(costs, skipped, draft_chances(measured, longest, below, factor), below, overhead_ns)
        for longest in LENGTHS
        for below in THRESHOLDS
    ]
    return max(points, key=lambda point: point.speedup)
