"""`seerc cost eval`: train on one side of a split, score on the other, for several seeds, beside the baselines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costmodel.analytic_learner import AnalyticLearner
from costmodel.dataset import Dataset, load_dataset
from costmodel.learner import Learner, Predicted
from costmodel.record import read_table
from costmodel.score import by_task, choice_metrics, score
from costmodel.split import split
from costmodel.train import recipe

SHUFFLES = 20


def evaluate(
    data: Path | str | Dataset,
    split_name: str = "unseen-networks",
    model: str | Path = "xgboost",
    seeds: Sequence[int] = range(5),
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """The JSON of `seerc cost eval`: metrics of a model retrained for every seed, and of the baselines.

    Args:
        data: a dataset folder or file, or a loaded dataset.
        split_name: a name of `split.SPLITS`.
        model: an architecture, `default`, or an artefact folder: its recipe is trained on each training side, since
            the artefact itself may have seen the test side.
        seeds: one split and training each; `low` and `high` are the extremes over them.
        progress: told a line for every seed.
    """
    dataset = data if isinstance(data, Dataset) else load_dataset(read_table(data))
    architecture = recipe(model)
    found: dict[str, list[dict[str, float]]] = {}
    for seed in seeds:
        train_rows, test_rows = split(dataset, split_name, seed)
        scores = _contest(dataset.take(train_rows), dataset.take(test_rows), architecture, seed)
        for name, values in scores.items():
            found.setdefault(name, []).append(values)
        if progress:
            progress(f"seed {seed}: top1 {scores['model']['top1']:.3f}, mape {scores['model']['mape']:.3f}")
    return {
        "split": split_name,
        "rows": len(dataset),
        "workloads": len(dataset.hashes),
        "seeds": len(list(seeds)),
        "metrics": _summary(found.pop("model")),
        "baselines": {name: _summary(runs) for name, runs in found.items()},
    }


def _contest(train: Dataset, test: Dataset, architecture: Learner, seed: int) -> dict[str, dict[str, float]]:
    out = {
        "model": score(architecture.fit(train, seed).predict_dataset(test), test),
        "analytic": score(AnalyticLearner().fit(train).predict_dataset(test), test),
    }
    heuristic = np.array([_flagged(test, rows) for rows in by_task(test)])
    if (heuristic >= 0).all():
        out["heuristic"] = choice_metrics(heuristic, test)
    return {**out, "random": _random(test, seed)}


def _flagged(test: Dataset, rows: NDArray[np.int64]) -> int:
    flagged = rows[test.heuristic[rows]]
    return int(flagged[0]) if len(flagged) else -1


def _random(test: Dataset, seed: int) -> dict[str, float]:
    """Mean score of random orders."""
    generator = np.random.default_rng(seed)
    runs = [score(Predicted({"latency_ns": generator.random(len(test)) + 1e-9}), test) for _ in range(SHUFFLES)]
    return {k: float(np.mean([r[k] for r in runs])) for k in runs[0] if k != "mape"}


def _summary(runs: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    keys = [k for k in runs[0] if all(k in r for r in runs)]
    columns = {k: np.array([r[k] for r in runs]) for k in keys}
    return {k: {"value": float(v.mean()), "low": float(v.min()), "high": float(v.max())} for k, v in columns.items()}
