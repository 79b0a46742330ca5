"""P3: mixture of depths by layer: the capacity of each, priced by the widths that a batch really runs.

At decode a token takes a routed layer with probability k, so a batch of B runs it with a width of Binomial(B, k), and
not at all with probability (1-k)^B: at k = .5 and B = 8 almost never. The expectation over that width is the time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from scipy.stats import binom

from compiler.adapt.knapsack import Selection, Variant, cheapest

CAPACITIES = (0.125, 0.25, 0.5, 1.0)
LayerTime = Callable[[int, float], float]
"""Nanoseconds of a layer by the number of tokens that take it (at least 1) and its capacity k: at k it has seen, and
so attends to, k T keys."""


def run_probability(batch: int, capacity: float) -> float:
    """That at least one of `batch` tokens takes a layer of this capacity, so that its weights are read."""
    return 1 - (1 - capacity) ** batch


def expected_ns(time: LayerTime, batch: int, capacity: float, router_ns: float = 0.0) -> float:
    """E[time(W)], W ~ Binomial(batch, capacity), plus the router, which runs whatever it decides.

    Args:
        time: of the layer; no token costs nothing.
        batch: sequences decoded together.
        capacity: share of the tokens that take the block; at 1 there is no router.
        router_ns: router, gather and scatter.
    """
    if capacity >= 1:
        return time(batch, 1.0)
    chances = binom.pmf(range(1, batch + 1), batch, capacity)
    return router_ns + sum(float(chance) * time(width, capacity) for width, chance in enumerate(chances, 1))


def choose_capacities(
    times: Sequence[LayerTime],
    losses: Sequence[Sequence[float]],
    batch: int,
    budget: float,
    router_ns: float = 0.0,
    capacities: Sequence[float] = CAPACITIES,
) -> Selection:
    """The capacity of each layer (an index into `capacities`) of least expected time within the loss budget.

    Args:
        times: by layer.
        losses: by layer, the loss at each capacity.
        batch: sequences decoded together.
        budget: the largest sum of losses.
        router_ns: as in `expected_ns`.
        capacities: what a layer may have.
    """
    rows = zip(times, losses, strict=True)
    return cheapest([layer_variants(time, row, batch, router_ns, capacities) for time, row in rows], budget)


def layer_variants(
    time: LayerTime,
    losses: Sequence[float],
    batch: int,
    router_ns: float = 0.0,
    capacities: Sequence[float] = CAPACITIES,
) -> list[Variant]:
    """What one layer may be, named by its capacity; arguments as of `choose_capacities`."""
    return [
        Variant(f"{capacity:g}", expected_ns(time, batch, capacity, router_ns), lost)
        for capacity, lost in zip(capacities, losses, strict=True)
    ]
