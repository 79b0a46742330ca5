"""SWIFT's draft tree (arXiv 2410.06916), evaluated on what the oracle recorded; `seerc generate` does not run it.

Every drafted position proposes its likeliest tokens, the more the less sure it is; only the likeliest is drafted on
from, so the tree is a comb. Verification takes all of them in one step under a tree mask: where the full model's token
is not the likeliest but among the others, it is accepted, and the full model's next token after it comes for free.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np

from compiler.adapt.costs import Costs
from compiler.adapt.oracle import Measured
from compiler.adapt.speculation import LONGEST_DRAFT, Speculation, repeated_ns, step_ns

CANDIDATES = ((0.95, 3), (0.8, 5), (0.5, 8), (0.0, 10))
"""(probability above which, how many): of greedy decoding (`get_choices_list`)."""


@dataclass(frozen=True)
class CombRound:
    """Tokens that a round yields, tokens drafted one after the other, tokens that are verified together."""

    tokens: int
    drafted: int
    width: int


def comb_rounds(measured: Measured, stop_below: float, longest: int = LONGEST_DRAFT) -> list[CombRound]:
    """A round from every start that has `longest` tokens before it."""
    return [
        _round(agrees[start:], confidence[start:], rank[start:], stop_below, longest)
        for agrees, confidence, rank, valid in _texts(measured)
        for start in range(int(valid.sum()) - longest + 1)
    ]


def _texts(measured: Measured) -> Iterator[tuple[np.ndarray, ...]]:
    return zip(measured.agrees, measured.confidence, measured.rank, measured.valid, strict=True)


def _round(agrees: np.ndarray, confidence: np.ndarray, rank: np.ndarray, stop_below: float, longest: int) -> CombRound:
    unsure = np.flatnonzero(confidence[: longest - 1] < stop_below)
    drafted = int(unsure[0]) + 1 if len(unsure) else longest
    counts = [next(count for above, count in CANDIDATES if p >= above) for p in confidence[:drafted]]
    wrong = np.flatnonzero(~agrees[:drafted])
    accepted = int(wrong[0]) if len(wrong) else drafted
    saved = accepted < drafted and rank[accepted] < counts[accepted]
    return CombRound(accepted + 1 + int(saved), drafted, 1 + sum(counts))


def speculate_comb(
    costs: Costs, skipped: Collection[int], measured: Measured, stop_below: float, overhead_ns: float = 0.0
) -> Speculation:
    """The point of a skip set, as if a step of every width were compiled."""
    one, rounds = costs(1), comb_rounds(measured, stop_below)
    first, again = step_ns(one, skipped), repeated_ns(one, skipped)
    times = [first + (r.drafted - 1) * again + step_ns(costs(r.width)) + overhead_ns for r in rounds]
    tokens = float(np.mean([r.tokens for r in rounds]))
    return Speculation(LONGEST_DRAFT, tokens, float(np.mean(times)), step_ns(one), stop_below)
