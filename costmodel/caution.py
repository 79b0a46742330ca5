"""The choice between the candidate that a model likes best and the fixed heuristic's."""

from __future__ import annotations

from collections.abc import Sequence

CAUTION = 0.1
"""What `seerc cost eval` judges decisions at, beside 0."""


def decide(order: Sequence[float], latency: Sequence[float], heuristic: int | None, caution: float = 0.0) -> int:
    """Index of the candidate to take: the first of least `order`, unless it promises too little.

    Args:
        order: by candidate, what they are sorted by, lower is faster.
        latency: predicted, ns.
        heuristic: index of the heuristic's candidate; None if it is not among them.
        caution: share of the heuristic's predicted latency that must be saved to leave it; 0: none.
    """
    best = min(range(len(order)), key=lambda i: (order[i], i))
    if caution <= 0 or heuristic is None or latency[best] <= (1 - caution) * latency[heuristic]:
        return best
    return heuristic
