"""`--method static` (P2): a lossy program under a KL budget: each sub-block whole, left out, or (FFN) of low rank.

Losses are those of single changes, which the knapsack adds up; the true KL of the combination is measured afterwards.
Here the changed network reads its own keys and values, as the lossy program will.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from compiler.adapt.costs import Costs
from compiler.adapt.knapsack import Selection, Variant, cheapest, front
from compiler.adapt.low_rank import FfnFactors
from compiler.adapt.oracle import Oracle
from compiler.adapt.speculation import step_ns

SHARES = (0.5, 0.25)  # of the full rank


@dataclass(frozen=True)
class Change:
    """What a program does differently: sub-blocks left out, and the rank share of truncated FFNs by sub-block."""

    skipped: frozenset[int]
    shares: Mapping[int, float]


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
    ranks: tuple[tuple[int, int], ...]  # (sub-block, rank) of the truncated FFNs
    front: tuple[tuple[float, float], ...]  # (step time share, summed loss)


def decide_static(
    calibration: Oracle, held_out: Oracle, costs: Costs, budget: float, tell: Callable[[str], None] = lambda _: None
) -> StaticDecision:
    """The fastest program whose single losses sum to at most `budget` nats a token, and its measured loss."""
    factors = FfnFactors(calibration.stream, SHARES)
    one = costs(1)
    variants = [_variants(calibration, factors, block, one.blocks[block], tell) for block in range(len(one.blocks))]
    selection = cheapest(variants, budget)
    change = _change([row[index].name for row, index in zip(variants, selection.chosen, strict=True)])
    tell("the chosen combination")
    seen, fresh = (_measure(oracle, factors, change) for oracle in (calibration, held_out))
    whole = step_ns(one)
    return StaticDecision(
        change=change,
        selection=selection,
        variants=tuple(tuple(row) for row in variants),
        measured_kl=seen[0],
        held_out_kl=fresh[0],
        held_out_agreement=fresh[1],
        predicted_speedup=whole / (selection.time + one.rest),
        ranks=tuple((block, factors.rank(block, share)) for block, share in sorted(change.shares.items())),
        front=tuple(((point.time + one.rest) / whole, point.loss) for point in front(variants, units=512)),
    )


def _variants(
    oracle: Oracle, factors: FfnFactors, block: int, time: float, tell: Callable[[str], None]
) -> list[Variant]:
    """Full, and for all but the first and last layer: skip, and low ranks of an FFN (time by its weights' bytes)."""
    result = [Variant("full", time, 0.0)]
    if block not in oracle.stream.choosable:
        return result
    tell(f"sub-block {block}")
    result.append(Variant("skip", 0.0, _measure(oracle, factors, _change_of(block, "skip"))[0]))
    for share in SHARES if block % 2 else ():
        scale = factors.bytes_share(block, share)
        if scale < 1:
            name = f"{share:g}"
            result.append(Variant(name, time * scale, _measure(oracle, factors, _change_of(block, name))[0]))
    return result


def _change_of(block: int, name: str) -> Change:
    return _change(["full"] * block + [name])


def _change(names: Sequence[str]) -> Change:
    skipped = frozenset(block for block, name in enumerate(names) if name == "skip")
    return Change(skipped, {block: float(name) for block, name in enumerate(names) if name not in ("skip", "full")})


def _measure(oracle: Oracle, factors: FfnFactors, change: Change) -> tuple[float, float]:
    """(KL(full || changed), share of equal first choices)."""
    with factors.truncated(change.shares):
        return oracle.lossy(change.skipped)
