"""Bounds on a rate that was counted."""

from __future__ import annotations

from scipy.stats import norm


def wilson_low(hits: int, trials: int, confidence: float = 0.95) -> float:
    """The one-sided lower bound of Wilson's score interval (Wilson 1927) on hits / trials; 0 for no trials."""
    if trials == 0:
        return 0.0
    z = float(norm.ppf(confidence))
    rate = hits / trials
    centre = rate + z * z / (2 * trials)
    spread = z * (rate * (1 - rate) / trials + z * z / (4 * trials * trials)) ** 0.5
    return max(0.0, (centre - spread) / (1 + z * z / trials))
