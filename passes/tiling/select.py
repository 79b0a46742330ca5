"""Chooses a schedule for a workload: the cost model ranks every legal one, or the fixed heuristic decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from passes.region.structure import UnsupportedRegion
from passes.tiling.candidate import Template, read_template
from passes.tiling.schedule import Schedule
from passes.tiling.space import VectorUnit, heuristic, schedules

PLAIN = Schedule("plain", vector=1, pack=False, parallel=False)


@dataclass(frozen=True)
class Choice:
    """The schedule of one workload, its candidate text, and why: predictions by metric, or why no emitter reads it."""

    schedule: Schedule
    candidate: str
    predicted: Mapping[str, Any] = field(default_factory=dict)
    considered: int = 1
    reason: str = ""


def choose(workload: str, unit: VectorUnit, cost_model: Any, target: Any) -> Choice:
    """The schedule with the lowest predicted latency; ties go to the earlier one, so the choice is deterministic.

    `cost_model` is a costmodel.protocol.CostModel or None for the heuristic.
    """
    template = read_template(workload)
    if template.region is None:
        return _without_region(template, unit, template.reason)
    try:
        options = [heuristic(template.region, unit)] if cost_model is None else schedules(template.region, unit)
    except (UnsupportedRegion, ValueError) as error:
        return _without_region(template, unit, str(error))
    if cost_model is None:
        return Choice(options[0], template.candidate(options[0]))
    return _best(template, options, cost_model, target)


def _without_region(template: Template, unit: VectorUnit, reason: str) -> Choice:
    """What no emitter reads: transform scripts if it has a structured op, else the plain lowering."""
    structured = "linalg.generic" in template.workload
    schedule = Schedule("transform", vector=unit.lanes, rows=4, pack=False, parallel=False) if structured else PLAIN
    return Choice(schedule, template.candidate(schedule), reason=reason)


def _best(template: Template, options: Sequence[Schedule], cost_model: Any, target: Any) -> Choice:
    candidates = [template.candidate(s) for s in options]
    predictions = cost_model.predict(candidates, target)
    latencies = [p["latency_ns"].value for p in predictions]
    best = min(range(len(options)), key=lambda i: (latencies[i], i))
    return Choice(options[best], candidates[best], dict(predictions[best]), len(options))
