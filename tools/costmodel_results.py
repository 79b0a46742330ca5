"""What the files in docs/results/costmodel hold, summarised for the tables and figures of docs/costmodel.md."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from costmodel.split import SPLITS
from costmodel.trials import Summary, Trial, read_trials, summary

OURS = "seer"
MODELS = ("seer", "xgboost", "graph", "transformer", "conv1d", "lstm", "bag", "analytic")
"""Ours first, then from the strongest kind of rival to the plainest."""
BASELINES = ("heuristic", "random", "oracle")
MAIN_SPLIT = "unseen-networks"


@dataclass(frozen=True)
class Results:
    """All trials of one dataset, and the predictions of some."""

    trials: tuple[Trial, ...]
    tables: tuple[Any, ...]
    """Arrow tables of `costmodel.predictions`."""

    @cached_property
    def summaries(self) -> dict[tuple[str, str, int], Summary]:
        """Metrics by (model, split, limit of the training rows)."""
        found: dict[tuple[str, str, int], list[dict[str, float]]] = {}
        for t in self.trials:
            found.setdefault((t.model, t.split, t.rows), []).append(t.metrics)
        return {key: summary(runs) for key, runs in found.items()}

    def of(self, model: str, split: str = MAIN_SPLIT, rows: int = 0) -> Summary:
        """Metrics of one model; empty where it was not run."""
        return self.summaries.get((model, split, rows), {})

    def seeds(self, model: str, split: str = MAIN_SPLIT) -> list[Trial]:
        """The trials of one model on all data."""
        return [t for t in self.trials if (t.model, t.split, t.rows) == (model, split, 0)]

    def models(self, split: str = MAIN_SPLIT) -> list[str]:
        """Architectures that were run on a split, in the order of MODELS; those with options are ablations."""
        return [m for m in MODELS if self.of(m, split)]

    def variants(self, split: str = MAIN_SPLIT) -> list[str]:
        """Architectures with options in braces."""
        return sorted({t.model for t in self.trials if "{" in t.model and t.split == split})

    def splits(self) -> list[str]:
        """Splits with results, in the order of SPLITS."""
        return [s for s in SPLITS if self.models(s)]

    def sizes(self, model: str) -> list[tuple[float, Summary]]:
        """(mean number of training rows, metrics) for each limit of the rows, ascending."""
        limits = {t.rows for t in self.trials if t.model == model and t.split == MAIN_SPLIT}
        found: list[tuple[float, Summary]] = []
        for limit in limits:
            rows = [t.train_rows for t in self.trials if (t.model, t.split, t.rows) == (model, MAIN_SPLIT, limit)]
            found.append((sum(rows) / len(rows), self.of(model, MAIN_SPLIT, limit)))
        return sorted(found, key=lambda pair: pair[0])

    def predictions(self, model: str) -> dict[str, Any] | None:
        """Columns of a model's predictions on MAIN_SPLIT as NumPy arrays; None where there are none."""
        for table in self.tables:
            rows = table.filter(np.array(table["model"].to_pylist()) == model)
            if len(rows):
                return {name: rows[name].to_numpy() for name in rows.column_names}
        return None


def read_results(folder: Path) -> Results:
    """The results of a folder; SystemExit where they are of more than one dataset."""
    import pyarrow.parquet as pq

    trials = [t for path in sorted(folder.glob("*.jsonl")) for t in read_trials(path)]
    data = sorted({t.data for t in trials})
    if len(data) > 1:
        raise SystemExit(f"{folder}: results of one dataset are needed, found {', '.join(data)}; delete the older ones")
    unique = {t.key: t for t in trials}
    tables = [pq.read_table(path) for path in sorted(folder.glob("*.parquet"))]
    return Results(tuple(unique.values()), tuple(t for t in tables if t["split"][0].as_py() == MAIN_SPLIT))


def verdict(results: Results, rival: str, split: str, metric: str, higher: bool) -> str:
    """How OURS compares with a rival on one metric: a mark, or nothing where they are not told apart.

    ▼ ours is better and ▲ the rival is, with intervals that do not overlap; ▽ and △ the same where only the interval of
    the differences on the same seeds excludes 0.
    """
    ours, theirs = ({t.seed: t.metrics for t in results.seeds(m, split)} for m in (OURS, rival))
    seeds = [s for s in ours if s in theirs and metric in ours[s] and metric in theirs[s]]
    if rival == OURS or len(seeds) < 2:
        return ""
    a, b = results.of(OURS, split)[metric], results.of(rival, split)[metric]
    sign = 1.0 if higher else -1.0
    gain = summary([{"gain": sign * (ours[s][metric] - theirs[s][metric])} for s in seeds])["gain"]
    better, worse = gain["low"] > 0.0, gain["high"] < 0.0
    apart = a["low"] > b["high"] or a["high"] < b["low"]
    return ("▼" if apart else "▽") if better else ("▲" if apart else "△") if worse else ""
