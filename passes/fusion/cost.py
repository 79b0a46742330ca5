"""Cost-driven fusion: merge only if the merged region is predicted to be as fast as its parts, and does not spill for
a small gain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from costmodel.protocol import CostModel
from costmodel.target import Target
from passes.tiling.select import Choice, choose_all
from passes.tiling.space import VectorUnit

MARGIN = 1.1
"""A merged region may be predicted this much slower: it saves a call and a buffer that no prediction counts."""
SURE = 0.8
"""A merged region that is predicted to take at most this share of its parts may spill: its latency counts that."""
METRICS = ("latency_ns", "spills")
"""What a decision reads."""
SCHEDULES = 24
"""Schedules of a region, of the widest vectors, that a decision looks at: what fusing gains changes little among the
best. With 64 of all vectors five of seven models of the zoo are fused the same, and it takes half as long again."""


@dataclass
class CostDecision:
    """A `Decide` callback. Predictions of equal texts are made once."""

    cost_model: CostModel
    target: Target
    unit: VectorUnit
    _choices: dict[str, Choice] = field(default_factory=dict[str, Choice])

    def __call__(self, merged: str, parts: Sequence[str]) -> bool:
        whole, *pieces = self._all(merged, *parts)
        if not all(c.predicted for c in (whole, *pieces)):
            return bool(whole.predicted) or not any(c.predicted for c in pieces)
        apart = sum(_latency(c) for c in pieces)
        share = _latency(whole) / apart
        return share <= SURE or (share <= MARGIN and not self._spills(whole, pieces))

    def _all(self, *texts: str) -> list[Choice]:
        new = [text for text in dict.fromkeys(texts) if text not in self._choices]
        if new:
            found = choose_all(new, self.unit, self.cost_model, self.target, METRICS, SCHEDULES)
            self._choices.update(zip(new, found, strict=True))
        return [self._choices[text] for text in texts]

    def _spills(self, whole: Choice, pieces: Sequence[Choice]) -> bool:
        """The register-pressure veto: even the lower bound says that merging makes the hot loop spill."""
        return _low(whole, "spills") > max(_value(p, "spills") for p in pieces) + 0.5


def _latency(choice: Choice) -> float:
    return choice.predicted["latency_ns"].value


def _value(choice: Choice, metric: str) -> float:
    return choice.predicted[metric].value if metric in choice.predicted else 0.0


def _low(choice: Choice, metric: str) -> float:
    return choice.predicted[metric].low if metric in choice.predicted else 0.0
