"""Ours: trees over what the text says a schedule executes, as residuals of a fitted bound, with ranks and intervals.

The features are the workload's and schedule's (costmodel.features) and the counts of the loop nest that the text
stands for (costmodel.counting). Latency is the geometric mean of members that learn the residual to a bound of the loop
nest, whose constants are fitted first (costmodel.bound). A LambdaRank member orders the candidates of one task. Every
metric has a model of its own error's size, and intervals are conformal in units of it (Lei et al., "Distribution-free
predictive inference for regression", 2018, section 5.2), on networks that the fitted members did not see.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from costmodel.artefact import check_target, save_artefact
from costmodel.boosted import check_features
from costmodel.bound import Constants, bound, shares, terms, work_of
from costmodel.candidates import as_predictions, group_candidates
from costmodel.counting import NAMES, count_matrix
from costmodel.dataset import Dataset
from costmodel.errors import SeercError
from costmodel.features import FEATURE_VERSION, feature_matrix, feature_names
from costmodel.learner import Predicted
from costmodel.protocol import ORDER, Prediction
from costmodel.schedules import Array
from costmodel.target import Target
from costmodel.trees import booster_files, read_boosters, run

if TYPE_CHECKING:
    import xgboost

MEMBERS = {"latency_ns": 3, "instructions": 1, "code_bytes": 1, "peak_bytes": 1}
"""Metrics that are learned as logarithms of the ratio to a prior, and how many members they have."""
COUNTED = ("registers", "spills", "vector_utilisation")
"""Metrics that are learned as they are."""
ALL_METRICS = (*MEMBERS, *COUNTED, "utilisation")
"""`utilisation` follows from the latency."""
_TOTALS = [i for i, name in enumerate(NAMES) if name.startswith("total_")]


@dataclass(frozen=True)
class SeerOptions:
    """How the trees are grown."""

    trees: int = 400
    """Of each latency member."""
    other_trees: int = 250
    """Of every other metric, and of the ranking member."""
    counted_depth: int = 9
    """Of the trees of counted metrics: what a compiler decides has sharp edges."""
    error_trees: int = 60
    """Of the model of a metric's error."""
    depth: int = 9
    learning_rate: float = 0.05
    rows: float = 0.8
    columns: float = 0.3
    """Shares of rows and features that each tree sees."""
    minimum_weight: float = 4.0
    bins: int = 128
    held_out: float = 0.25
    """Share of the networks that intervals are calibrated on; the members are then grown again on all."""
    rank_weight: float = 0.1
    """Share of the ranking member in the order of candidates."""
    work_weight: float = 0.1
    """Share of the work (what the loop nest takes with all data at hand) in a compiler's order: of schedules that
    memory makes equal, the one with less work is the better where the data are nearer than when it was measured (the
    weights of an LSTM's loop). Records know no such place, so that scores against them leave it out."""
    seed: int = 0


@dataclass(frozen=True)
class Inputs:
    """What the members read of n candidates: features (n, f), and the logarithm of each metric's prior."""

    matrix: NDArray[np.float32]
    priors: dict[str, Array]
    peak_ns: Array
    """What the operations would take at the target's peak."""
    work_ns: Array
    """What the loop nest takes with all data at hand."""


def inputs(matrix: Array, counts: Array, analytic: Mapping[str, Array], constants: Constants) -> Inputs:
    """The members' inputs from features, counts and analytic estimates of the same candidates."""
    readable = counts[:, NAMES.index("readable")] > 0
    column = {name: counts[:, i] for i, name in enumerate(NAMES)}
    parts = terms(counts, constants)
    bounds = {
        "latency_ns": bound(parts, constants),
        "instructions": counts[:, _TOTALS].sum(axis=1) + 4.0 * column["tiles"],
        "code_bytes": 7.0 * column["code"] + 200.0,
        "peak_bytes": analytic["peak_bytes"],
    }
    priors = {m: np.log(np.maximum(np.where(readable, bounds[m], analytic[m]), 1.0)) for m in MEMBERS}
    latency = np.exp(priors["latency_ns"])
    ratios = np.stack(
        [latency, np.maximum(analytic["latency_ns"], 1.0) / latency, latency / np.maximum(column["peak_ns"], 1e-3)],
        axis=1,
    )
    logs = np.log2(np.hstack([1.0 + np.maximum(counts, 0.0), np.maximum(ratios, 1e-3)]))
    features = np.hstack([matrix, logs, shares(counts, parts, latency, constants)]).astype(np.float32)
    return Inputs(features, priors, column["peak_ns"], work_of(parts))


