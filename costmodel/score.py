"""Figures of merit of predictions against measurements: all metrics of `seerc cost eval` for one test set."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from costmodel.accuracy import accuracy_metrics
from costmodel.caution import CAUTION, decide
from costmodel.dataset import Dataset
from costmodel.learner import Predicted
from costmodel.ranking import NOISE, rank, ranking_metrics, spread_of

KEPT = tuple(range(10, 101, 10))
"""Percentages of the decisions kept in the risk-coverage curve."""


def score(predicted: Predicted, test: Dataset) -> dict[str, float]:
    """All metrics of `seerc cost eval`; those that a model or the data does not allow are left out (docs/json.md)."""
    chosen = choose(predicted, test)
    return {
        **ranking_metrics(predicted.ranking, test),
        **choice_metrics(chosen, test),
        **cautious_metrics(predicted, test),
        **accuracy_metrics(predicted, test),
        **risk_metrics(predicted, test),
    }


def choose(predicted: Predicted, test: Dataset) -> NDArray[np.int64]:
    """(t,) the row of each task that the model would take, tasks in ascending order."""
    ranking = rank(predicted.ranking, test)
    return ranking.rows[ranking.start]


def choice_metrics(chosen: NDArray[np.int64], test: Dataset) -> dict[str, float]:
    """Top-1 score, regret and comparison with the heuristic of one chosen row a task (in ascending order).

    Tasks of which the heuristic's schedule was not measured are left out of the comparison.
    """
    latency = test.measured["latency_ns"]
    ranking = rank(np.zeros(len(test)), test)
    best, taken = ranking.best, latency[chosen]
    out = {"top1": float((ranking.weight * best).sum() / (ranking.weight * taken).sum())}
    out |= spread_of("regret1", taken / best - 1.0)
    fixed = np.minimum.reduceat(np.where(test.heuristic, latency, np.inf)[ranking.rows], ranking.start)
    known = np.isfinite(fixed)
    if known.any():
        ratio = taken[known] / fixed[known]
        out["worse_than_heuristic"] = float(np.mean(ratio > 1.0 + NOISE))
        out["speedup_over_heuristic"] = float(np.exp(-np.mean(np.log(ratio))))
        out["worst_slowdown"] = float(ratio.max())
    return out


def cautious_metrics(predicted: Predicted, test: Dataset) -> dict[str, float]:
    """What the comparison with the heuristic becomes when leaving it must promise CAUTION less latency.

    Nothing without predicted latencies.
    """
    latency = predicted.values.get("latency_ns")
    if latency is None:
        return {}
    taken: list[int] = []
    for rows in test.rows_by_task():
        fixed = np.flatnonzero(test.heuristic[rows])
        order, promised = predicted.ranking[rows].tolist(), latency[rows].tolist()
        taken.append(int(rows[decide(order, promised, int(fixed[0]) if len(fixed) else None, CAUTION)]))
    found = choice_metrics(np.array(taken), test)
    return {f"cautious_{k}": found[k] for k in ("worse_than_heuristic", "speedup_over_heuristic") if k in found}


def risk_metrics(predicted: Predicted, test: Dataset) -> dict[str, float]:
    """regret1_kept10 to regret1_kept100: geometric-mean slowdown, less 1, of the k % surest decisions.

    A decision is as unsure as the latency interval of the candidate that it takes is wide, in logarithms; ties come in
    random order, so that a model with intervals of one width gets a flat curve. Nothing without intervals.
    """
    if "latency_ns" not in predicted.low:
        return {}
    ranking = rank(predicted.ranking, test)
    chosen = ranking.rows[ranking.start]
    low, high = (np.maximum(table["latency_ns"][chosen], 1e-3) for table in (predicted.low, predicted.high))
    width = np.round(np.log(high / low), 6)
    order = np.lexsort((np.random.default_rng(0).permutation(len(width)), width))
    mean = np.cumsum(np.log(ranking.taken(1) / ranking.best)[order]) / np.arange(1, len(order) + 1)
    return {f"regret1_kept{k}": float(np.expm1(mean[max(1, round(k / 100 * len(mean))) - 1])) for k in KEPT}
