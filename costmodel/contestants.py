"""Who is scored on a test side: architectures that are trained for it, and the baselines beside them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from costmodel.analytic_learner import AnalyticLearner
from costmodel.dataset import Dataset
from costmodel.learner import Learner, Predicted
from costmodel.ranking import rank, ranking_metrics
from costmodel.schedules import Array
from costmodel.score import choice_metrics, score

SHUFFLES = 20
"""Orders that the random baseline is averaged over."""


@dataclass(frozen=True)
class Outcome:
    """What a contestant scored on one test side; `predicted` is None for a baseline."""

    metrics: dict[str, float]
    predicted: Predicted | None = None
    train_s: float = 0.0
    predict_us: float = 0.0
    """For one candidate, all of the test side in one batch; texts are read already."""


Contestant = Callable[[Dataset, Dataset, int], Outcome]
"""(training side, test side, seed) to the outcome."""


def trained(learner: Learner) -> Contestant:
    """A learner, fitted to the training side."""

    def run(train: Dataset, test: Dataset, seed: int) -> Outcome:
        start = time.perf_counter()
        model = learner.fit(train, seed)
        fitted = time.perf_counter()
        predicted = model.predict_dataset(test)
        ended = time.perf_counter()
        metrics = {k: v for k, v in score(predicted, test).items() if math.isfinite(v)}
        return Outcome(metrics, predicted, fitted - start, (ended - fitted) / len(test) * 1e6)

    return run


def heuristic(train: Dataset, test: Dataset, seed: int) -> Outcome:
    """The schedule that the fixed heuristic takes, over the tasks where it was measured; no metrics where none was."""
    tasks = test.tasks
    known = test.take(np.isin(tasks, np.unique(tasks[test.heuristic])))
    if not len(known):
        return Outcome({})
    return Outcome(choice_metrics(_first(np.where(known.heuristic, 0.0, 1.0), known), known))


def oracle(train: Dataset, test: Dataset, seed: int) -> Outcome:
    """The fastest measured candidate of each task: what no choice among them can beat."""
    latency = test.measured["latency_ns"]
    return Outcome({**ranking_metrics(latency, test), **choice_metrics(_first(latency, test), test)})


def shuffled(train: Dataset, test: Dataset, seed: int) -> Outcome:
    """Means over random orders."""
    generator = np.random.default_rng(seed)
    orders = [generator.random(len(test)) for _ in range(SHUFFLES)]
    runs = [{**ranking_metrics(o, test), **choice_metrics(_first(o, test), test)} for o in orders]
    return Outcome({k: float(np.mean([r[k] for r in runs])) for k in runs[0]})


BASELINES: dict[str, Contestant] = {
    "analytic": trained(AnalyticLearner()),
    "heuristic": heuristic,
    "random": shuffled,
    "oracle": oracle,
}


def _first(order: Array, test: Dataset) -> NDArray[np.int64]:
    ranking = rank(order, test)
    return ranking.rows[ranking.start]
