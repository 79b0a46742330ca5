"""What is believed of the latencies of one workload's schedules, corrected by those that are measured.

A cost model is wrong about a workload in three ways: about all of its schedules, about similar ones alike, and about
each by itself. So log latency is a Gaussian process: its mean is the prediction, its variance that of the prediction's
interval, in SHARES of the three; schedules are similar if their register tiles are. A measured schedule is then as
measured, and the others move with it as far as they are alike. What one more measurement is worth is its expected
improvement (Jones, Schonlau, Welch, J. Global Optimization 13, 1998).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import erfc, sqrt

import numpy as np
from numpy.typing import NDArray

from costmodel.protocol import Prediction
from costmodel.schedules import Array, Schedules

SHARES = (0.15, 0.35, 0.5)
"""Of the variance: what all schedules of a workload share, what similar ones share, what each has of its own. By
marginal likelihood on the residuals of networks held out (seed 0 of the 75,566 records), of twelve triples."""
_LENGTHS = {"vector": 2.0, "vectors": 2.0, "rows": 1.5, "unroll": 8.0, "row_tile": 16.0, "reduction_tile": 16.0}
"""Distances in log2 of these fields at which the correlation has fallen to 1/e; from a fit to earlier records."""
_ORDER_LENGTH = 8.0
NOISE = 0.02
"""Standard deviation of a measured log latency."""
LEAST_DEVIATION = 0.05
"""Of a prediction's log latency: a model that claims to know better is not believed."""
_TRUST = 6.0
"""Measurements that the predicted intervals count as when their width is corrected by those made."""
_INTERVAL = 2 * 1.6449
"""Width of a 90 % interval in standard deviations."""


@dataclass(frozen=True)
class Belief:
    """Gaussian belief of the log latencies of n schedules; see `prior`."""

    mean: Array
    """Shape (n,)."""
    covariance: Array
    """Shape (n, n)."""
    measured: NDArray[np.bool_]
    """Shape (n,)."""
    misfit: float = 0.0
    """Sum of the squared surprises of the measurements: (measured - mean) / deviation."""

    def given(self, index: int, log_latency: float) -> Belief:
        """The belief after one measurement."""
        row = self.covariance[index]
        variance = row[index] + NOISE**2
        surprise = log_latency - self.mean[index]
        measured = self.measured.copy()
        measured[index] = True
        return Belief(
            self.mean + row * (surprise / variance),
            self.covariance - np.outer(row, row) / variance,
            measured,
            self.misfit + float(surprise**2 / variance),
        )

    def without(self, index: int) -> Belief:
        """The belief where one schedule cannot be had: it failed."""
        mean, covariance = self.mean.copy(), self.covariance.copy()
        mean[index], covariance[index], covariance[:, index] = np.inf, 0.0, 0.0
        measured = self.measured.copy()
        measured[index] = True
        return Belief(mean, covariance, measured, self.misfit)

    @property
    def best(self) -> int:
        """The schedule that is fastest as far as is known; ties go to the earlier one."""
        return int(np.argmin(self.mean))

    @property
    def scale(self) -> float:
        """How much wider (above 1) the intervals should have been, by the surprises so far."""
        return float(np.sqrt((_TRUST + self.misfit) / (_TRUST + self.measured.sum())))

    def improvement(self) -> Array:
        """Shape (n,): by what share of its latency the best choice is expected to fall if this schedule is measured.

        Expected improvement over the present best; 0 for what is measured. While the best is not measured itself, it
        comes before the others: they are compared with it.
        """
        out = np.zeros(len(self.mean))
        best, open_ = self.best, np.flatnonzero(~self.measured)
        own = np.diag(self.covariance)
        variance = own[open_] + own[best] - 2 * self.covariance[best, open_]
        spread = self.scale * np.sqrt(np.maximum(variance, 1e-12))
        lead = (self.mean[best] - self.mean[open_]) / spread
        density = np.exp(-0.5 * lead**2) / np.sqrt(2 * np.pi)
        below = np.array([0.5 * erfc(-x / sqrt(2)) for x in lead])
        out[open_] = 1.0 - np.exp(-np.maximum(spread * (density + lead * below), 0.0))
        out[best] = 0.0 if self.measured[best] else out.max()
        return out

    @property
    def next(self) -> int:
        """The schedule to measure next: the best if it is not measured, else where `improvement` is largest.

        Of equals the one with the lower mean; a measured one only if all are.
        """
        if not self.measured[self.best]:
            return self.best
        return int(np.lexsort((self.mean, -self.improvement(), self.measured))[0])


def prior(predictions: Sequence[Prediction], schedules: Schedules) -> Belief:
    """The belief before anything is measured; predictions have `latency_ns` with its 90 % interval."""
    value, low, high = np.log(np.array([p["latency_ns"] for p in predictions], dtype=np.float64)).T
    return prior_of(value, (high - low) / _INTERVAL, schedules)


def prior_of(mean: Array, deviation: Array, schedules: Schedules) -> Belief:
    """The belief of log latencies with these means and standard deviations, each of shape (n,)."""
    spread = np.maximum(deviation, LEAST_DEVIATION)
    shared, similar, own = SHARES
    correlation = shared + similar * _similarity(schedules) + own * np.eye(len(mean))
    return Belief(mean, correlation * np.outer(spread, spread), np.zeros(len(mean), dtype=np.bool_))


def _similarity(s: Schedules) -> Array:
    """Shape (n, n), 0 to 1: Matern kernel (order 1/2) on register and cache tiles; another algorithm is not similar."""
    places = [np.log2(1.0 + getattr(s, name)) / length for name, length in _LENGTHS.items()]
    places.append(s.order / _ORDER_LENGTH)
    squares = np.sum([np.subtract.outer(p, p) ** 2 for p in places], axis=0)
    alike = np.equal.outer(s.algorithm, s.algorithm) & np.equal.outer(s.pack, s.pack)
    return np.exp(-np.sqrt(squares)) * alike
