"""How well an order of candidates serves a choice: top-k score, regret, Kendall's tau, pairs in the right order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from costmodel.dataset import Dataset
from costmodel.schedules import Array

Rows = NDArray[np.int64]
NOISE = 0.02
"""Relative difference of latencies that is never told from noise, however small the spread of the repeats."""
FEWEST_PAIRS = 10
"""A task needs so many pairs to have a Kendall tau: those of five candidates."""


@dataclass(frozen=True)
class Ranking:
    """The n rows of a test set, by task (a workload on a target) and within it by a score, the lowest first."""

    rows: Rows
    start: Rows
    """Where each of the t tasks begins in `rows`."""
    position: Rows
    """Place within the task, from 0, of each element of `rows`."""
    latency: Array
    """Measured, in the order of `rows`."""
    weight: Array
    """(t,) occurrences of the task's workload."""

    @property
    def sizes(self) -> Rows:
        """(t,) candidates of each task."""
        return np.diff(np.append(self.start, len(self.rows)))

    @property
    def best(self) -> Array:
        """(t,) lowest measured latency of each task."""
        return np.minimum.reduceat(self.latency, self.start)

    def taken(self, count: int) -> Array:
        """(t,) lowest measured latency among the first `count` candidates of each task."""
        return np.minimum.reduceat(np.where(self.position < count, self.latency, np.inf), self.start)


def rank(score: Array, test: Dataset) -> Ranking:
    """The rows of a test set ranked by a score (n,). Ties are broken at random, not by the order of the rows."""
    tie = np.random.default_rng(0).permutation(len(test))
    tasks = test.tasks
    rows = np.lexsort((tie, score, tasks))
    start = np.flatnonzero(np.diff(tasks[rows], prepend=-1))
    position = np.arange(len(rows)) - np.repeat(start, np.diff(np.append(start, len(rows))))
    return Ranking(rows, start, position, test.measured["latency_ns"][rows], test.weight[rows[start]])


def top_score(ranking: Ranking, count: int) -> float:
    """TenSet's top-k score: sum of w * best over sum of w * lowest latency among the first k; 1 is an oracle."""
    return float((ranking.weight * ranking.best).sum() / (ranking.weight * ranking.taken(count)).sum())


def regret(ranking: Ranking, count: int) -> Array:
    """(t,) lowest latency among the first `count` over the lowest of all, less 1."""
    return ranking.taken(count) / ranking.best - 1.0


def spread_of(name: str, values: Array) -> dict[str, float]:
    """Median, 95th percentile and worst of an array of regrets, as metrics NAME_median, NAME_p95, NAME_worst."""
    found = {"median": np.median(values), "p95": np.quantile(values, 0.95), "worst": values.max()}
    return {f"{name}_{k}": float(v) for k, v in found.items()}


def ranking_metrics(score: Array, test: Dataset) -> dict[str, float]:
    """Every metric that needs an order and no values."""
    ranking = rank(score, test)
    out = {"top1": top_score(ranking, 1), "top5": top_score(ranking, 5)}
    for count in (1, 5, 10):
        out |= spread_of(f"regret{count}", regret(ranking, count))
    return {**out, **pair_metrics(ranking, score, test)}


def pair_metrics(ranking: Ranking, score: Array, test: Dataset) -> dict[str, float]:
    """kendall_tau, kendall_tau_all, pair_accuracy, pairs_compared (docs/json.md); those without a pair are left out.

    Two candidates are told apart where their latencies differ by more than half of the sum of their spreads, each
    spread (90th - 10th percentile of the repeats) at least NOISE of the latency: where their bands do not overlap.
    """
    latency = test.measured["latency_ns"]
    spread = np.where(np.isfinite(test.spread), test.spread, 0.0)
    band = np.maximum(spread, NOISE) * latency / 2
    taus, plain, right, compared, total = list[Array](), list[Array](), 0.0, 0, 0
    for i, j in _pairs(ranking):
        measured, predicted = latency[i] - latency[j], np.sign(score[i] - score[j])
        clear = np.abs(measured) > band[i] + band[j]
        agree = np.sign(measured) * predicted
        counted = clear.sum(axis=1)
        enough = counted >= FEWEST_PAIRS
        taus.append((agree * clear).sum(axis=1)[enough] / counted[enough])
        if i.shape[1] >= FEWEST_PAIRS:
            untied = np.sqrt((measured != 0).sum(axis=1) * (predicted != 0).sum(axis=1))
            plain.append(agree.sum(axis=1) / np.maximum(untied, 1.0))
        right += float(((agree + 1.0) / 2.0)[clear].sum())
        compared, total = compared + int(counted.sum()), total + clear.size
    out = {"kendall_tau": _mean(taus), "kendall_tau_all": _mean(plain)}
    if total:
        out |= {"pair_accuracy": right / compared if compared else None, "pairs_compared": compared / total}
    return {k: v for k, v in out.items() if v is not None}


def _pairs(ranking: Ranking) -> Iterator[tuple[Rows, Rows]]:
    """Pairs of rows as two arrays of shape (tasks, pairs), tasks of one size at a time."""
    sizes = ranking.sizes
    for size in np.unique(sizes[sizes > 1]):
        block = ranking.rows[ranking.start[sizes == size][:, None] + np.arange(size)]
        i, j = np.triu_indices(size, 1)
        yield block[:, i], block[:, j]


def _mean(parts: list[Array]) -> float | None:
    values = np.concatenate(parts) if parts else np.zeros(0)
    return float(values.mean()) if len(values) else None
