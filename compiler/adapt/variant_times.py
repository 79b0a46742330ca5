"""What other ways to compute a sub-block cost in one decoding step.

Ways that can be compiled are predicted as any program is: a step whose sub-blocks are all of that way, kernel by
kernel. For R-Sparse, which has no kernels, the plain step's are priced as if they streamed fewer bytes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from compiler.adapt.alternatives import COMPILED, Alternative, Int8, LowRank, SmallFfn
from compiler.adapt.costs import Costs, StepCosts
from compiler.adapt.layers import decoder_layers
from compiler.adapt.lossy_model import factor_ffn, narrow_ffn
from compiler.adapt.predict import PlacedUse, Predictor, three_layers
from compiler.adapt.stream import ResidualStream
from compiler.decode.export import import_step
from compiler.decode.int8 import all_blocks, int8_matrices, with_int8_weights
from compiler.decode.step_module import StepShape

Times = Callable[[int, Alternative], float]
"""Nanoseconds of a sub-block, or of the head (block 2 L), computed in another way."""


def times_by_bytes(costs: Costs) -> Times:
    """The sub-block's own time, less in proportion to the bytes that it streams."""
    one = costs(1)
    times = (*one.blocks, one.head)
    return lambda block, way: times[block] * way.bytes_share(block)


def predicted_times(
    model: Any, stream: ResidualStream, shape: StepShape, ways: Sequence[Alternative], tell: Callable[[str], None]
) -> Times:
    """Predicted for this machine.

    Args:
        model: a second copy of the model, or any of its configuration: weights do not count.
        stream: of the model; for the sizes of its matrices.
        shape: of the step.
        ways: what will be asked for.
        tell: is told what is being done.
    """
    predictor = Predictor.here(tell)
    table: dict[str, StepCosts] = {}
    plain: list[PlacedUse] = []
    for way in ways:
        tell(f"predicting {way.name}")
        if way.kind in COMPILED:
            uses = _uses(predictor, model, shape, way)
        else:
            plain = plain or _uses(predictor, model, shape, None)
            uses = [_streaming_less(use, plain, way, stream) for use in plain]
        table[way.name] = predictor.placed_costs(uses)
    return lambda block, way: (*table[way.name].blocks, table[way.name].head)[block]


def one_width(model: Any, shape: StepShape, tell: Callable[[str], None]) -> Costs:
    """Predicted costs of a step, whatever width is asked for: a lossy program only takes steps of width 1."""
    tell("predicting the plain step")
    found = Predictor.here(tell).decoding_costs(model, shape)
    return lambda width: found


def _uses(predictor: Predictor, model: Any, shape: StepShape, way: Alternative | None) -> list[PlacedUse]:
    """The kernel calls of a step; with `way` of one whose sub-blocks are computed so."""
    small = three_layers(model) or copy.deepcopy(model)
    layers = decoder_layers(small)
    for layer, block in zip(layers, range(1, 2 * len(layers), 2), strict=True):
        _change(layer, way, block)
    step = import_step(small, shape, "step")
    if isinstance(way, Int8):
        step = with_int8_weights(step, int8_matrices(small, all_blocks(small)))
    return predictor.placed_uses(step, model.config.num_hidden_layers)


def _change(layer: Any, way: Alternative | None, block: int) -> None:
    if isinstance(way, LowRank):
        factor_ffn(layer, way.rank(block))
    elif isinstance(way, SmallFfn):
        narrow_ffn(layer, way.kept(block))


def _streaming_less(one: PlacedUse, every: Sequence[PlacedUse], way: Alternative, stream: ResidualStream) -> PlacedUse:
    """The call with the bytes that its sub-block saves taken off; caches are streamed as before."""
    if one.block is None or not one.use.streamed_bytes:
        return one
    whole = sum(use.use.streamed_bytes for use in every if use.block == one.block)
    weights = 4 * sum(linear.weight.numel() for linear in stream.linears(one.block))
    left = max(0.0, 1 - (1 - way.bytes_share(one.block)) * weights / whole)
    use = one.use
    fewer = replace(use, streamed_bytes=use.streamed_bytes * left, predicted_ns=use.predicted_ns * left)
    return replace(one, use=fewer)
