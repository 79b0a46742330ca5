"""Figures of merit of predictions against measurements, by workload and over rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from costmodel.dataset import Dataset
from costmodel.learner import Predicted
from costmodel.schedules import Array

NOISE = 0.02
"""A choice counts as worse than another if it is slower by more than this."""


def score(predicted: Predicted, test: Dataset) -> dict[str, float]:
    """All metrics of `seerc cost eval` for one test set."""
    out = {**_ranking(predicted.ranking, test), **choice_metrics(choose(predicted, test), test)}
    measured, guess = test.measured["latency_ns"], predicted.values["latency_ns"]
    out["mape"] = float(np.mean(np.abs(guess - measured) / measured))
    if "latency_ns" in predicted.low:
        inside = (predicted.low["latency_ns"] <= measured) & (measured <= predicted.high["latency_ns"])
        out["coverage90"] = float(np.mean(inside))
    for metric in ("registers", "spills", "utilisation", "vector_utilisation"):
        if metric in predicted.values:
            out |= _range_error(metric, predicted.values[metric], test.measured[metric])
    return out


def choose(predicted: Predicted, test: Dataset) -> NDArray[np.int64]:
    """Row that each workload's smallest predicted latency stands in."""
    guess = predicted.ranking
    return np.array([rows[np.argmin(guess[rows])] for rows in by_task(test)], dtype=np.int64)


def by_task(data: Dataset) -> Iterator[NDArray[np.int64]]:
    """Row indices of each workload on each target."""
    tasks = data.tasks
    order = np.argsort(tasks, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(tasks[order])) + 1)


def choice_metrics(chosen: NDArray[np.int64], test: Dataset) -> dict[str, float]:
    """Top-1 score, regret and comparison with the heuristic of one chosen row a workload."""
    latency = test.measured["latency_ns"]
    groups = list(by_task(test))
    best = np.array([latency[rows].min() for rows in groups])
    weight = np.array([test.weight[rows[0]] for rows in groups])
    taken = latency[chosen]
    regret = taken / best - 1.0
    out = {
        "top1": float((weight * best).sum() / (weight * taken).sum()),
        "regret1_median": float(np.median(regret)),
        "regret1_p95": float(np.quantile(regret, 0.95)),
    }
    fixed = [
        (t, latency[rows[test.heuristic[rows]][0]])
        for t, rows in zip(taken, groups, strict=True)
        if test.heuristic[rows].any()
    ]
    if fixed:
        ours, theirs = np.array(fixed).T
        out["worse_than_heuristic"] = float(np.mean(ours > theirs * (1.0 + NOISE)))
        out["speedup_over_heuristic"] = float(np.exp(np.mean(np.log(theirs / ours))))
    return out


def _ranking(guess: Array, test: Dataset) -> dict[str, float]:
    """Top-5 score as TenSet defines it, and the mean Kendall tau over workloads of at least five candidates."""
    latency = test.measured["latency_ns"]
    best, five, taus = 0.0, 0.0, list[float]()
    for rows in by_task(test):
        weight = test.weight[rows[0]]
        best += weight * latency[rows].min()
        five += weight * latency[rows[np.argsort(guess[rows], kind="stable")[:5]]].min()
        if len(rows) >= 5:
            taus.append(kendall_tau(guess[rows], latency[rows]))
    return {"top5": float(best / five), **({"kendall_tau": float(np.mean(taus))} if taus else {})}


def kendall_tau(a: Array, b: Array) -> float:
    """Kendall's tau-b of two arrays of the same length; 0 where one of them is constant."""
    x, y = (np.sign(v[:, None] - v[None, :]) for v in (a, b))
    pairs = np.sqrt((x != 0).sum() * (y != 0).sum())
    return float((x * y).sum() / pairs) if pairs else 0.0


def _range_error(metric: str, guess: Array, measured: Array) -> dict[str, float]:
    known = np.isfinite(measured)
    if not known.any():
        return {}
    difference = guess[known] - measured[known]
    spread = float(measured[known].max() - measured[known].min())
    out = {f"{metric}_rmse_range": float(np.sqrt(np.mean(difference**2))) / (spread or 1.0)}
    if metric == "registers":
        out["registers_within_one"] = float(np.mean(np.abs(difference) <= 1.5))
    return out
