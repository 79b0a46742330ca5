"""t_b(B, q, T): what every sub-block of a decoder costs in one step, predicted from the text of its kernels.

A step is imported and fused with its sub-blocks behind masks, so that each kernel belongs to one sub-block or to the
rest; the cost model predicts every kernel, and `costmodel.in_place` what it takes inside the program. Of a model whose
layers are all alike, three are enough: the first, the last, and one that stands for all between.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from compiler.adapt.bandwidth import read_bandwidth
from compiler.adapt.costs import Costs, StepCosts
from compiler.adapt.layers import decoder_layers
from compiler.decode.export import import_step, skippable
from compiler.decode.int8 import all_blocks, int8_matrices, with_int8_weights
from compiler.decode.step_module import StepShape, cache_shapes
from compiler.driver import CompileOptions, decide
from compiler.frontend.model import ImportedModel
from compiler.plan.steps import IfStep, KernelCall, Step, Steps
from costmodel.in_place import Bandwidth, InPlace, KernelUse, kernel_use, read_in_place

WIDTHS = (1, 2, 4, 8, 16)
"""Widths that are predicted; others are interpolated."""
HOST_NS = 30_000.0
"""Of a step outside of its program: calling it, choosing a token (measured: 30 to 45 us at batch 1)."""
KEEP_NS = 40.0
"""Of writing one number of a new key into the cache, which weights have swept out (measured: 35 to 43)."""
_MIDDLE = (2, 3)
"""Sub-blocks of the layer that stands for all between the first and the last."""


@dataclass(frozen=True)
class PlacedUse:
    """One kernel call of a step and its sub-block; None: of the rest."""

    use: KernelUse
    block: int | None


@dataclass(frozen=True)
class Predictor:
    """What predictions need of this machine."""

    fit: InPlace
    bandwidth: Bandwidth
    options: CompileOptions

    @staticmethod
    def here(say: Callable[[str], None] = lambda _: None, cost_model: str = "default") -> Predictor:
        return Predictor(read_in_place(), read_bandwidth(say), CompileOptions(cost_model))

    def step_costs(self, model: Any, shape: StepShape, int8: bool = False) -> StepCosts:
        """Costs of one step of a transformers model, nothing compiled or run; with `int8` of all weights in 8 bits."""
        small = three_layers(model) or model
        step = import_step(small, shape, "step")
        if int8:
            step = with_int8_weights(step, int8_matrices(small, all_blocks(small)))
        return self.placed_costs(self.placed_uses(step, model.config.num_hidden_layers))

    def decoding_costs(self, model: Any, shape: StepShape, int8: bool = False) -> StepCosts:
        """The same with what it takes to cache one token a sequence."""
        costs = self.step_costs(model, shape, int8)
        keys = sum(math.prod(values) / shape.context for values in cache_shapes(model, shape)[1::2])
        again = costs.again
        assert again is not None
        return replace(costs, rest=costs.rest + KEEP_NS * keys, again=lambda left: KEEP_NS * keys + again(left))

    def placed_uses(self, step: ImportedModel, layers: int) -> list[PlacedUse]:
        """The kernel calls of a step of so many layers, from one that has all of them or three."""
        made, planned = decide(skippable(step), self.options)
        latencies = {key: choice.predicted["latency_ns"].value for key, choice in made.choices.items()}
        placed = placed_uses(planned, latencies)
        known = 1 + max(one.block for one in placed if one.block is not None)
        return placed if known == 2 * layers else repeat_middle(placed, layers)

    def placed_costs(self, placed: Sequence[PlacedUse]) -> StepCosts:
        """Costs of a step from its calls."""
        blocks, spread = [one.block for one in placed], self.fit.spread
        times = self._nanoseconds(placed)
        full = step_costs(blocks, times, spread)
        head = max(
            ((one.use.streamed_bytes, time) for one, time in zip(placed, times, strict=True) if one.block is None),
            default=(0.0, 0.0),
        )

        def again(skipped: frozenset[int]) -> float:
            left = [one for one in placed if one.block not in skipped]
            return HOST_NS + sum(self._nanoseconds(left))

        return StepCosts(full.blocks, full.rest, spread, again, head=head[1])

    def _nanoseconds(self, placed: Sequence[PlacedUse]) -> list[float]:
        return self.fit.nanoseconds([one.use for one in placed], self.bandwidth)


def three_layers(model: Any) -> Any:
    """A model of the same configuration with three layers and weights of no meaning; None if its layers differ."""
    from transformers import AutoModelForCausalLM

    config = model.config
    kinds = getattr(config, "layer_types", None) or getattr(config, "attention_layers", None)
    shapes = {repr(layer) for layer in decoder_layers(model)}
    if config.num_hidden_layers <= 3 or len(shapes) > 1 or (kinds is not None and len(set(kinds)) > 1):
        return None
    small = copy.deepcopy(config)
    small.num_hidden_layers = 3
    if getattr(config, "layer_types", None):
        small.layer_types = config.layer_types[:3]
    return AutoModelForCausalLM.from_config(small).float().eval()


def placed_uses(planned: Steps, latencies: dict[str, float]) -> list[PlacedUse]:
    """Every call of a run of a planned step; predicted latencies by workload."""
    uses = {key: kernel_use(text, latencies[key]) for key, text in planned.workloads.items()}
    return [PlacedUse(uses[call.workload], block) for call, block in placed_calls(planned.steps)]


def repeat_middle(placed: Sequence[PlacedUse], layers: int) -> list[PlacedUse]:
    """The calls of a step of `layers` layers from those of one of three."""
    first, last = _MIDDLE
    result: list[PlacedUse] = []
    for one in placed:
        if one.block is None or one.block < first:
            result.append(one)
        elif one.block > last:
            result.append(replace(one, block=one.block + 2 * (layers - 3)))
        else:
            result += [replace(one, block=one.block + 2 * layer) for layer in range(layers - 2)]
    return result


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


def predicted_costs(
    model: Any, batch: int, context: int, say: Callable[[str], None] = lambda _: None, int8_drafts: bool = False
) -> Costs:
    """Costs by width of a transformers model; widths beside WIDTHS are interpolated, beyond extrapolated."""
    predictor = Predictor.here(say)
    known: dict[int, StepCosts] = {}
    for width in WIDTHS:
        say(f"predicting steps of width {width}")
        known[width] = predictor.decoding_costs(model, StepShape(batch, width, context))
    if int8_drafts:
        say("predicting drafts with weights of 8 bits")
        known[1] = replace(known[1], draft=predictor.decoding_costs(model, StepShape(batch, 1, context), int8=True))
    table = np.array([[*c.blocks, c.rest] for c in known.values()])

    def costs(width: int) -> StepCosts:
        if width in known:
            return known[width]
        at = min(max(int(np.searchsorted(WIDTHS, width)), 1), len(WIDTHS) - 1)
        low, high = WIDTHS[at - 1], WIDTHS[at]
        row = table[at - 1] + (table[at] - table[at - 1]) * (width - low) / (high - low)
        return StepCosts(tuple(row[:-1].tolist()), float(row[-1]), predictor.fit.spread)

    return costs
