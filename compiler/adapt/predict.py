"""t_b(B, q, T): what every sub-block of a decoder costs in one step, predicted from the text of its kernels.

A step is imported and fused with its sub-blocks behind masks, so that each kernel belongs to one sub-block or to the
rest; the cost model predicts every kernel, and `costmodel.in_place` what it takes inside the program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from compiler.adapt.bandwidth import read_bandwidth
from compiler.adapt.costs import Costs, StepCosts
from compiler.decode.export import import_step, skippable
from compiler.decode.step_module import StepShape
from compiler.driver import CompileOptions, decide
from compiler.plan.steps import IfStep, KernelCall, Step, Steps
from compiler.target import detect_target
from costmodel.in_place import Bandwidth, InPlace, kernel_use, read_in_place

WIDTHS = (1, 2, 4, 8, 16)
"""Widths that are predicted; others are interpolated."""
HOST_NS = 30_000.0
"""Of a step outside of its program: binding, sampling, writing the new rows (measured: 20 to 40 us at batch 1)."""


@dataclass(frozen=True)
class Predictor:
    """What predictions need of this machine."""

    fit: InPlace
    bandwidth: Bandwidth
    options: CompileOptions

    @staticmethod
    def here(say: Callable[[str], None] = lambda _: None, cost_model: str = "default") -> Predictor:
        return Predictor(read_in_place(), read_bandwidth(say), CompileOptions(cost_model))

    def step_costs(self, model: Any, shape: StepShape) -> StepCosts:
        """Costs of one step of a transformers model, nothing compiled or run."""
        made, planned = decide(skippable(import_step(model, shape, "step")), self.options)
        latencies = {key: choice.predicted["latency_ns"].value for key, choice in made.choices.items()}
        return self.planned_costs(planned, latencies)

    def planned_costs(self, planned: Steps, latencies: dict[str, float]) -> StepCosts:
        """Costs of a step that is planned; predicted latencies by workload."""
        uses = {key: kernel_use(text, latencies[key]) for key, text in planned.workloads.items()}
        placed = list(placed_calls(planned.steps))
        nanoseconds = self.fit.nanoseconds([uses[call.workload] for call, _ in placed], self.bandwidth, detect_target())
        return step_costs([block for _, block in placed], nanoseconds, self.fit.spread)


def placed_calls(steps: Sequence[Step], block: int | None = None) -> Iterator[tuple[KernelCall, int | None]]:
    """Every call of a run that takes every branch, and the sub-block that it belongs to."""
    for step in steps:
        if isinstance(step, KernelCall):
            yield step, block
        elif isinstance(step, IfStep):
            yield from placed_calls(step.then, step.condition.offset if block is None else block)
        else:
            for _ in range(step.count):
                yield from placed_calls(step.body, block)


def step_costs(blocks: Sequence[int | None], nanoseconds: Sequence[float], spread: float = 0.0) -> StepCosts:
    """Sums by sub-block of the times of calls."""
    sums: dict[int, float] = {}
    rest = HOST_NS
    for block, time in zip(blocks, nanoseconds, strict=True):
        if block is None:
            rest += time
        else:
            sums[block] = sums.get(block, 0.0) + time
    return StepCosts(tuple(sums[b] for b in range(len(sums))), rest, spread)


def predicted_costs(model: Any, batch: int, context: int, say: Callable[[str], None] = lambda _: None) -> Costs:
    """Costs by width of a transformers model; widths beside WIDTHS are interpolated, beyond extrapolated."""
    predictor = Predictor.here(say)
    known: dict[int, StepCosts] = {}
    for width in WIDTHS:
        say(f"predicting steps of width {width}")
        known[width] = predictor.step_costs(model, StepShape(batch, width, context))
    table = np.array([[*c.blocks, c.rest] for c in known.values()])

    def costs(width: int) -> StepCosts:
        if width in known:
            return known[width]
        at = min(max(int(np.searchsorted(WIDTHS, width)), 1), len(WIDTHS) - 1)
        low, high = WIDTHS[at - 1], WIDTHS[at]
        row = table[at - 1] + (table[at] - table[at - 1]) * (width - low) / (high - low)
        return StepCosts(tuple(row[:-1].tolist()), float(row[-1]), predictor.fit.spread)

    return costs
