"""A search's account: which skip sets it measured, and how many evaluations that cost it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from compiler.adapt.oracle import Measured, Oracle, Skips


@dataclass
class Trials:
    """Measurements of one search on the calibration texts, within a limit.

    One evaluation is one run of the network over all calibration positions: a measured skip set counts 1 (the second
    time nothing), other work its share of the layers and positions. The oracle's memory is shared, the account is not.
    """

    oracle: Oracle
    limit: float
    spent: float = 0.0
    measured: dict[Skips, Measured] = field(default_factory=dict[Skips, Measured])
    matches: dict[Skips, float] = field(default_factory=dict[Skips, float])

    @property
    def left(self) -> int:
        """Whole evaluations that may still be spent."""
        return max(0, int(self.limit - self.spent + 1e-9))

    def charge(self, evaluations: float) -> None:
        """Account for work other than measuring a set."""
        self.spent += evaluations

    def measure(self, skipped: Collection[int]) -> Measured:
        """The oracle's measurement, charged once a set."""
        key = frozenset(skipped)
        if key not in self.measured:
            self.charge(1)
            self.measured[key] = self.oracle.measure(key)
        return self.measured[key]

    def matchness(self, skipped: Collection[int], window: int) -> float:
        """The oracle's matchness, charged once a set."""
        key = frozenset(skipped)
        if key not in self.matches:
            self.charge(1)
            self.matches[key] = self.oracle.matchness(key, window)
        return self.matches[key]
