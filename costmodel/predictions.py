"""Predictions beside measurements as a Parquet file, for figures and for looking at single errors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from costmodel.dataset import Dataset
from costmodel.facts import KINDS
from costmodel.learner import Predicted
from costmodel.record import write_table

if TYPE_CHECKING:
    import pyarrow as pa


def write_predictions(path: Path, split: str, seed: int, test: Dataset, models: Mapping[str, Predicted]) -> None:
    """One row a model and test candidate; `prediction_table` has the columns."""
    import pyarrow as pa

    write_table(pa.concat_tables([prediction_table(n, split, seed, test, p) for n, p in models.items()]), path)


def prediction_table(model: str, split: str, seed: int, test: Dataset, predicted: Predicted) -> pa.Table:
    """model, split, seed, kind, workload (hash), target (hash), heuristic, ranking, and four columns a metric.

    METRIC is the predicted value, METRIC_measured, METRIC_low and METRIC_high stand beside it; NaN for what is unknown.
    Numbers are float32.
    """
    import pyarrow as pa

    kinds = [KINDS[k] if k < len(KINDS) else "other" for k in test.kinds]
    columns: dict[str, Any] = {
        "model": pa.array([model] * len(test)).dictionary_encode(),
        "split": pa.array([split] * len(test)).dictionary_encode(),
        "seed": np.full(len(test), seed, dtype=np.int32),
        "kind": pa.array(kinds).dictionary_encode(),
        "workload": pa.array([test.hashes[w] for w in test.workloads]).dictionary_encode(),
        "target": pa.array([test.targets[m].hash for m in test.machines]).dictionary_encode(),
        "heuristic": test.heuristic,
        "ranking": predicted.ranking.astype(np.float32),
    }
    unknown = np.full(len(test), np.nan)
    for metric, measured in test.measured.items():
        found = (predicted.values, predicted.low, predicted.high)
        value, low, high = (table.get(metric, unknown).astype(np.float32) for table in found)
        columns |= {metric: value, f"{metric}_measured": measured.astype(np.float32)}
        columns |= {f"{metric}_low": low, f"{metric}_high": high}
    return pa.table(columns)
