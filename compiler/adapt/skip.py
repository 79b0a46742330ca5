"""`--method skip`: choose the skip set and draft length of lossless self-speculation, or refuse.

With drafts of 8-bit weights the empty skip set is a choice, too, and the first one that is measured.

Hidden-state programming over predicted time gives a set for every budget; the oracle measures some of them; local
search maximises the predicted speed-up G. If there is a timer, rounds of the few best sets are timed and the best of
them is taken by those times. Held-out texts, which nothing was chosen on, decide with a lower bound.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from compiler.adapt.confidence import wilson_low
from compiler.adapt.confidence_stop import best_stopping, draft_chances, speculate_stopping
from compiler.adapt.costs import Costs, drafting
from compiler.adapt.hidden_programming import Unit, program_hidden_states, relative_error
from compiler.adapt.local_search import Neighbourhood, search
from compiler.adapt.oracle import Measured, Oracle, Skips
from compiler.adapt.speculation import (
    Speculation,
    best_speculation,
    draft_cost,
    pessimistic,
    speculate,
    verify_cost,
)
from compiler.adapt.timed_rounds import WIDEST, Timer
from compiler.adapt.trials import Trials

STATES = 24  # budgets that hidden-state programming keeps apart
RUN = 8  # positions of a draft whose acceptance is told apart
TIMED = 3  # skip sets whose rounds are timed, if any are
LONGER = 2  # by how much drafts are timed that are longer than the best predicted ones


@dataclass(frozen=True)
class SkipOptions:
    """How much is spent, and when it is worth it."""

    evaluations: int = 60
    seeds: int = 8
    margin: float = 0.05
    confidence: float = 0.95
    overhead_ns: float = 0.0


@dataclass(frozen=True)
class FrontPoint:
    """A measured set that no other beats in both time saved and acceptance (calibration)."""

    skipped: tuple[int, ...]
    time_saved: float  # share of a plain step
    acceptance: float
    draft_length: int
    predicted_speedup: float


@dataclass(frozen=True)
class SkipDecision:
    """The best set found, what held-out texts say of it, and the decision.

    `low_point`, which decides and has the best draft length, is with the lower bound of the held-out acceptance and the
    least favourable times; `point` is what to expect: the held-out acceptances by position and the predicted times.
    """

    apply: bool
    why: str
    skipped: tuple[int, ...]
    calibration: Measured
    held_out: Measured
    acceptance_low: float
    point: Speculation
    low_point: Speculation
    evaluations: float
    front: tuple[FrontPoint, ...]


def decide_skips(
    calibration: Oracle,
    held_out: Oracle,
    costs: Costs,
    options: SkipOptions,
    tell: Callable[[str], None] = lambda _: None,
    timer: Timer | None = None,
) -> SkipDecision:
    """Search on the calibration texts, decide on the held-out ones.

    Both oracles are of the same stream. `tell` is told what is being done. `timer`: times rounds of the best sets, and
    the decision is made from that; None: from predicted times.
    """
    trials, apart = Trials(calibration, options.evaluations), costs(1).draft is not None

    def gain(skipped: Skips, acceptance: float) -> float:
        return best_speculation(costs, skipped, acceptance, options.overhead_ns).speedup if skipped or apart else 0.0

    tell("hidden-state programming")
    seeds = _spread(list(_programmed(trials, costs).values()), options.seeds)
    seeds = [frozenset[int](), *seeds] if apart else seeds
    tell(f"up to {trials.left} evaluations")
    best, predicted = search(trials, seeds, gain, Neighbourhood(calibration.stream.choosable, resize=True)), costs
    if timer is not None:
        best, costs = _timed_best(timer, _few_best(trials, best, gain), costs, options)
    tell("held-out texts")
    measured = held_out.measure(best.skipped)
    low = wilson_low(measured.hits, measured.tokens, options.confidence)
    rates = held_out.run_acceptance(best.skipped, RUN)
    candidates = _without_stop(costs, measured, rates, options), _with_stop(costs, best, measured, options)
    point, low_point = max(candidates, key=lambda points: points[1].speedup)
    return SkipDecision(
        apply=low_point.speedup > 1 + options.margin,
        why=f"{'with weights of 8 bits and ' * apart}{_why(costs, measured, low, point, low_point, options)}",
        skipped=tuple(sorted(best.skipped)),
        calibration=best,
        held_out=measured,
        acceptance_low=low,
        point=point,
        low_point=low_point,
        evaluations=trials.spent,
        front=_front(trials, predicted, options),
    )


def _few_best(trials: Trials, best: Measured, gain: Callable[[Skips, float], float]) -> list[Measured]:
    """The search's choice, and the other sets that promise most."""
    others = sorted(trials.measured.values(), key=lambda m: -gain(m.skipped, m.acceptance))
    return [best, *(m for m in others if m.skipped != best.skipped)][:TIMED]


