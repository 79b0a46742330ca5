"""The analytic model as an architecture: what its fit learns is a factor on latency by kind, and interval widths."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from costmodel.analytic import AnalyticModel, Calibration
from costmodel.dataset import Dataset
from costmodel.errors import SeercError
from costmodel.facts import KINDS
from costmodel.learner import Predicted

COVERAGE = 0.9


@dataclass(frozen=True)
class TrainedAnalytic(AnalyticModel):
    """The calibrated analytic model."""

    calibration: Calibration = field(default_factory=Calibration)
    name: str = "analytic"

    def predict_dataset(self, data: Dataset) -> Predicted:
        """See `costmodel.learner.Trained`."""
        values = self.correct(data.prior, data.kinds)
        bounds = {m: self.interval(m, v) for m, v in values.items()}
        return Predicted(values, {m: b[0] for m, b in bounds.items()}, {m: b[1] for m, b in bounds.items()})

    def save(self, folder: Path, card: str, extra: dict[str, Any]) -> None:
        """There is nothing to save: the analytic model ships with seerc."""
        raise SeercError(f"{folder}: the analytic model needs no artefact; name it with `--cost-model analytic`")


@dataclass(frozen=True)
class AnalyticLearner:
    """The learner of `TrainedAnalytic`."""

    name: str = "analytic"

    def fit(self, data: Dataset, seed: int = 0) -> TrainedAnalytic:
        """The analytic model with its scale by kind, and its interval, taken from measured latencies."""
        ratio = np.log(data.measured["latency_ns"]) - np.log(data.prior["latency_ns"])
        scale = np.full(len(KINDS) + 1, float(np.median(ratio)))
        for kind in np.unique(data.kinds):
            scale[kind] = np.median(ratio[data.kinds == kind])
        factor = float(np.exp(np.quantile(np.abs(ratio - scale[data.kinds]), COVERAGE)))
        scales = {k: float(np.exp(scale[i])) for i, k in enumerate(KINDS)}
        return TrainedAnalytic(Calibration(scales, max(1.01, factor)))
