"""The decision to merge: by predicted latency, with a veto on predicted spills unless the gain is large."""

from __future__ import annotations

from typing import Any

import pytest

from costmodel.protocol import Value
from costmodel.target import Target
from passes.fusion.cost import CostDecision
from passes.tiling.schedule import Schedule
from passes.tiling.select import Choice
from passes.tiling.space import VectorUnit


def choice(latency: float, spills: float = 0.0) -> Choice:
    predicted = {"latency_ns": Value(latency, latency, latency), "spills": Value(spills, spills, spills)}
    return Choice(Schedule("direct"), "", predicted)


@pytest.mark.parametrize(
    ("merged", "merges"),
    [
        (choice(100.0), True),
        (choice(105.0), True),  # a call and a buffer less
        (choice(120.0), False),
        (choice(95.0, spills=3.0), False),
        (choice(60.0, spills=3.0), True),  # what spills cost is in the latency
    ],
)
def test_regions_are_merged_by_their_predictions(merged: Choice, merges: bool) -> None:
    model: Any = None
    known = {"merged": merged, "a": choice(70.0), "b": choice(30.0)}
    decide = CostDecision(model, Target("any"), VectorUnit(16, 32), known)
    assert decide("merged", ["a", "b"]) is merges
