"""Searches of a workload's schedules, simulated on datasets that hold all (or very many) of its measurements.

Every search is given the same number of trials; what counts is the best latency among those that it asked for.
`guided` is what AutoTVM and Ansor do: measure random schedules, train XGBoost on them, measure those that it predicts
to be the fastest, and so on. `ours` starts from a cost model that has never seen the workload.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costmodel.dataset import Dataset
from costmodel.learner import Predicted
from costmodel.residual import Belief, prior_of
from costmodel.schedules import Array, Schedules, schedules

BATCH = 8
"""Trials between two trainings of the guided search."""
GREED = 0.95
"""Share of the guided search's trials that follow its model; the others are random."""
LEAST_IMPROVEMENT = 0.005
"""Ours stops where no schedule is expected to be faster than the best by more than this share."""
_INTERVAL = 2 * 1.6449
_XGBOOST = {"max_depth": 6, "eta": 0.3, "min_child_weight": 0, "tree_method": "exact", "base_score": 0.0, "nthread": 1}
_TREES = 40


@dataclass(frozen=True)
class Task:
    """One workload with n measured schedules; arrays have n rows."""

    latency: Array
    """Log of measured ns."""
    mean: Array
    """Log of predicted ns, by a model that has not seen the workload."""
    deviation: Array
    """Of the prediction's log, from its 90 % interval."""
    features: Array
    schedules: Schedules

    def belief(self) -> Belief:
        """Before any trial."""
        return prior_of(self.mean, self.deviation, self.schedules)


Order = Sequence[int]
Search = Callable[[Task, int, np.random.Generator], Order]
"""(task, budget, generator) to the schedules that are tried, in order: at most `budget`, none twice."""


def tasks_of(data: Dataset, predicted: Predicted) -> list[Task]:
    """The tasks of a dataset; `predicted` for all of its rows, with intervals."""
    mean = np.log(predicted.values["latency_ns"])
    deviation = np.log(predicted.high["latency_ns"] / predicted.low["latency_ns"]) / _INTERVAL
    latency, texts = np.log(data.measured["latency_ns"]), data.schedules
    return [
        Task(latency[r], mean[r], deviation[r], data.matrix[r], schedules([str(t) for t in texts[r]]))
        for r in data.rows_by_task()
    ]


def random_search(task: Task, budget: int, generator: np.random.Generator) -> Order:
    """Any schedule, none twice."""
    return generator.permutation(len(task.latency))[:budget].tolist()


def model_order(task: Task, budget: int, generator: np.random.Generator) -> Order:
    """By predicted latency, whatever the measurements say."""
    del generator
    return np.argsort(task.mean, kind="stable")[:budget].tolist()


def guided_search(task: Task, budget: int, generator: np.random.Generator) -> Order:
    """Random first, then in batches what XGBoost, trained on this workload's trials, predicts to be the fastest."""
    count = min(budget, len(task.latency))
    tried = list(random_search(task, min(BATCH, count), generator))
    while len(tried) < count:
        guess = _trained_guess(task, tried)
        guess[tried] = np.inf
        size = min(BATCH, count - len(tried))
        greedy = int(generator.binomial(size, GREED))
        tried += np.argsort(guess, kind="stable")[:greedy].tolist()
        rest = np.setdiff1d(np.arange(len(guess)), tried)
        tried += generator.permutation(rest)[: size - greedy].tolist()
    return tried


def ours(task: Task, budget: int, generator: np.random.Generator) -> Order:
    """By expected improvement under predictions that every trial corrects; stops when there is little to gain."""
    del generator
    return _by_improvement(task, budget, LEAST_IMPROVEMENT)


def ours_to_the_end(task: Task, budget: int, generator: np.random.Generator) -> Order:
    """The same without stopping early."""
    del generator
    return _by_improvement(task, budget, 0.0)


SEARCHES: dict[str, Search] = {
    "random": random_search,
    "guided": guided_search,
    "model_order": model_order,
    "ours": ours,
    "ours_to_the_end": ours_to_the_end,
}


def best_so_far(task: Task, order: Order, budget: int) -> Array:
    """Shape (budget,): log ratio of the best latency after 1, 2, ... trials to the best of all; level after the end."""
    found = np.minimum.accumulate(task.latency[list(order)]) - task.latency.min()
    return np.concatenate([found, np.full(budget - len(found), found[-1])])