def _timed_best(timer: Timer, few: Sequence[Measured], costs: Costs, options: SkipOptions) -> tuple[Measured, Costs]:
    """The one of these sets whose rounds, timed, gain most on the texts that it was chosen on; and its times."""

    def point(one: Measured, costs: Costs) -> Speculation:
        return best_speculation(costs, one.skipped, one.by_position(RUN), options.overhead_ns)

    longest = max(point(one, costs).draft_length for one in few)
    timed = timer([one.skipped for one in few], min(longest + 1 + LONGER, WIDEST))
    best = max(few, key=lambda one: point(one, timed[one.skipped]).speedup)
    return best, timed[best.skipped]


def _without_stop(
    costs: Costs, held_out: Measured, rates: Sequence[float], options: SkipOptions
) -> tuple[Speculation, Speculation]:
    """(what to expect, what is sure) of drafts of one length, accepted at these rates within a round."""
    skipped, overhead = held_out.skipped, options.overhead_ns
    low = wilson_low(held_out.hits, held_out.tokens, options.confidence) / max(held_out.acceptance, 1e-9)
    sure = best_speculation(pessimistic(costs, skipped), skipped, [low * rate for rate in rates], overhead)
    return speculate(costs, skipped, rates, sure.draft_length, overhead), sure


def _with_stop(
    costs: Costs, calibration: Measured, held_out: Measured, options: SkipOptions
) -> tuple[Speculation, Speculation]:
    """The same with a confidence stop: longest draft and threshold from the calibration texts, priced by the others.

    For what is sure, the acceptance of every position is lowered by as much as the bound lowers their mean.
    """
    skipped, overhead, dear = held_out.skipped, options.overhead_ns, pessimistic(costs, held_out.skipped)
    lowered = [
        wilson_low(m.hits, m.tokens, options.confidence) / max(m.acceptance, 1e-9) for m in (calibration, held_out)
    ]
    best = best_stopping(dear, skipped, calibration, lowered[0], overhead)
    length, below = best.draft_length, best.stop_below
    assert below is not None
    expected, sure = (draft_chances(held_out, length, below, factor) for factor in (1.0, lowered[1]))
    return (
        speculate_stopping(costs, skipped, expected, below, overhead),
        speculate_stopping(dear, skipped, sure, below, overhead),
    )


def _programmed(trials: Trials, costs: Costs) -> dict[int, Skips]:
    """A set for every budget, weights proportional to predicted time (whole numbers, the average near 1)."""
    times, choosable = drafting(costs).blocks, trials.oracle.stream.choosable
    average = sum(times[block] for block in choosable) / len(choosable)
    units = [Unit((block,), max(1, round(times[block] / average))) for block in choosable]
    most = max(1, min(STATES, sum(unit.weight for unit in units) * 3 // 4, trials.left // 2))
    return program_hidden_states(trials, units, most, positions=8, likeness=relative_error)


def _spread(sets: Sequence[Skips], count: int) -> list[Skips]:
    """At most `count` of the sets, at even distances over the budgets."""
    count = min(count, len(sets))
    return [sets[int((index + 0.5) * len(sets) / count)] for index in range(count)]


def _front(trials: Trials, costs: Costs, options: SkipOptions) -> tuple[FrontPoint, ...]:
    """Of the measured sets those that none beats in both, most acceptance first."""
    points: list[FrontPoint] = []
    for measured in trials.measured.values():
        best = best_speculation(costs, measured.skipped, measured.acceptance, options.overhead_ns)
        saved = 1 - draft_cost(costs, measured.skipped)
        skipped = tuple(sorted(measured.skipped))
        points.append(FrontPoint(skipped, saved, measured.acceptance, best.draft_length, best.speedup))
    front: list[FrontPoint] = []
    for point in sorted(points, key=lambda point: (-point.time_saved, -point.acceptance)):
        if not front or point.acceptance > front[-1].acceptance:
            front.append(point)
    return tuple(reversed(front))


def _why(
    costs: Costs,
    held_out: Measured,
    low: float,
    point: Speculation,
    low_point: Speculation,
    options: SkipOptions,
) -> str:
    """The decision in one sentence of numbers."""
    width, skipped = point.draft_length + 1, held_out.skipped
    stop = "" if point.stop_below is None else f", ended by a token under {point.stop_below:g},"
    verdict = "at least" if low_point.speedup > 1 + options.margin else "not surely above"
    return (
        f"skipping {len(skipped)} sub-block{'s' * (len(skipped) != 1)}, a draft step costs "
        f"{draft_cost(costs, skipped):.3f} of a plain one and "
        f"{held_out.acceptance:.3f} of drafts are accepted (at least {low:.3f}, {held_out.tokens} held-out tokens); "
        f"verifying {width} tokens costs {verify_cost(costs, width):.2f} steps: at the best draft length "
        f"{point.draft_length}{stop} the speed-up is {point.speedup:.3f}, at the bounds of acceptance and times "
        f"{low_point.speedup:.3f}, {verdict} {1 + options.margin:g}"
    )
