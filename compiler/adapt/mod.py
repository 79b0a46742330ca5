"""`--method mod` (P3): which layers of a decoder only a part of the tokens need, and how many.

A layer's loss at a capacity is measured with it alone routed (`compiler.adapt.routed`); an exact knapsack picks the
capacities of least expected time whose losses sum to at most the budget; the combination is measured. As single losses
add up to too little, the knapsack's limit is lowered until the combination keeps to the budget on calibration texts.
Routers are fitted for it (`compiler.adapt.fit_routers`); held-out texts, routed by them, decide.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from compiler.adapt.capacity import CAPACITIES, expected_ns, layer_variants, run_probability
from compiler.adapt.depth_times import ROUTER_NS, DepthTimes
from compiler.adapt.fit_routers import fit_routers, routed_by
from compiler.adapt.knapsack import Selection, Variant, cheapest, front
from compiler.adapt.layer_ranks import layer_ranks
from compiler.adapt.mod_rivals import by_rank, every_other
from compiler.adapt.oracle import Oracle
from compiler.adapt.plan import Router
from compiler.adapt.routed import RoutedRuns

Capacities = Mapping[int, float]
"""By routed layer; the others are whole."""
_ATTEMPTS = 8


@dataclass(frozen=True)
class Routing:
    """One way to route: its capacities, what it loses on held-out texts, and its predicted speed-up at the batch.

    `share`: of the held-out tokens that take a routed layer, mean over those layers.
    """

    name: str
    capacities: Capacities
    kl: float
    agreement: float
    share: float
    speedup: float


@dataclass(frozen=True)
class ModDecision:
    """The choice and what it was made from.

    `chosen`: as routed by the oracle; `routed`: the same by `routers`, which decides. `losses[l]`: of layer l
    at each of CAPACITIES (first and last: whole), nats a token on calibration texts; `measured_kl`: of the choice on
    them; `limit`: of summed losses that keeps it in the budget; `front`: (share of the step's time, summed loss).
    """

    chosen: Routing
    routed: Routing
    routers: tuple[Router, ...]
    selection: Selection
    limit: float
    measured_kl: float
    losses: tuple[tuple[float, ...], ...]
    rivals: tuple[Routing, ...]
    front: tuple[tuple[float, float], ...]

    def runs(self, batch: int) -> dict[int, float]:
        """By routed layer, how probably it runs in a step of the batch."""
        return {layer: run_probability(batch, capacity) for layer, capacity in self.chosen.capacities.items()}


def decide_mod(
    calibration: Oracle,
    held_out: Oracle,
    times: DepthTimes,
    budget: float,
    tell: Callable[[str], None] = lambda _: None,
) -> ModDecision:
    """The capacities of least expected time that lose at most `budget` nats a token on calibration texts."""
    seen, fresh = RoutedRuns(calibration), RoutedRuns(held_out)
    thresholds = seen.thresholds([k for k in CAPACITIES if k < 1])
    variants, losses = _variants(seen, thresholds, times, tell)
    selection, limit, measured = _within(seen, thresholds, variants, budget, tell)
    capacities = _capacities(selection, variants)

    def measured_routing(name: str, capacities: Capacities, taken: Mapping[int, Tensor]) -> Routing:
        tell(name)
        share = sum(map(fresh.share, taken.values())) / len(taken) if taken else 1.0
        return Routing(name, capacities, *fresh.quality(taken), share, times.whole() / step_time(times, capacities))

    def routing(name: str, capacities: Capacities) -> Routing:
        levels = _levels(seen.thresholds(sorted({*capacities.values()})), capacities)
        return measured_routing(name, capacities, fresh.above(levels))

    tell("fitting routers")
    routers = fit_routers(seen, capacities)
    rivals: list[Routing] = []
    if capacities:
        ranks = layer_ranks(calibration)
        rivals = [
            measured_routing("the same, random routing", capacities, fresh.at_random(capacities)),
            routing("every other layer (MoD)", every_other(capacities, len(times.layers))),
            routing("lowest ARank (gamma-MoD)", by_rank(capacities, ranks)),
        ]
    return ModDecision(
        chosen=routing("knapsack, chosen by an oracle", capacities),
        routed=measured_routing("knapsack, chosen by routers", capacities, routed_by(fresh, routers)),
        routers=routers,
        selection=selection,
        limit=limit,
        measured_kl=measured,
        losses=losses,
        rivals=tuple(rivals),
        front=tuple(((p.time + times.rest) / times.whole(), p.loss) for p in front(variants, units=512)),
    )


def step_time(times: DepthTimes, capacities: Capacities) -> float:
    """Expected nanoseconds of a step."""
    return times.rest + sum(
        expected_ns(time, times.batch, capacities.get(layer, 1.0), ROUTER_NS) for layer, time in enumerate(times.layers)
    )


def _variants(
    runs: RoutedRuns, thresholds: Sequence[Mapping[float, float]], times: DepthTimes, tell: Callable[[str], None]
) -> tuple[list[list[Variant]], tuple[tuple[float, ...], ...]]:
    """What each layer may be, and its losses by capacity; the first and the last layer are whole."""
    last = len(times.layers) - 1
    variants: list[list[Variant]] = []
    losses: list[tuple[float, ...]] = []
    for layer, time in enumerate(times.layers):
        tell(f"layer {layer + 1} of {last + 1}")
        options = CAPACITIES if 0 < layer < last else (1.0,)
        row = [runs.quality(runs.above({layer: thresholds[layer][k]}))[0] if k < 1 else 0.0 for k in options]
        losses.append(tuple(row))
        variants.append(layer_variants(time, row, times.batch, ROUTER_NS, options))
    return variants, tuple(losses)


def _within(
    runs: RoutedRuns,
    thresholds: Sequence[Mapping[float, float]],
    variants: Sequence[Sequence[Variant]],
    budget: float,
    tell: Callable[[str], None],
) -> tuple[Selection, float, float]:
    """(selection, the limit of summed losses it was found at, its measured loss): within the budget, or no change."""
    limit = budget
    for attempt in range(_ATTEMPTS):
        selection = cheapest(variants, limit)
        tell(f"the combination whose losses sum to {selection.loss:.4f}")
        measured = runs.quality(runs.above(_levels(thresholds, _capacities(selection, variants))))[0]
        if measured <= budget or limit == 0:
            return selection, limit, measured
        limit = 0.0 if attempt == _ATTEMPTS - 2 else min(limit, selection.loss) * budget / measured
    raise AssertionError("the last attempt has no limit left")


def _capacities(selection: Selection, variants: Sequence[Sequence[Variant]]) -> dict[int, float]:
    """By routed layer."""
    names = [float(row[index].name) for row, index in zip(variants, selection.chosen, strict=True)]
    return {layer: capacity for layer, capacity in enumerate(names) if capacity < 1}


def _levels(thresholds: Sequence[Mapping[float, float]], capacities: Capacities) -> dict[int, float]:
    return {layer: thresholds[layer][capacity] for layer, capacity in capacities.items()}