@dataclass(frozen=True)
class SeerModel:
    """A trained model."""

    boosters: dict[str, xgboost.Booster]
    """`METRIC.NUMBER` for members, `METRIC` for counted metrics, `METRIC.error`, and `rank`."""
    constants: Constants
    widths: dict[str, float]
    """Half-width of a metric's interval in units of its predicted error."""
    targets: tuple[Target, ...]
    options: SeerOptions = field(default_factory=SeerOptions)
    name: str = "seer"

    def predict(
        self, candidates: Sequence[str], target: Target, metrics: Sequence[str] | None = None
    ) -> list[Prediction]:
        """See `costmodel.protocol.CostModel.predict`."""
        check_target(self.name, list(self.targets), target)
        groups = group_candidates(candidates)
        matrix, analytic = feature_matrix(groups, len(candidates), [target] * len(groups))
        found = inputs(matrix, count_matrix(groups, len(candidates), target), analytic, self.constants)
        values, low, high = self._tables(found, ALL_METRICS if metrics is None else metrics)
        return list[Prediction](as_predictions(values, low, high, len(candidates)))

    def predict_dataset(self, data: Dataset) -> Predicted:
        """See `costmodel.learner.Trained`."""
        found = inputs(data.matrix, data.counts, data.prior, self.constants)
        values, low, high = self._tables(found, ALL_METRICS)
        return Predicted(values, low, high, self.order(found, values["latency_ns"]))

    def order(self, found: Inputs, latency: Array) -> Array:
        """What candidates of one task are sorted by: log latency and the ranking member."""
        if "rank" not in self.boosters:
            return np.log(latency)
        return np.log(latency) - self.options.rank_weight * run(self.boosters["rank"], found.matrix)

    def _tables(self, found: Inputs, metrics: Sequence[str]) -> tuple[dict[str, Array], ...]:
        values, low, high = dict[str, Array](), dict[str, Array](), dict[str, Array]()
        for metric in metrics:
            if metric in self.widths:
                values[metric], low[metric], high[metric] = self._metric(metric, found)
        if ORDER in metrics:
            latency = values["latency_ns"] if "latency_ns" in values else self._metric("latency_ns", found)[0]
            order = self.order(found, latency) + self.options.work_weight * np.log(np.maximum(found.work_ns, 1.0))
            values[ORDER] = low[ORDER] = high[ORDER] = order
        if "utilisation" in metrics:
            bounds = self._metric("latency_ns", found) if "latency_ns" not in values else None
            middle, lower, upper = bounds or (values["latency_ns"], low["latency_ns"], high["latency_ns"])
            for table, latency in ((values, middle), (low, upper), (high, lower)):
                table["utilisation"] = found.peak_ns / latency
        return values, low, high

    def _metric(self, metric: str, found: Inputs) -> tuple[Array, Array, Array]:
        raw = raw_metric(metric, self.boosters, found)
        error = (
            np.exp(run(self.boosters[f"{metric}.error"], found.matrix)) if f"{metric}.error" in self.boosters else 1.0
        )
        reach = self.widths[metric] * error
        return tuple(to_metric(metric, raw + d) for d in (0.0, -reach, reach))  # pyright: ignore[reportReturnType]

    def save(self, folder: Path, card: str, extra: dict[str, Any]) -> None:
        """See `costmodel.learner.Trained`."""
        config = {
            "model": "seer",
            "feature_version": FEATURE_VERSION,
            "features": list(feature_names()),
            "counts": list(NAMES),
            "targets": [json.loads(t.to_json()) for t in self.targets],
            "options": asdict(self.options),
            "widths": self.widths,
            "constants": asdict(self.constants),
        }
        save_artefact(folder, {**config, **extra}, booster_files(self.boosters), card)


def load(config: dict[str, Any], files: dict[str, bytes]) -> SeerModel:
    """The model of an artefact's configuration and files; SeercError if its features are not today's."""
    name = str(config["name"])
    check_features(name, config)
    if config["counts"] != list(NAMES):
        raise SeercError(f"cost model {name}: made by another version of seerc; train the model again")
    targets = tuple(Target.from_json(json.dumps(t)) for t in config["targets"])
    widths = {k: float(v) for k, v in config["widths"].items()}
    constants = Constants(*(tuple(map(float, config["constants"][n])) for n in ("slots", "factors")))
    return SeerModel(read_boosters(files), constants, widths, targets, SeerOptions(**config["options"]), name)


def raw_metric(metric: str, boosters: Mapping[str, xgboost.Booster], found: Inputs) -> Array:
    """The prediction in the space of `label`."""
    if metric not in MEMBERS:
        return run(boosters[metric], found.matrix)
    parts = [run(boosters[f"{metric}.{number}"], found.matrix) for number in range(MEMBERS[metric])]
    return np.mean(parts, axis=0) + found.priors[metric]


def to_metric(metric: str, raw: Array) -> Array:
    """The metric of what `raw_metric` gives."""
    if metric in MEMBERS:
        return np.exp(raw)
    return np.clip(raw, 0.0, 1.0 if metric == "vector_utilisation" else np.inf)
