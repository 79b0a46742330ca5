"""How `seer` is trained: the bound's constants first, then members, then intervals on networks held out, then ranks."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from costmodel.bound import Constants, fit
from costmodel.dataset import Dataset
from costmodel.errors import SeercError
from costmodel.schedules import Array
from costmodel.seer import COUNTED, MEMBERS, Inputs, SeerModel, SeerOptions, inputs, raw_metric
from costmodel.trees import grow, parameters, run

if TYPE_CHECKING:
    import xgboost

COVERAGE = 0.9
NOISE = 0.03
"""Relative error of a latency that was measured without disturbance."""


@dataclass(frozen=True)
class SeerLearner:
    """The learner of `SeerModel`."""

    options: SeerOptions = field(default_factory=SeerOptions)
    name: str = "seer"

    def fit(self, data: Dataset, seed: int = 0) -> SeerModel:
        """See `costmodel.learner.Learner`."""
        options = replace(self.options, seed=seed)
        known = _known(data)
        if not known:
            raise SeercError(f"{len(data)} records are too few to train on: at least 40 successful ones are needed")
        train = _part(data, options)
        constants = _fit_constants(data, train & known["latency_ns"])
        found = inputs(data.matrix, data.counts, data.prior, constants)
        first = {m: fit_metric(m, found, data, train & rows, options) for m, rows in known.items()}
        boosters, widths = dict[str, Any](), dict[str, float]()
        for metric, rows in known.items():
            size = np.abs(label(metric, data) - raw_metric(metric, first[metric], found))
            error, widths[metric] = _fit_interval(found, size, rows & ~train, data, options)
            boosters |= fit_metric(metric, found, data, rows, options) | {f"{metric}.error": error}
        if options.rank_weight:
            boosters["rank"] = _fit_rank(found, data, options)
        return SeerModel(boosters, constants, widths, data.targets, options)


def label(metric: str, data: Dataset) -> Array:
    """What is learned of a metric; NaN where it is not known."""
    measured = data.measured[metric]
    return np.log(np.maximum(measured, 1e-3)) if metric in MEMBERS else measured


def fit_metric(
    metric: str, found: Inputs, data: Dataset, rows: NDArray[np.bool_], options: SeerOptions
) -> dict[str, xgboost.Booster]:
    """The members of one metric, grown on `rows`."""
    weight = _weights(metric, data)[rows]
    trees = options.trees if metric == "latency_ns" else options.other_trees
    if metric not in MEMBERS:
        deep = replace(options, depth=options.counted_depth, columns=min(1.0, 2 * options.columns), minimum_weight=1.0)
        return {metric: _grow(found.matrix[rows], label(metric, data)[rows], weight, trees, deep)}
    residual = (label(metric, data) - found.priors[metric])[rows]
    seeds = [replace(options, seed=options.seed + number) for number in range(MEMBERS[metric])]
    return {f"{metric}.{i}": _grow(found.matrix[rows], residual, weight, trees, o) for i, o in enumerate(seeds)}


def _fit_constants(data: Dataset, rows: NDArray[np.bool_]) -> Constants:
    weight = 1.0 / np.bincount(data.tasks)[data.tasks]
    return fit(data.counts[rows], data.measured["latency_ns"][rows], weight[rows])


def _known(data: Dataset) -> dict[str, NDArray[np.bool_]]:
    """Rows with a measured value, by metric; metrics with too few are left out."""
    rows = {m: np.isfinite(data.measured[m]) for m in (*MEMBERS, *COUNTED) if m in data.measured}
    return {m: r for m, r in rows.items() if r.sum() >= 40} if rows["latency_ns"].sum() >= 40 else {}


def _part(data: Dataset, options: SeerOptions) -> NDArray[np.bool_]:
    """Rows of the networks that members are fitted to before intervals are calibrated on the others."""
    groups = data.groups if len(np.unique(data.groups)) >= 4 else data.workloads
    names = np.random.default_rng(options.seed).permutation(np.unique(groups))
    held = names[: max(1, round(options.held_out * len(names)))]
    return ~np.isin(groups, held)


def _weights(metric: str, data: Dataset) -> Array:
    """Every task counts alike; in it, what was measured without disturbance and what is fast count more."""
    counts = np.bincount(data.tasks)[data.tasks].astype(np.float64)
    weight = 1.0 / counts
    if metric == "latency_ns":
        latency, best = data.measured["latency_ns"], np.full(len(counts), np.inf)
        np.fmin.at(best, data.tasks, latency)
        spread = np.nan_to_num(data.spread, nan=0.1) / 4.0
        weight *= np.sqrt(best[data.tasks] / latency) * NOISE**2 / (NOISE**2 + np.minimum(spread, 0.2) ** 2)
    return weight * len(weight) / weight.sum()


def _fit_interval(
    found: Inputs, size: Array, rows: NDArray[np.bool_], data: Dataset, options: SeerOptions
) -> tuple[xgboost.Booster, float]:
    """A model of an error's size, and the quantile of the size in its units, on workloads that it was not fitted to."""
    half = np.random.default_rng(options.seed + 1).random(len(data.hashes))[data.workloads] < 0.5
    scaled: list[Array] = []
    for part in (half, ~half):
        fitted = _fit_error(found.matrix[rows & part], size[rows & part], options)
        scaled.append(size[rows & ~part] / np.exp(run(fitted, found.matrix[rows & ~part])))
    error = _fit_error(found.matrix[rows], size[rows], options)
    return error, float(np.quantile(np.concatenate(scaled), COVERAGE))


def _fit_error(matrix: NDArray[np.float32], size: Array, options: SeerOptions) -> xgboost.Booster:
    """A model of the logarithm of an error's size."""
    floor = max(float(np.quantile(size, 0.2)), 1e-4)
    small = replace(options, depth=4, learning_rate=0.1, minimum_weight=8.0)
    return _grow(matrix, np.log(size + floor), np.ones(len(size)), options.error_trees, small)


def _fit_rank(found: Inputs, data: Dataset, options: SeerOptions) -> xgboost.Booster:
    """LambdaRank (NDCG) over the candidates of a task; relevance is the fastest latency over a candidate's."""
    import xgboost

    order = np.argsort(data.tasks, kind="stable")
    latency, best = data.measured["latency_ns"], np.full(data.tasks.max() + 1, np.inf)
    np.fmin.at(best, data.tasks, latency)
    relevance = np.clip(31 * best[data.tasks] / latency, 0, 31).astype(np.int64)
    rows = xgboost.DMatrix(found.matrix[order], relevance[order], nthread=1)
    rows.set_group(np.bincount(data.tasks))
    ranking = {"objective": "rank:ndcg", "lambdarank_num_pair_per_sample": 8}
    return xgboost.train(_parameters(options) | ranking, rows, options.other_trees)


def _grow(
    matrix: NDArray[np.float32], found: Array, weight: Array, trees: int, options: SeerOptions
) -> xgboost.Booster:
    return grow(matrix, found, weight, trees, _parameters(options))


def _parameters(options: SeerOptions) -> dict[str, Any]:
    return parameters(options) | {"max_bin": options.bins}
