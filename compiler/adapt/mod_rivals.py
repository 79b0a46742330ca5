"""Other placements of routed layers, at the mean capacity of ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

LEAST = 0.05
"""Capacity below which more layers are routed instead."""


def every_other(capacities: Mapping[int, float], layers: int) -> dict[int, float]:
    """Every other layer, as the MoD paper places them (arXiv 2404.02258); the first and the last stay whole."""
    inner = range(1, layers - 1)
    return _spread(capacities, [*inner[::2], *inner[1::2]], len(inner[::2]))


def by_rank(capacities: Mapping[int, float], ranks: Sequence[float]) -> dict[int, float]:
    """As many layers as ours, those of the lowest ARank (gamma-MoD, arXiv 2410.13859), first and last left out."""
    inner = range(1, len(ranks) - 1)
    return _spread(capacities, sorted(inner, key=lambda layer: ranks[layer]), len(capacities))


def _spread(capacities: Mapping[int, float], order: Sequence[int], count: int) -> dict[int, float]:
    """The first `count` layers of `order`, or more, at one capacity, so that as many tokens are left out as in ours."""
    saved = sum(1 - capacity for capacity in capacities.values())
    while saved / count > 1 - LEAST and count < len(order):
        count += 1
    return dict.fromkeys(sorted(order[:count]), max(LEAST, 1 - saved / count))
