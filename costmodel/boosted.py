"""Gradient-boosted trees on features: each metric is the analytic prior plus a learned residual, with an interval.

Latency, instructions and sizes are learned as log(measured / analytic), counts and shares as differences. Intervals
are conformal: quantiles of out-of-fold residuals on workloads (whole networks, where there are enough) that the fold's
model did not see. Training and prediction use one thread and a fixed seed, so that both are reproducible bit for bit.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from costmodel.artefact import check_target, save_artefact
from costmodel.candidates import as_predictions, group_candidates
from costmodel.dataset import Dataset
from costmodel.errors import SeercError
from costmodel.features import FEATURE_VERSION, feature_matrix, feature_names
from costmodel.learner import Predicted
from costmodel.protocol import Prediction
from costmodel.schedules import Array
from costmodel.target import Target
from costmodel.trees import booster_files, grow, parameters, read_boosters, run

if TYPE_CHECKING:
    import xgboost

RATIO_METRICS = ("latency_ns", "instructions", "code_bytes", "peak_bytes")
"""Learned as log ratios to the analytic estimate; of peak_bytes the interval alone, the estimate is kept."""
SHARE_METRICS = ("registers", "spills", "vector_utilisation")
"""Learned as differences from it."""
COVERAGE = 0.9


@dataclass(frozen=True)
class BoostedOptions:
    """How the trees are grown."""

    trees: int = 400
    """For latency."""
    other_trees: int = 150
    """For every other metric: they are nearly functions of a few features."""
    depth: int = 6
    learning_rate: float = 0.08
    rows: float = 0.8
    """Share of the rows that each tree sees."""
    columns: float = 0.6
    """Share of the features that each tree sees."""
    minimum_weight: float = 3.0
    folds: int = 5
    """Folds for the conformal intervals."""
    focus: float = 0.5
    """Weight of a row is (fastest of its workload / its latency) ** focus: the model is used to pick fast ones."""
    seed: int = 0


@dataclass(frozen=True)
class BoostedModel:
    """A trained model; see `costmodel.artefact` for saving and loading."""

    boosters: dict[str, xgboost.Booster]
    margins: dict[str, tuple[float, float]]
    """Residual quantiles (low, high) of each metric, in the space that it is learned in."""
    targets: tuple[Target, ...]
    """The kinds of machine that it was trained for."""
    options: BoostedOptions = field(default_factory=BoostedOptions)
    name: str = "xgboost"

    def predict(
        self, candidates: Sequence[str], target: Target, metrics: Sequence[str] | None = None
    ) -> list[Prediction]:
        """See `costmodel.protocol.CostModel.predict`."""
        check_target(self.name, list(self.targets), target)
        groups = group_candidates(candidates)
        matrix, prior = feature_matrix(groups, len(candidates), [target] * len(groups))
        values, low, high = self.predict_arrays(matrix, prior, metrics)
        return list[Prediction](as_predictions(values, low, high, len(candidates)))

    def predict_arrays(
        self, matrix: Array, prior: dict[str, Array], metrics: Sequence[str] | None = None
    ) -> tuple[dict[str, Array], dict[str, Array], dict[str, Array]]:
        """(values, low, high) by metric, from `feature_matrix`."""
        wanted = [
            m
            for m in self.margins
            if metrics is None or m in metrics or (m == "latency_ns" and "utilisation" in metrics)
        ]
        values, low, high = {}, {}, {}
        for metric in wanted:
            raw = run(self.boosters[metric], matrix) if metric in self.boosters else np.zeros(len(matrix))
            bounds = self.margins[metric]
            values[metric], low[metric], high[metric] = (to_metric(metric, raw + d, prior) for d in (0.0, *bounds))
        if "latency_ns" in values and (metrics is None or "utilisation" in metrics):
            work = prior["utilisation"] * prior["latency_ns"]
            values["utilisation"] = np.minimum(1.0, work / values["latency_ns"])
            low["utilisation"] = np.minimum(1.0, work / high["latency_ns"])
            high["utilisation"] = np.minimum(1.0, work / low["latency_ns"])
            if metrics is not None and "latency_ns" not in metrics:
                for table in (values, low, high):
                    del table["latency_ns"]
        return values, low, high

    def predict_dataset(self, data: Dataset) -> Predicted:
        """See `costmodel.learner.Trained`."""
        return Predicted(*self.predict_arrays(data.matrix, data.prior))

    def save(self, folder: Path, card: str, extra: dict[str, Any]) -> None:
        """See `costmodel.learner.Trained`."""
        config = {
            "model": "xgboost",
            "feature_version": FEATURE_VERSION,
            "features": list(feature_names()),
            "targets": [json.loads(t.to_json()) for t in self.targets],
            "options": asdict(self.options),
            "margins": self.margins,
        }
        save_artefact(folder, {**config, **extra}, booster_files(self.boosters), card)


@dataclass(frozen=True)
class BoostedLearner:
    """The learner of `BoostedModel`."""

    options: BoostedOptions = field(default_factory=BoostedOptions)
    name: str = "xgboost"

    def fit(self, data: Dataset, seed: int = 0) -> BoostedModel:
        """See `costmodel.learner.Learner`."""
        return fit(data, replace(self.options, seed=seed))


def load(config: dict[str, Any], files: dict[str, bytes]) -> BoostedModel:
    """The model of an artefact's configuration and files; SeercError if its features are not today's."""
    name = str(config["name"])
    check_features(name, config)
    margins = {k: (float(v[0]), float(v[1])) for k, v in config["margins"].items()}
    targets = tuple(Target.from_json(json.dumps(t)) for t in config["targets"])
    return BoostedModel(read_boosters(files), margins, targets, BoostedOptions(**config["options"]), name)


def check_features(name: str, config: dict[str, Any]) -> None:
    """SeercError unless an artefact's feature columns are those that this seerc computes."""
    if config["feature_version"] != FEATURE_VERSION or config["features"] != list(feature_names()):
        raise SeercError(
            f"cost model {name}: its features (feature version {config['feature_version']}) are not those of this "
            f"seerc ({FEATURE_VERSION}); train the model again"
        )


