"""P1: what lossless self-speculation gains for a skip set, and the best draft length.

A round drafts K tokens with the skipped network, one at a time, then verifies them with the full network in one step of
width K + 1; it yields the accepted drafts and one token of the full network. Leviathan et al., arXiv 2211.17192, with
the draft's cost and the verification's width priced by predictions.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from compiler.adapt.costs import Costs, StepCosts, drafting

LONGEST_DRAFT = 25


@dataclass(frozen=True)
class Speculation:
    """One operating point: draft length K, tokens a round, the nanoseconds of a round and of a plain step.

    With `stop_below`, K is the longest draft: a token of lower probability is its round's last.
    """

    draft_length: int
    tokens_per_round: float
    round_ns: float
    step_ns: float
    stop_below: float | None = None

    @property
    def speedup(self) -> float:
        """Tokens per second over the plain program's."""
        return self.tokens_per_round * self.step_ns / self.round_ns


def step_ns(costs: StepCosts, skipped: Collection[int] = ()) -> float:
    """Nanoseconds of one step without the skipped sub-blocks: sum of t_b over the others, and the rest."""
    return sum(time for block, time in enumerate(costs.blocks) if block not in skipped) + costs.rest


def repeated_ns(costs: StepCosts, skipped: Collection[int]) -> float:
    """Nanoseconds of a step without the skipped sub-blocks, right after another such step."""
    return step_ns(costs, skipped) if costs.again is None else costs.again(frozenset(skipped))


def pessimistic(costs: Costs, skipped: Collection[int]) -> Costs:
    """The least favourable costs within their spread: what is skipped costs less than predicted, what is kept more.

    Where drafts are another program, that one costs more, and the full one less.
    """
    apart = costs(1).draft is not None

    def low(width: int) -> StepCosts:
        one = costs(width)
        if apart:
            draft = one.draft and _scaled(one.draft, 1 + one.draft.spread)
            return replace(_scaled(one, 1 - one.spread), draft=draft)
        less, more = 1 - one.spread, 1 + one.spread
        blocks = tuple(time * (less if block in skipped else more) for block, time in enumerate(one.blocks))
        again = one.again
        return StepCosts(blocks, one.rest * more, again=again and (lambda left: more * again(left)))

    return low


def _scaled(costs: StepCosts, factor: float) -> StepCosts:
    again = costs.again
    later = again and (lambda left: factor * again(left))
    return StepCosts(tuple(factor * time for time in costs.blocks), factor * costs.rest, again=later)


def draft_cost(costs: Costs, skipped: Collection[int]) -> float:
    """c(S): time of a draft step over that of a full step, both of width 1."""
    return step_ns(drafting(costs), skipped) / step_ns(costs(1))


def verify_cost(costs: Costs, width: int) -> float:
    """v(q): time of a full step of `width` tokens over that of one token."""
    return step_ns(costs(width)) / step_ns(costs(1))


def expected_tokens(acceptance: float | Sequence[float], draft_length: int) -> float:
    """E[N] of one round.

    Args:
        acceptance: a, the same at every position: (1 - a^(K+1)) / (1 - a); or a_j, the probability that draft token j
            is accepted when those before it were: 1 + sum over j <= K of a_1 ... a_j; the last one holds beyond it.
        draft_length: K.
    """
    total, alive = 1.0, 1.0
    for position in range(draft_length):
        alive *= acceptance if isinstance(acceptance, float | int) else acceptance[min(position, len(acceptance) - 1)]
        total += alive
    return total


def speculate(
    costs: Costs,
    skipped: Collection[int],
    acceptance: float | Sequence[float],
    draft_length: int,
    overhead_ns: float = 0.0,
) -> Speculation:
    """The point of a skip set at one draft length: G = E[N] T1 / (K T_draft + T(K+1) + overhead).

    The first draft follows a full step, which has left the caches to the full model's weights.
    """
    one, draft = costs(1), drafting(costs)
    drafts = step_ns(draft, skipped) + (draft_length - 1) * repeated_ns(draft, skipped)
    spent = drafts + step_ns(costs(draft_length + 1)) + overhead_ns
    return Speculation(draft_length, expected_tokens(acceptance, draft_length), spent, step_ns(one))


def best_speculation(
    costs: Costs,
    skipped: Collection[int],
    acceptance: float | Sequence[float],
    overhead_ns: float = 0.0,
    longest: int = LONGEST_DRAFT,
) -> Speculation:
    """The draft length of 1 to `longest` with the largest speed-up, by scan (v may jump where the kernels change)."""
    points = [speculate(costs, skipped, acceptance, k, overhead_ns) for k in range(1, longest + 1)]
    return max(points, key=lambda point: point.speedup)