def compare(
    tasks: Sequence[Task],
    budgets: Sequence[int] = (16, 64, 256),
    seeds: int = 10,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """All searches on all tasks: quality at the budgets, and the trials that ours needs for the guided one's quality.

    Quality is the geometric mean over workloads of (best of all / best tried), 1 at most.
    """
    longest = max(budgets)
    curves: dict[str, Array] = {}
    used: dict[str, NDArray[np.int64]] = {}
    for name, search in SEARCHES.items():
        say(name)
        orders = [
            [search(task, longest, np.random.default_rng((seed, i))) for i, task in enumerate(tasks)]
            for seed in range(1 if name in ("model_order", "ours", "ours_to_the_end") else seeds)
        ]
        curves[name] = np.array(
            [[best_so_far(t, o, longest) for t, o in zip(tasks, row, strict=True)] for row in orders]
        )
        used[name] = np.array([[len(o) for o in row] for row in orders])
    return {
        "workloads": len(tasks),
        "schedules": int(np.sum([len(t.latency) for t in tasks])),
        "seeds": seeds,
        "searches": {name: _summary(curves[name], used[name], budgets) for name in SEARCHES},
        "equal_quality": {
            name: {str(b): _needed(curves[name], curves["guided"], b) for b in budgets}
            for name in ("ours", "ours_to_the_end", "model_order")
        },
    }


def predict_held_out(data: Dataset, model: str | Path, train: Dataset | None = None) -> Predicted:
    """Predictions for `data` by an artefact, or by its recipe trained on `train` without the workloads of `data`."""
    from costmodel.artefact import load_artefact
    from costmodel.train import DEFAULT_FOLDER, recipe

    if train is None:
        artefact: Any = load_artefact(DEFAULT_FOLDER if str(model) == "default" else Path(model), data.target)
        return artefact.predict_dataset(data)
    held = {data.hashes[w] for w in np.unique(data.workloads)}
    seen = [i for i, h in enumerate(train.hashes) if h in held]
    return recipe(model).fit(train.take(~np.isin(train.workloads, seen))).predict_dataset(data)


def _trained_guess(task: Task, tried: Order) -> Array:
    """Predicted log latencies of all schedules of the task."""
    import xgboost

    label = task.latency[list(tried)]
    matrix = xgboost.DMatrix(task.features[list(tried)], label - label.mean(), nthread=1)
    booster = xgboost.train(_XGBOOST, matrix, _TREES)
    return np.asarray(booster.predict(xgboost.DMatrix(task.features, nthread=1)), dtype=np.float64)


def _by_improvement(task: Task, budget: int, least: float) -> Order:
    belief, tried = task.belief(), list[int]()
    while len(tried) < min(budget, len(task.latency)):
        if tried and belief.measured[belief.best] and belief.improvement().max() < least:
            break
        tried.append(belief.next)
        belief = belief.given(tried[-1], float(task.latency[tried[-1]]))
    return tried


def _summary(curves: Array, used: NDArray[np.int64], budgets: Sequence[int]) -> dict[str, Any]:
    """Quality by budget with a 95 % interval over seeds (normal), and the whole curve."""
    quality = np.exp(-curves.mean(axis=1))
    half = 1.96 * quality.std(axis=0, ddof=1) / np.sqrt(len(quality)) if len(quality) > 1 else 0 * quality[0]
    mean = quality.mean(axis=0)
    return {
        "quality": {
            str(b): {"value": float(mean[b - 1]), "low": float(mean[b - 1] - half[b - 1]),
                     "high": float(mean[b - 1] + half[b - 1])}
            for b in budgets
        },
        "trials": {str(b): float(np.minimum(used, b).mean()) for b in budgets},
        "curve": [round(float(q), 5) for q in mean],
    }  # fmt: skip


def _needed(ours: Array, guided: Array, budget: int, resamples: int = 1000) -> dict[str, Any]:
    """Trials until the mean quality is that of the guided search after `budget`; 95 % of resamples of the workloads.

    `saved` is the share of the budget that is spared; null where the quality is not reached.
    """
    mine, theirs = ours.mean(axis=0), guided.mean(axis=0)[:, budget - 1]
    generator = np.random.default_rng(0)
    picks = generator.integers(0, len(theirs), (resamples, len(theirs)))
    found = [_first(mine[p].mean(axis=0), float(theirs[p].mean())) for p in picks]
    value = _first(mine.mean(axis=0), float(theirs.mean()))
    low, high = np.quantile(found, [0.025, 0.975], method="nearest")  # may be infinite
    return {
        "trials": value if np.isfinite(value) else None,
        "saved": 1 - value / budget if np.isfinite(value) else None,
        "saved_low": 1 - high / budget if np.isfinite(high) else None,
        "saved_high": 1 - low / budget if np.isfinite(low) else None,
    }


def _first(curve: Array, level: float) -> float:
    """The first trial after which `curve` is at most `level`; infinity if none."""
    reached = np.flatnonzero(curve <= level + 1e-12)
    return float(reached[0] + 1) if len(reached) else np.inf