def fit(data: Dataset, options: BoostedOptions | None = None) -> BoostedModel:
    """Train one booster a metric and its conformal interval."""
    options = options or BoostedOptions()
    boosters: dict[str, xgboost.Booster] = {}
    margins: dict[str, tuple[float, float]] = {}
    for metric in (*RATIO_METRICS, *SHARE_METRICS):
        known = np.isfinite(data.measured.get(metric, np.full(len(data.matrix), np.nan)))
        if known.sum() < 20:
            continue
        rows = data.take(known)
        label = from_metric(metric, rows.measured[metric], rows.prior)
        weight = _weights(rows, options)
        if metric == "peak_bytes":
            margins[metric] = _quantiles(label)
            continue
        trees = options.trees if metric == "latency_ns" else options.other_trees
        boosters[metric] = _train(rows.matrix, label, weight, trees, options)
        margins[metric] = _margins(rows, label, weight, trees, options)
    if "latency_ns" not in boosters:
        raise SeercError(f"{len(data.matrix)} records are too few to train on: at least 20 successful ones are needed")
    return BoostedModel(boosters, margins, data.targets, options)


def from_metric(metric: str, measured: Array, prior: dict[str, Array]) -> Array:
    """What the booster learns: log ratio to, or difference from, the analytic estimate."""
    if metric in RATIO_METRICS:
        return np.log(np.maximum(measured, 1e-3)) - np.log(np.maximum(prior[metric], 1e-3))
    return measured - prior[metric]


def to_metric(metric: str, raw: Array, prior: dict[str, Array]) -> Array:
    """The metric of what a booster gives."""
    if metric in RATIO_METRICS:
        return np.exp(raw) * np.maximum(prior[metric], 1e-3)
    return np.clip(raw + prior[metric], 0.0, 1.0 if metric == "vector_utilisation" else np.inf)


def _margins(rows: Dataset, label: Array, weight: Array, trees: int, options: BoostedOptions) -> tuple[float, float]:
    """Quantiles of out-of-fold residuals; no network (else no workload) is in two folds."""
    networks = rows.groups
    groups = networks if len(np.unique(networks)) >= options.folds else rows.workloads
    names = np.unique(groups)
    count = min(options.folds, len(names))
    if count < 2:
        spread = float(np.quantile(np.abs(label - np.median(label)), COVERAGE))
        return -spread, spread
    order = np.random.default_rng(options.seed).permutation(len(names))
    fold = (order % count)[np.searchsorted(names, groups)]
    residual = np.empty(len(label))
    for k in range(count):
        test = fold == k
        booster = _train(rows.matrix[~test], label[~test], weight[~test], trees, options)
        residual[test] = label[test] - run(booster, rows.matrix[test])
    return _quantiles(residual)


def _quantiles(residual: Array) -> tuple[float, float]:
    """The middle COVERAGE of residuals, around zero."""
    tail = (1.0 - COVERAGE) / 2.0
    return min(0.0, float(np.quantile(residual, tail))), max(0.0, float(np.quantile(residual, 1.0 - tail)))


def _weights(rows: Dataset, options: BoostedOptions) -> Array:
    """Every workload counts alike; within one, fast candidates count more."""
    latency = rows.measured["latency_ns"]
    best = np.full(rows.workloads.max() + 1, np.inf)
    np.fmin.at(best, rows.workloads, latency)
    counts = np.bincount(rows.workloads).astype(np.float64)
    speed = np.where(np.isfinite(latency), best[rows.workloads] / latency, 0.1) ** options.focus
    weight = speed / counts[rows.workloads]
    return weight * len(weight) / weight.sum()


def _train(matrix: Array, label: Array, weight: Array, trees: int, options: BoostedOptions) -> xgboost.Booster:
    return grow(matrix, label, weight, trees, parameters(options) | {"base_score": 0.0})
