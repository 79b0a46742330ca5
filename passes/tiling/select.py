"""Chooses a schedule for a workload: the cost model ranks every legal one, or the fixed heuristic decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from costmodel.caution import decide
from costmodel.protocol import ORDER
from passes.region.structure import UnsupportedRegion
from passes.tiling.candidate import Template, read_template, same_context
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
    trials: int = 0
    """Schedules of the workload that were measured for this choice."""
    measured_ns: float | None = None
    """Latency of one call on one thread, if the chosen schedule was among them."""


@dataclass(frozen=True)
class Space:
    """The legal schedules of a workload, the heuristic's first; one schedule and a reason where no emitter reads it."""

    template: Template
    schedules: Sequence[Schedule]
    reason: str = ""

    def thinned(self, most: int) -> Space:
        """The first and evenly spaced others of the widest vectors, `most` in all; the same every time."""
        widest = max(s.vector for s in self.schedules)
        some = [self.schedules[0], *(s for s in self.schedules[1:] if s.vector == widest)]
        count = len(some)
        return replace(self, schedules=[some[i * count // most] for i in range(most)] if count > most else some)

    def with_panels(self, width: int) -> Space:
        """Only the schedules that pack panels of `width` columns; all of them where there is none."""
        fitting = [s for s in self.schedules if s.algorithm == "direct" and s.pack and s.vector * s.vectors == width]
        return replace(self, schedules=fitting) if fitting else self

    def candidates(self) -> list[str]:
        """One candidate text a schedule."""
        return [self.template.candidate(s) for s in self.schedules]


def read_space(workload: str, unit: VectorUnit) -> Space:
    """All legal schedules of a workload text."""
    template = read_template(workload)
    if template.region is None:
        return Space(template, [_without_region(template, unit)], template.reason)
    try:
        return Space(template, schedules(template.region, unit))
    except (UnsupportedRegion, ValueError) as error:
        return Space(template, [_without_region(template, unit)], str(error))


def choose(workload: str, unit: VectorUnit, cost_model: Any, target: Any) -> Choice:
    """The schedule with the lowest predicted latency; see `choose_all`."""
    return choose_all([workload], unit, cost_model, target)[0]


def choose_all(
    workloads: Sequence[str],
    unit: VectorUnit,
    cost_model: Any,
    target: Any,
    metrics: Sequence[str] | None = None,
    most: int | None = None,
    panels: Sequence[int | None] = (),
    caution: float = 0.0,
) -> list[Choice]:
    """For each workload the schedule with the lowest predicted latency; ties go to the earlier one.

    `metrics` (None: all that the model knows) are predicted of the chosen ones. `cost_model` is a
    costmodel.protocol.CostModel or None for the heuristic. Spaces are thinned to `most` schedules, if that is given.
    `panels`, if not empty, gives for each workload the width of the panels that its weight is packed in, or None.
    `caution`: the share of the predicted latency that leaving the heuristic's schedule must save (costmodel.caution).
    """
    widths = panels or [None] * len(workloads)
    with same_context():
        if cost_model is None:
            return [_by_heuristic(workload, unit, width) for workload, width in zip(workloads, widths, strict=True)]
        # A few metrics of every candidate take less time than a second look at the chosen ones.
        spaces = [read_space(w, unit) for w in workloads]
        spaces = [s.with_panels(n) if n is not None else s for s, n in zip(spaces, widths, strict=True)]
        some = spaces if most is None else [space.thinned(most) for space in spaces]
        found = _fastest_of_each(some, cost_model, target, metrics or ("latency_ns",), caution)
    ranked = [i for i, choice in enumerate(found) if metrics is None and not choice.reason]
    predictions = cost_model.predict([found[i].candidate for i in ranked], target) if ranked else []
    for i, predicted in zip(ranked, predictions, strict=True):
        found[i] = replace(found[i], predicted=dict(predicted))
    return found


def _by_heuristic(workload: str, unit: VectorUnit, width: int | None) -> Choice:
    if width is not None:
        space = read_space(workload, unit).with_panels(width)
        return Choice(space.schedules[0], space.template.candidate(space.schedules[0]), reason=space.reason)
    template = read_template(workload)
    try:
        if template.region is not None:
            schedule = heuristic(template.region, unit)
            return Choice(schedule, template.candidate(schedule))
        reason = template.reason
    except (UnsupportedRegion, ValueError) as error:
        reason = str(error)
    schedule = _without_region(template, unit)
    return Choice(schedule, template.candidate(schedule), reason=reason)


def _without_region(template: Template, unit: VectorUnit) -> Schedule:
    """For what no emitter reads: transform scripts if it has a structured op, else the plain lowering."""
    if "linalg.generic" not in template.workload:
        return PLAIN
    return Schedule("transform", vector=unit.lanes, rows=4, pack=False, parallel=False)


def _fastest_of_each(
    spaces: Sequence[Space], cost_model: Any, target: Any, metrics: Sequence[str], caution: float
) -> list[Choice]:
    """The choices with their predictions of `metrics`, latency among them; one call predicts all candidates."""
    candidates = [[] if space.reason else space.candidates() for space in spaces]
    every = [candidate for some in candidates for candidate in some]
    predictions = iter(cost_model.predict(every, target, (*metrics, ORDER)) if every else [])
    return [
        _fastest(space, some, list(islice(predictions, len(some))), caution)
        for space, some in zip(spaces, candidates, strict=True)
    ]


def _fastest(space: Space, candidates: list[str], found: Sequence[Mapping[str, Any]], caution: float) -> Choice:
    if space.reason:
        return Choice(space.schedules[0], space.template.candidate(space.schedules[0]), reason=space.reason)
    predictions = [dict(p) for p in found]
    order = [p.pop(ORDER, p["latency_ns"]).value for p in predictions]
    best = decide(order, [p["latency_ns"].value for p in predictions], 0, caution)
    return Choice(space.schedules[best], candidates[best], predictions[best], len(candidates))
