"""What a layer of a decoder costs in one step by how many sequences take it and how many keys it holds, predicted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from compiler.adapt.capacity import CAPACITIES, LayerTime
from compiler.adapt.costs import Costs, StepCosts
from compiler.adapt.predict import Predictor
from compiler.decode.step_module import StepShape

ROUTER_NS = 1_000.0
"""A router: a dot product a token, and a branch."""


@dataclass(frozen=True)
class DepthTimes:
    """Times of whole layers, and of the rest of a step (nanoseconds) at the batch."""

    layers: tuple[LayerTime, ...]
    rest: float
    batch: int

    def whole(self) -> float:
        """A step in which every sequence takes every layer."""
        return self.rest + sum(time(self.batch, 1.0) for time in self.layers)


def predicted_times(model: Any, batch: int, context: int, say: Callable[[str], None] = lambda _: None) -> DepthTimes:
    """Predicted at powers of two up to the batch and at two contexts, linear between: attention reads k T keys."""
    predictor = Predictor.here(say)
    widths = sorted({*(1 << k for k in range(batch.bit_length())), batch})
    contexts = (max(1, ceil(min(CAPACITIES) * context)), context)
    table: dict[tuple[int, int], StepCosts] = {}
    for width in widths:
        for length in contexts:
            say(f"predicting steps of {width} sequences and context {length}")
            table[width, length] = predictor.step_costs(model, StepShape(width, 1, length))
    count = len(table[batch, context].blocks) // 2
    grids = [np.array([[_layer(table[w, t], layer) for t in contexts] for w in widths]) for layer in range(count)]
    layers = tuple(_interpolated(grid, widths, contexts, context) for grid in grids)
    return DepthTimes(layers, table[batch, context].rest, batch)


def tabled_times(costs: Costs, layers: int, batch: int) -> DepthTimes:
    """From a cost table (`--costs`) whose widths are taken as the tokens of a step; contexts do not count."""
    times = tuple(_tabled(costs, layer) for layer in range(layers))
    return DepthTimes(times, costs(batch).rest, batch)


def _layer(costs: StepCosts, layer: int) -> float:
    return costs.blocks[2 * layer] + costs.blocks[2 * layer + 1]


def _tabled(costs: Costs, layer: int) -> LayerTime:
    return lambda width, capacity: _layer(costs(width), layer)


def _interpolated(grid: np.ndarray, widths: Sequence[int], contexts: Sequence[int], context: int) -> LayerTime:
    def time(width: int, capacity: float) -> float:
        short, long = (float(np.interp(width, widths, grid[:, column])) for column in range(len(contexts)))
        if contexts[0] == contexts[1]:
            return long
        return short + (long - short) * (capacity * context - contexts[0]) / (contexts[1] - contexts[0])

    return time
