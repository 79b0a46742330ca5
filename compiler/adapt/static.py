"""`--method static` (P2): a lossy program under a KL budget: each sub-block whole, left out, or computed another way.

The knapsack adds up the losses of single changes, which is not what a combination loses: if that is measured to be too
much, the budget of the sum is lowered. The changed network reads its own keys and values, as the program will.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from compiler.adapt.alternatives import COMPILED, Alternative, Int8, LowRank, SmallFfn, all_applied
from compiler.adapt.costs import Costs
from compiler.adapt.knapsack import Selection, Variant, cheapest, front
from compiler.adapt.oracle import Oracle
from compiler.adapt.plan import Plan
from compiler.adapt.speculation import step_ns
from compiler.adapt.variant_times import Times

FULL, SKIP = "full", "skip"
ATTEMPTS = 6
"""Budgets of the sum that are tried."""


@dataclass(frozen=True)
class Change:
    """What a program does differently: sub-blocks left out, and those computed another way."""

    skipped: frozenset[int]
    ways: dict[int, Alternative]

    @property
    def ranks(self) -> tuple[tuple[int, int], ...]:
        """(sub-block, rank) of factored FFNs."""
        return tuple((b, way.rank(b)) for b, way in sorted(self.ways.items()) if isinstance(way, LowRank))

    @property
    def neurons(self) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """(sub-block, neurons kept) of small FFNs."""
        return tuple((b, way.kept(b)) for b, way in sorted(self.ways.items()) if isinstance(way, SmallFfn))

    @property
    def int8(self) -> tuple[int, ...]:
        """Sub-blocks with 8-bit weights."""
        return tuple(b for b, way in sorted(self.ways.items()) if isinstance(way, Int8))

    @property
    def compiles(self) -> bool:
        """Whether `seerc generate` can run it."""
        return all(way.kind in COMPILED for way in self.ways.values())


@dataclass(frozen=True)
class StaticDecision:
    """The selection, what it is predicted to lose and really loses (nats a token), and the time it saves."""

    change: Change
    selection: Selection
    variants: tuple[tuple[Variant, ...], ...]
    measured_kl: float
    held_out_kl: float
    held_out_agreement: float
    predicted_speedup: float
    front: tuple[tuple[float, float], ...]  # (step time share, summed loss)


@dataclass(frozen=True)
class Choices:
    """By sub-block, the head last, what may be chosen: variants, and the alternative behind each (None: none).

    `rest`: nanoseconds of what there is no choice of.
    """

    variants: tuple[tuple[Variant, ...], ...]
    ways: tuple[tuple[Alternative | None, ...], ...]
    rest: float

    def change(self, chosen: Sequence[int]) -> Change:
        """What a selection changes."""
        names = {block: self.variants[block][index].name for block, index in enumerate(chosen)}
        ways = {block: way for block, index in enumerate(chosen) if (way := self.ways[block][index]) is not None}
        return Change(frozenset(block for block, name in names.items() if name == SKIP), ways)


def measure_choices(
    oracle: Oracle,
    costs: Costs,
    ways: Sequence[Alternative],
    times: Times,
    skip: bool = True,
    tell: Callable[[str], None] = lambda _: None,
    known: Mapping[tuple[int, str], float] | None = None,
) -> Choices:
    """Time and loss of every variant of every sub-block and of the head; the first and the last layer stay whole.

    `known`: losses measured before, by sub-block and variant.
    """
    losses = dict(known or {})

    def loss(block: int, name: str, change: Change) -> float:
        if (block, name) not in losses:
            losses[block, name] = max(0.0, measure(oracle, change)[0])
        return losses[block, name]

    oracle.keep_streams()
    variants: list[tuple[Variant, ...]] = []
    behind: list[tuple[Alternative | None, ...]] = []
    one, choosable = costs(1), oracle.stream.choosable
    for block, time in enumerate((*one.blocks, one.head)):
        fitting = [way for way in ways if way.fits(block)] if block in choosable or block == len(one.blocks) else []
        tell(f"sub-block {block}")
        row = [Variant(FULL, time, 0.0)]
        if skip and block in choosable:
            row.append(Variant(SKIP, 0.0, loss(block, SKIP, Change(frozenset({block}), {}))))
        for way in fitting:
            lost = loss(block, way.name, Change(frozenset(), {block: way}))
            row.append(Variant(way.name, times(block, way), lost))
        behind.append((*[None] * (len(row) - len(fitting)), *fitting))
        variants.append(tuple(row))
    return Choices(tuple(variants), tuple(behind), one.rest - one.head)


def decide_static(
    choices: Choices,
    calibration: Oracle,
    held_out: Oracle,
    costs: Costs,
    budget: float,
    tell: Callable[[str], None] = lambda _: None,
) -> StaticDecision:
    """The fastest program found that loses at most `budget` nats a token on the calibration texts, all together."""
    tell("combinations")
    selection, seen = _within(choices, calibration, budget)
    change = choices.change(selection.chosen)
    kl, agreement = measure(held_out, change)
    one = costs(1)
    return StaticDecision(
        change=change,
        selection=selection,
        variants=choices.variants,
        measured_kl=seen,
        held_out_kl=kl,
        held_out_agreement=agreement,
        predicted_speedup=step_ns(one) / (selection.time + choices.rest),
        front=tuple(
            ((point.time + choices.rest) / step_ns(one), point.loss) for point in front(choices.variants, units=512)
        ),
    )


def _within(choices: Choices, oracle: Oracle, budget: float) -> tuple[Selection, float]:
    """The first selection whose measured loss keeps to the budget, as that of the sum falls; at last no change."""
    allowed = budget
    for _ in range(ATTEMPTS):
        selection = cheapest(choices.variants, allowed)
        loss = measure(oracle, choices.change(selection.chosen))[0]
        if loss <= budget:
            return selection, loss
        allowed = min(allowed, selection.loss) * max(0.3, 0.95 * budget / loss)
    return cheapest(choices.variants, 0.0), 0.0


def measure(oracle: Oracle, change: Change) -> tuple[float, float]:
    """(KL(full || changed), share of equal first choices)."""
    since = min([*change.skipped, *change.ways], default=0) // 2
    with all_applied(change.ways):
        return oracle.lossy(change.skipped, since if oracle.has_streams else 0)


def static_plan(found: StaticDecision, budget: float, batch: int, context: int) -> Plan:
    """The plan of a decision; refused where nothing changes, held-out texts lose too much, or kernels are missing."""
    why = (
        f"together the changes lose {found.measured_kl:.4f} nats a token on calibration and {found.held_out_kl:.4f} on "
        f"held-out texts (budget {budget:g}; one by one they sum to {found.selection.loss:.4f}); no selection within "
        f"that sum is more than {found.selection.gap:.2%} faster"
    )
    if not found.change.compiles:
        why = f"there are no kernels for some of its variants (what if); {why}"
    applies = any(found.selection.chosen) and found.held_out_kl <= budget and found.change.compiles
    return Plan(
        method="static",
        decision="apply" if applies else "refuse",
        why=why,
        batch=batch,
        context=context,
        skipped=tuple(sorted(found.change.skipped)),
        draft_length=0,
        acceptance=found.held_out_agreement,
        acceptance_low=None,
        predicted_speedup=found.predicted_speedup,
        predicted_speedup_low=found.predicted_speedup,
        low_rank=found.change.ranks,
        small_ffn=found.change.neurons,
        int8=found.change.int8,
    )
