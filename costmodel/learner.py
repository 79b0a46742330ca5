"""What every architecture offers: a learner that is fitted to a dataset, and a trained model that predicts its rows."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from costmodel.dataset import Dataset
from costmodel.errors import unknown_name
from costmodel.protocol import CostModel
from costmodel.schedules import Array

ARCHITECTURES: dict[str, str] = {
    "analytic": "costmodel.analytic_learner:AnalyticLearner",
    "xgboost": "costmodel.boosted:BoostedLearner",
    "bag": "costmodel.neural.learner:Bag",
    "lstm": "costmodel.neural.learner:Lstm",
    "conv1d": "costmodel.neural.learner:Conv1d",
    "transformer": "costmodel.neural.learner:Transformer",
    "graph": "costmodel.neural.learner:Graph",
    "seer": "costmodel.seer_learner:SeerLearner",
}
"""Architecture to `module:class` of its learner; modules are imported when asked for."""


@dataclass(frozen=True)
class Predicted:
    """Predictions for all n rows of a dataset: arrays of shape (n,) by metric; intervals where the model gives them."""

    values: dict[str, Array]
    low: dict[str, Array] = field(default_factory=dict[str, Array])
    high: dict[str, Array] = field(default_factory=dict[str, Array])
    order: Array | None = None
    """Ranking score, lower is faster; None ranks by `values["latency_ns"]`."""

    @property
    def ranking(self) -> Array:
        """What candidates of one task are sorted by."""
        return self.values["latency_ns"] if self.order is None else self.order


class Trained(CostModel, Protocol):
    """A cost model that also predicts the rows of a dataset, without parsing them anew, and can be saved."""

    def predict_dataset(self, data: Dataset) -> Predicted:
        """Predictions for every row, in order."""
        ...

    def save(self, folder: Path, card: str, extra: dict[str, Any]) -> None:
        """Write the artefact folder (`costmodel.artefact`): config.json with `extra`, weights, card.md."""
        ...


class Learner(Protocol):
    """An architecture with its options."""

    @property
    def name(self) -> str:
        """The key in ARCHITECTURES."""
        ...

    def fit(self, data: Dataset, seed: int = 0) -> Trained:
        """Train on all rows; reproducible for a seed.

        Raises:
            SeercError: too little data.
        """
        ...


def learner(name: str, **options: Any) -> Learner:
    """The learner of an architecture; `options` replace its defaults.

    Raises:
        SeercError: unknown name.
    """
    if name not in ARCHITECTURES:
        raise unknown_name("architecture", name, ARCHITECTURES)
    module, _, kind = ARCHITECTURES[name].partition(":")
    return getattr(importlib.import_module(module), kind)(**options)
